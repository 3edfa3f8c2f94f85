"""Backpropagation through a relaxation of a Hopfield network, cut off after some iterations."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.hopfield.descent import Descent, State

Params = Mapping[str, Array]


def through_sweeps(
    network: Callable[[Params], Descent],
    params: Params,
    state: State,
    slopes: Float[Array, "batch output"],
    count: int,
) -> dict[str, Any]:
    """Return the slopes of a cost by the outputs, pulled back through some sweeps from a state.

    Args:
        network: Returns the network with given parameters.
        params: Its parameters.
        state: A free state, which is taken as given.
        slopes: Slopes of the cost by the outputs.
        count: Number of sweeps.

    References:
        Scellier et al. (2023), arXiv:2312.15103, section 3 (TBP).
    """

    def outputs(params):
        descent = network(params)
        return descent.run(descent.begin(state), count).state[-1]

    _, pull = jax.vjp(outputs, dict(params))
    return pull(slopes)[0]


def through_recurrence(
    network: Callable[[Params], Descent],
    params: Params,
    state: State,
    slopes: Float[Array, "batch output"],
    count: int,
) -> dict[str, Any]:
    r"""Return $\sum_{k<K} \partial_s C\,(\partial_s T)^k\,\partial_\theta T$ at a state.

    T moves all layers at once. Arguments are those of `through_sweeps`.

    References:
        Almeida (1987); Pineda (1987), doi:10.1103/PhysRevLett.59.2229.
    """
    _, pull = jax.vjp(lambda p, state: network(p).all_targets(state), dict(params), state)

    def visit(_, carry):
        multipliers, total = carry
        share, multipliers = pull(multipliers)
        return multipliers, jax.tree.map(jnp.add, total, share)

    hidden = jax.tree.map(jnp.zeros_like, state[:-1])
    nothing = {name: jnp.zeros_like(jnp.asarray(value)) for name, value in params.items()}
    return jax.lax.fori_loop(0, count, visit, ((*hidden, slopes), nothing))[1]
