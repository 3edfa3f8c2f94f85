"""Minibatches on several cores: each works on a share of the samples, and gradients are averaged.

XLA computes the many small steps of a settling on one core, whatever the machine has. So JAX is
told that every core is a device, and large minibatches are spread over them. How many cores take
part changes results by rounding.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from eqprop_spice.rules.base import Estimate
from eqprop_spice.training.compilation import compiled, knows

SAMPLES_PER_CORE = 32
"""Samples below which a core is not worth the meeting that an update takes."""

AXIS = "cores"

PATIENCE: dict[str, Any] = {
    "xla_cpu_collective_call_warn_stuck_seconds": 10**6,
    "xla_cpu_collective_call_terminate_timeout_seconds": 10**9,
}
"""How long cores wait for each other. XLA would end the process after 40 s, as where it was stopped
for so long, or the computer slept."""

SAMPLES, BATCHES = P(AXIS), P(None, AXIS)
"""Which axis of an array counts the samples of a minibatch."""

SHARED = P()
"""What all cores have."""


@functools.cache
def most_cores() -> int:
    """Return how many cores share the samples of a large minibatch at most."""
    count = len(jax.devices()) if jax.default_backend() == "cpu" else 1
    return count if count > 1 and knows(PATIENCE) else 1


def num_cores(num_samples: int) -> int:
    """Return how many cores share so many samples; each gets as many as the others."""
    fitting = [n for n in range(1, most_cores() + 1) if num_samples % n == 0]
    return max((n for n in fitting if num_samples // n >= SAMPLES_PER_CORE), default=1)


Meeting: TypeAlias = Callable[[Estimate], dict[str, Any]]
"""Returns the gradient that every core follows, for what a core has estimated."""


def gradient_here(estimate: Estimate) -> dict[str, Any]:
    """Return a gradient as it is: one core has all samples."""
    return estimate.gradient


def gradient_of_all(estimate: Estimate) -> dict[str, Any]:
    """Return the mean of the gradients of all cores, each of which is one over settled samples."""
    settled = estimate.converged.sum().astype(float)
    total = jnp.maximum(jax.lax.psum(settled, AXIS), 1.0)
    return {
        name: jax.lax.psum(gradient * settled, AXIS) / total
        for name, gradient in estimate.gradient.items()
    }


def spread(function: Callable, taken: tuple[P, ...], given: Any, *, place: int) -> Callable:
    """Return a compiled function that spreads the samples of its arguments over the cores.

    It is no part of another program.

    Args:
        function: What each core does, with a meeting and the arguments.
        taken: What of each argument a core gets: `SAMPLES`, `BATCHES` or `SHARED`.
        given: The same of what is returned, or of its parts.
        place: Which argument says how many samples there are.
    """
    axis = list(taken[place]).index(AXIS)
    alone = compiled(functools.partial(function, gradient_here), quick=False)

    @functools.cache
    def together(count: int) -> tuple[Callable, list[NamedSharding]]:
        mesh = Mesh(jax.devices()[:count], AXIS)
        shares = jax.shard_map(
            functools.partial(function, gradient_of_all),
            mesh=mesh,
            in_specs=taken,
            out_specs=given,
            check_vma=False,
        )
        places = [NamedSharding(mesh, spec) for spec in taken]
        return jax.jit(shares, compiler_options=PATIENCE), places

    def call(*arguments: Any) -> Any:
        count = num_cores(arguments[place].shape[axis])
        if count == 1:
            return alone(*arguments)
        program, places = together(count)
        # Arguments are put where they belong before, or the second call would be compiled anew.
        return program(*map(jax.device_put, arguments, places))

    return call
