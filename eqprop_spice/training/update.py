"""One update of a network's parameters from a minibatch, compiled once for all who make it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from eqprop_spice.arrays import Array
from eqprop_spice.constraints.base import AbstractConstraint
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.phases import Free
from eqprop_spice.rules.base import AbstractRule
from eqprop_spice.substrates.resistive import Network

MAX_SHARED = 8
"""Compiled updates that a process keeps for later experiments."""


@dataclasses.dataclass(frozen=True, eq=False)
class Update:
    """Estimates a gradient and follows it; its compiled functions live as long as it does.

    What differs between trainings of one kind is an argument and not compiled in: samples, seed
    and learning rate.

    Attributes:
        substrate: The network.
        rule: The learning rule.
        cost: The cost of one output vector.
        optimizer: Returns an optax optimizer for a learning rate, which may be traced.
        constraint: What every update is mapped to, if anything.
    """

    substrate: Network
    rule: AbstractRule
    cost: AbstractCost
    optimizer: Callable[[Any], optax.GradientTransformation]
    constraint: AbstractConstraint | None

    @functools.cached_property
    def follow(self):
        """The conductances and the optimizer's state after a gradient, compiled."""

        def follow(params, optimizer_state, gradient, rate):
            optimizer = self.optimizer(rate)
            updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
            updated: Any = optax.apply_updates(params, updates)
            if self.constraint is not None:
                updated = self.constraint(updated)
            return updated, optimizer_state

        return jax.jit(follow)

    def _step(self, params, optimizer_state, inputs, targets, rate, key):
        network = self.substrate.keyed(key)
        estimate = self.rule(network, params, inputs, targets, self.cost)
        params, optimizer_state = self.follow(params, optimizer_state, estimate.gradient, rate)
        return params, optimizer_state, estimate.outputs, estimate.converged

    @functools.cached_property
    def step(self):
        """Estimate and follow; one compiled function where the engine allows it."""
        return jax.jit(self._step) if self.substrate.engine.traceable else self._step

    @functools.cached_property
    def steps(self):
        """Visit the first `count` of some minibatches in one compiled function.

        The count is not compiled in, so that the remainder of an epoch needs no program of its own.
        """

        def steps(params, optimizer_state, inputs, targets, rate, keys, count):
            def visit(number, carry):
                params, optimizer_state, outputs, converged = carry
                key = None if keys is None else keys[number]
                params, optimizer_state, out, good = self._step(
                    params, optimizer_state, inputs[number], targets[number], rate, key
                )
                return (
                    params,
                    optimizer_state,
                    outputs.at[number].set(out),
                    converged.at[number].set(good),
                )

            seen = jnp.zeros_like(targets), jnp.zeros(targets.shape[:2], bool)
            return jax.lax.fori_loop(0, count, visit, (params, optimizer_state, *seen))

        return jax.jit(steps)

    @functools.cached_property
    def free(self):
        """The free operating points of some samples, compiled where the engine allows it."""

        def free(params: dict[str, Array], inputs: Array):
            return self.substrate.settle(params, inputs, [Free()])[0]

        return jax.jit(free) if self.substrate.engine.traceable else free


@dataclasses.dataclass(frozen=True)
class _Shared:
    """An update under the words that say all it depends on."""

    content: str
    update: Update = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=MAX_SHARED)
def _first_like(shared: _Shared) -> Update:
    return shared.update


def share(content: str, update: Update) -> Update:
    """Return the first update that was shared under the same content, with what it has compiled.

    Args:
        content: All that the update depends on, in words.
        update: The update, which is kept if there is none yet.
    """
    return _first_like(_Shared(content, update))
