"""Rules that contrast two states of a system, one or both of them perturbed."""

import dataclasses
from typing import Literal

from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Free
from eqprop_spice.rules.base import AbstractRule, Estimate

Variant = Literal["positive", "negative", "centered"]

SIGNS: dict[Variant, tuple[int, int]] = {
    "positive": (0, 1),
    "negative": (-1, 0),
    "centered": (-1, 1),
}
"""How the two states are perturbed: 1 towards the target, -1 away from it, 0 not at all."""


@dataclasses.dataclass(frozen=True)
class AbstractContrast(AbstractRule):
    r"""Estimates $(E_\theta(s_2) - E_\theta(s_1)) / d$, d being the distance of perturbations.

    A rule of this kind is the phase that it perturbs with, and by how much.
    """

    @property
    def signs(self) -> tuple[int, int]:
        """How the two states are perturbed; see `SIGNS`."""
        raise NotImplementedError

    @property
    def strength(self) -> float | Array:
        """The size of a perturbation, which the contrast is divided by."""
        raise NotImplementedError

    def phase(
        self, sign: int, targets: Float[Array, "batch output"], cost: AbstractCost
    ) -> AbstractPhase | AbstractNudge:
        """Return the phase that is perturbed towards the target (1) or away from it (-1)."""
        raise NotImplementedError

    def phases(self, targets, cost) -> list[AbstractPhase | AbstractNudge]:
        """Return the perturbed phases; see `AbstractRule`."""
        return [self.phase(sign, targets, cost) for sign in self.signs if sign]

    def __call__(
        self, substrate, params, inputs, targets, cost, *, start=None, key=None
    ) -> Estimate:
        """Return the contrast; see `AbstractRule`."""
        self.check_cost(cost)
        low, high = self.signs
        phases = self.phases(targets, cost)
        free, *perturbed = substrate.settle(params, inputs, [Free(), *phases], start=start, key=key)
        at = {0: free, **dict(zip(filter(None, self.signs), perturbed, strict=True))}
        converged = free.converged
        for settled in perturbed:
            converged = converged & settled.converged
        contrast = substrate.contrast(params, inputs, at[low].state, at[high].state, converged)
        distance = (high - low) * self.strength
        gradient = {name: value / distance for name, value in contrast.items()}
        return Estimate(gradient, substrate.outputs(free.state), converged, free.state)


@dataclasses.dataclass(frozen=True)
class AbstractHeld(AbstractContrast):
    """Contrasts states whose outputs are held, not nudged."""

    @property
    def needs(self) -> frozenset[str]:
        """The outputs are held."""
        return frozenset({"hold"})

    @property
    def allows_read_noise(self) -> bool:
        """No: held outputs are set from a reading; noise there is another model."""
        return False
