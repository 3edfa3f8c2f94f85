r"""Langevin dynamics of continuous states, with a Metropolis test that takes its step error away.

A step down the energy with noise, $s' = s - \epsilon \nabla E + \sqrt{2 \epsilon T}\,\xi$, samples
$e^{-E/T}$ with an error of the order of $\epsilon$. Taken as a proposal that is accepted with the
probability of Metropolis and Hastings, it samples it exactly, and what $\epsilon$ still decides is
how fast. Averages over a step with Heun's corrector have an error of the order $\epsilon^2$.

References:
    Roberts and Tweedie (1996), doi:10.2307/3318418; Mannella (2002), doi:10.1142/S0129183102004042.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.sampling.generator import normals, step_keys, uniforms

Energy = Callable[[Array], Array]
"""From `lane unit` to the energy of every lane."""

ACCEPTANCE = 0.57
"""Share of proposals that are accepted at the best step (Roberts and Rosenthal 1998)."""

Scheme = Literal["metropolis", "heun", "euler"]


@dataclasses.dataclass(frozen=True)
class Langevin:
    """How chains move.

    Attributes:
        energy: The energy of every lane.
        inside: Which lanes are where the system can be; a proposal outside is refused.
        temperature: T.
        scheme: "metropolis" is exact; "heun" and "euler" have an error of their step.
        step: The step, in units of the state squared over the energy. With "metropolis" the
            first one: every lane finds its own during the burn-in, and keeps it.
        shared: How many lanes, the first ones, have random numbers of their own.
    """

    energy: Energy
    inside: Callable[[Array], Bool[Array, " lane"]]
    temperature: float
    scheme: Scheme
    step: Any
    shared: int

    def _slope(self, state: Array) -> tuple[Array, Array]:
        energy, pull = jax.vjp(self.energy, state)
        return energy, pull(jnp.ones_like(energy))[0]

    def _noise(self, state: Array, key: Array) -> Array:
        lanes, units = state.shape
        drawn = normals(key, (self.shared, units)).astype(state.dtype)
        return jnp.tile(drawn, (lanes // self.shared, 1)) if lanes > self.shared else drawn

    def _move(self, carry: Any, key: Array, step: Array) -> tuple[Any, Array]:
        """Return where every lane is next, and how probably its proposal was accepted."""
        state, energy, slope = carry
        spread = jnp.sqrt(2.0 * step * self.temperature)[:, None]
        push = spread * self._noise(state, key)
        drift = -step[:, None] * slope
        proposal = state + drift + push
        new_energy, new_slope = self._slope(proposal)
        if self.scheme == "euler":
            return (proposal, new_energy, new_slope), jnp.ones_like(energy)
        if self.scheme == "heun":
            after = state + 0.5 * (drift - step[:, None] * new_slope) + push
            return (after, *self._slope(after)), jnp.ones_like(energy)
        back = state - proposal + step[:, None] * new_slope
        forth = push
        gain = ((forth**2).sum(1) - (back**2).sum(1)) / (4.0 * step)
        ratio = (gain - (new_energy - energy)) / self.temperature
        chance = jnp.where(self.inside(proposal), jnp.exp(jnp.minimum(ratio, 0.0)), 0.0)
        # Not the places of the normal numbers' bits: another key of the same step.
        numbers = uniforms(key[::-1] ^ jnp.uint32(0x9E3779B9), (1, self.shared))[0]
        taken = jnp.tile(numbers, len(state) // self.shared) < chance
        chosen = jax.tree.map(
            lambda new, old: jnp.where(taken.reshape((-1,) + (1,) * (new.ndim - 1)), new, old),
            (proposal, new_energy, new_slope),
            carry,
        )
        return chosen, chance

    def sample(
        self,
        start: Float[Array, "lane unit"],
        key: Array,
        *,
        burn_in: int,
        draws: int,
        thinning: int,
    ) -> tuple[Float[Array, "draw lane unit"], Array, Float[Array, " lane"]]:
        """Return draws, where the chains end, and the mean share of accepted proposals."""
        keys = step_keys(key, burn_in + draws * thinning)
        moving = start, *self._slope(start)
        steps = jnp.full(len(start), self.step, start.dtype)

        def warm(carry, loop):
            moving, steps = carry
            count, key = loop
            moving, chance = self._move(moving, key, steps)
            if self.scheme == "metropolis":
                gain = 2.0 * (chance - ACCEPTANCE) / jnp.sqrt(count + 1.0)
                steps = (steps * jnp.exp(gain)).astype(steps.dtype)
            return (moving, steps), None

        counts = jnp.arange(burn_in, dtype=start.dtype)
        (moving, steps), _ = jax.lax.scan(warm, (moving, steps), (counts, keys[:burn_in]))

        def draw(moving, keys):
            moving, chances = jax.lax.scan(lambda m, k: self._move(m, k, steps), moving, keys)
            return moving, (moving[0], chances.mean(0))

        shape = (draws, thinning, 2)
        moving, (kept, chances) = jax.lax.scan(draw, moving, keys[burn_in:].reshape(shape))
        return kept, moving[0], chances.mean(0)
