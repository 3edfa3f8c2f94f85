"""Coupled learning: contrast states whose outputs are held, not nudged: P-CpL, N-CpL and C-CpL."""

import dataclasses
import math
from typing import Literal

from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import Free
from eqprop_spice.rules.base import AbstractRule, Estimate


@dataclasses.dataclass(frozen=True)
class CoupledLearning(AbstractRule):
    r"""Contrast of states with outputs held at $o = o^* \mp \eta\,\partial C/\partial o$.

    P-CpL takes the free state and the one displaced towards the target (distance $\eta$), N-CpL the
    one displaced away and the free one, C-CpL both displaced ones (distance $2\eta$). With the
    squared error, eta = 1 holds the outputs at the target.

    This is *not* gradient descent on the cost, however small eta is: holding the outputs costs
    energy that depends on how stiff they are. The estimate's unit is that of the energy's
    derivative [V^2], since eta has none; a learning rate has [S/V^2].

    Attributes:
        variant: Which two states are compared.
        eta: Displacement as a fraction of the cost's gradient, above zero.

    References:
        Stern et al. (2021), arXiv:2011.03861; Scellier et al. (2023), arXiv:2312.15103.
    """

    variant: Literal["positive", "negative", "centered"] = "centered"
    eta: float = 0.25

    def __post_init__(self) -> None:
        """Refuse a displacement of no size."""
        if not (math.isfinite(self.eta) and self.eta > 0):
            raise ConfigError(
                f"eta is {self.eta}; it must be finite and positive. For a displacement away from "
                'the target set variant = "negative".'
            )

    @property
    def bears_read_noise(self) -> bool:
        """No: held outputs are set from a reading; noise there is another model."""
        return False

    def __call__(self, substrate, params, inputs, targets, cost) -> Estimate:
        """Return the contrast; see `AbstractRule`."""
        (free,) = substrate.settle(params, inputs, [Free()])
        outputs = substrate.outputs(free)
        towards = self._towards(outputs, targets, cost)

        def clamped(displacement):
            return substrate.clamp(params, inputs, free, displacement)

        first, second, distance = {
            "positive": lambda: (free, clamped(towards), self.eta),
            "negative": lambda: (clamped(-towards), free, self.eta),
            "centered": lambda: (clamped(-towards), clamped(towards), 2.0 * self.eta),
        }[self.variant]()
        converged = substrate.converged(first) & substrate.converged(second)
        contrast = substrate.contrast(first, second, converged)
        gradient = {name: value / distance for name, value in contrast.items()}
        return Estimate(gradient, outputs, converged)

    def displacement(self, outputs, targets, cost):
        """Return the displacement of the state that is not free; towards the target if both are."""
        towards = self._towards(outputs, targets, cost)
        return -towards if self.variant == "negative" else towards

    def _towards(self, outputs, targets, cost):
        return -self.eta * cost.gradient(outputs, targets)
