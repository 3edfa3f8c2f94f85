"""Rules that contrast two states of a system, one or both of them perturbed."""

import dataclasses
from typing import Any, Literal

from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.phases import Free
from eqprop_spice.rules.base import AbstractRule, Estimate
from eqprop_spice.substrates.base import AbstractSubstrate, Params

Variant = Literal["positive", "negative", "centered"]

SIGNS: dict[Variant, tuple[int, int]] = {
    "positive": (0, 1),
    "negative": (-1, 0),
    "centered": (-1, 1),
}
"""How the two states are perturbed: 1 towards the target, -1 away from it, 0 not at all."""


@dataclasses.dataclass(frozen=True)
class AbstractContrast(AbstractRule):
    r"""Estimates $(E_\theta(s_2) - E_\theta(s_1)) / d$, d being the distance of perturbations."""

    @property
    def signs(self) -> tuple[int, int]:
        """How the two states are perturbed; see `SIGNS`."""
        raise NotImplementedError

    @property
    def strength(self) -> float:
        """The size of a perturbation, which the contrast is divided by."""
        raise NotImplementedError

    def states(
        self,
        substrate: AbstractSubstrate,
        params: Params,
        inputs: Float[Array, "batch input"],
        targets: Float[Array, "batch output"],
        cost: AbstractCost,
        signs: list[int],
    ) -> list[Any]:
        """Return the free state, and those perturbed towards the target (1) or away from it (-1).

        Args:
            substrate: The system that learns.
            params: Its parameters by group name.
            inputs: Source voltages [V].
            targets: Target of every output [V].
            cost: The cost of one output vector.
            signs: The directions asked for.
        """
        raise NotImplementedError

    def __call__(self, substrate, params, inputs, targets, cost) -> Estimate:
        """Return the contrast; see `AbstractRule`."""
        low, high = self.signs
        signs = [sign for sign in (low, high) if sign]
        free, *perturbed = self.states(substrate, params, inputs, targets, cost, signs)
        at = {0: free, **dict(zip(signs, perturbed, strict=True))}
        converged = substrate.converged(free)
        for state in perturbed:
            converged = converged & substrate.converged(state)
        contrast = substrate.contrast(at[low], at[high], converged)
        distance = (high - low) * self.strength
        gradient = {name: value / distance for name, value in contrast.items()}
        return Estimate(gradient, substrate.outputs(free), converged)


@dataclasses.dataclass(frozen=True)
class AbstractHeld(AbstractContrast):
    """Contrasts states whose outputs are held, not nudged."""

    def towards(
        self,
        outputs: Float[Array, "batch output"],
        targets: Float[Array, "batch output"],
        cost: AbstractCost,
    ) -> Float[Array, "batch output"]:
        """Return the displacement of the outputs towards the target [V]."""
        raise NotImplementedError

    @property
    def bears_read_noise(self) -> bool:
        """No: held outputs are set from a reading; noise there is another model."""
        return False

    def states(self, substrate, params, inputs, targets, cost, signs) -> list[Any]:
        """Return the free state, and those with displaced outputs; see `AbstractContrast`."""
        (free,) = substrate.settle(params, inputs, [Free()])
        towards = self.towards(substrate.outputs(free), targets, cost)
        return [free, *(substrate.clamp(params, inputs, free, sign * towards) for sign in signs)]

    def displacement(self, outputs, targets, cost):
        """Return the displacement of the state that is not free; towards the target if both are."""
        towards = self.towards(outputs, targets, cost)
        low, high = self.signs
        return towards if high else low * towards
