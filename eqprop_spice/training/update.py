"""One update of a system's parameters from a minibatch, compiled once for all who make it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec as P

from eqprop_spice.arrays import Array
from eqprop_spice.constraints.base import AbstractConstraint
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.phases import Free
from eqprop_spice.rules.base import AbstractRule, Estimate
from eqprop_spice.substrates.base import AbstractSubstrate
from eqprop_spice.training.compilation import compiled
from eqprop_spice.training.cores import (
    BATCHES,
    SAMPLES,
    SHARED,
    Meeting,
    gradient_here,
    spread,
)

MAX_SHARED = 8
"""Compiled updates that a process keeps for later experiments; after so many new ones, all that
JAX remembers is dropped, and what is still in use is compiled again."""


@dataclasses.dataclass(frozen=True, eq=False)
class Update:
    """Estimates a gradient and follows it; its compiled functions live as long as it does.

    What differs between trainings of one kind is an argument and not compiled in: samples, seed
    and learning rate.

    Attributes:
        substrate: The system that learns.
        rule: The learning rule.
        cost: The cost of one output vector.
        optimizer: Returns an optax optimizer for a learning rate, which may be traced.
        constraint: What every update is mapped to, if anything.
        quick: Whether it is compiled without optimization, since there is little to do.
        spread: Whether large minibatches are spread over the cores.
    """

    substrate: AbstractSubstrate
    rule: AbstractRule
    cost: AbstractCost
    optimizer: Callable[[Any], optax.GradientTransformation]
    constraint: AbstractConstraint | None
    quick: bool = False
    spread: bool = False

    @functools.cached_property
    def start(self):
        """The parameters and the optimizer's state before the first update, compiled."""

        def start(params, rate):
            if self.constraint is not None:
                params = self.constraint(params)
            return params, self.optimizer(rate).init(params)

        return jax.jit(start)

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

    def _step(self, meeting: Meeting, params, optimizer_state, carry, inputs, targets, rate, key):
        """Return the next parameters, optimizer state and carry, and what was met on the way."""
        substrate = self.substrate
        start = None if carry is None else jax.tree.map(lambda leaf: leaf[: len(inputs)], carry)
        estimate = self.rule(substrate, params, inputs, targets, self.cost, start=start, key=key)
        gradient = meeting(estimate)
        params, optimizer_state = self.follow(params, optimizer_state, gradient, rate)
        if carry is not None:
            carry = _carried(carry, estimate)
        return params, optimizer_state, carry, estimate.outputs, estimate.converged

    def _steps(
        self, meeting: Meeting, params, optimizer_state, carry, inputs, targets, rate, keys, count
    ):
        """Visit the first `count` of some minibatches."""

        def visit(number, loop):
            params, optimizer_state, carry, outputs, converged = loop
            key = None if keys is None else keys[number]
            params, optimizer_state, carry, found, settled = self._step(
                meeting, params, optimizer_state, carry, inputs[number], targets[number], rate, key
            )
            outputs = outputs.at[number].set(found)
            converged = converged.at[number].set(settled)
            return params, optimizer_state, carry, outputs, converged

        nothing = jnp.zeros_like(targets), jnp.zeros(targets.shape[:2], bool)
        start = (params, optimizer_state, carry, *nothing)
        return jax.lax.fori_loop(0, count, visit, start)

    @functools.cached_property
    def step(self):
        """Estimate and follow; one compiled function where the substrate allows it."""
        given = (SHARED, SHARED, SHARED, SAMPLES, SAMPLES)
        return self._compiled(self._step, (*given, SHARED, SHARED), given, place=3)

    @functools.cached_property
    def steps(self):
        """Visit the first `count` of some minibatches in one compiled function.

        The count is not compiled in, so that the remainder of an epoch needs no program of its own.
        """
        given = (SHARED, SHARED, SHARED, BATCHES, BATCHES)
        return self._compiled(self._steps, (*given, SHARED, SHARED, SHARED), given, place=3)

    @functools.cached_property
    def free(self):
        """Where some samples settle freely, compiled where the substrate allows it."""

        def free(_: Meeting, params: Mapping[str, Array], inputs: Array, key: Any = None):
            return self.substrate.settle(params, inputs, [Free()], key=key)[0]

        return self._compiled(free, (SHARED, SAMPLES, SHARED), SAMPLES, place=1)

    def _compiled(self, function: Callable, taken: tuple[P, ...], given: Any, *, place: int) -> Any:
        """Return a function of a meeting and more compiled, if it can be; see `spread`."""
        if self.spread:
            return spread(function, taken, given, place=place)
        plain = functools.partial(function, gradient_here)
        return compiled(plain, quick=self.quick) if self.substrate.traceable else plain


def _carried(carry: Any, estimate: Estimate) -> Any:
    """Return what the next minibatch starts from: the states of the samples that settled.

    A last, smaller minibatch leaves the states of the places it does not fill.
    """
    settled = estimate.converged

    def place(old: Array, new: Array) -> Array:
        kept = jnp.where(settled.reshape((-1,) + (1,) * (new.ndim - 1)), new, old[: len(new)])
        return jnp.concatenate([kept, old[len(new) :]])

    return jax.tree.map(place, carry, estimate.state)


@dataclasses.dataclass(frozen=True)
class _Shared:
    """An update under the words that say all it depends on."""

    content: str
    update: Update = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=MAX_SHARED)
def first_like(shared: _Shared) -> Update:
    """Return the update that was first shared under the same content."""
    if first_like.cache_info().misses % MAX_SHARED == 0:
        # JAX keeps what it traced of functions that are gone: 18 MB per circuit, for ever.
        jax.clear_caches()
    return shared.update


def share(content: str, update: Update) -> Update:
    """Return the first update that was shared under the same content, with what it has compiled.

    Args:
        content: All that the update depends on, in words.
        update: The update, which is kept if there is none yet.
    """
    return first_like(_Shared(content, update))
