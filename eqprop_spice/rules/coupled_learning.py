"""Coupled learning: contrast states whose outputs are held, not nudged: P-CpL, N-CpL and C-CpL."""

import dataclasses

from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import Displacement
from eqprop_spice.rules.base import is_positive
from eqprop_spice.rules.contrast import SIGNS, AbstractHeld, Variant


@dataclasses.dataclass(frozen=True)
class CoupledLearning(AbstractHeld):
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

    variant: Variant = "centered"
    eta: float = 0.25

    def __post_init__(self) -> None:
        """Refuse a displacement of no size."""
        if not is_positive(self.eta):
            raise ConfigError(
                f"eta is {self.eta}; it must be finite and positive. For a displacement away from "
                'the target set variant = "negative".'
            )

    @property
    def signs(self) -> tuple[int, int]:
        """How the states of this variant are perturbed."""
        return SIGNS[self.variant]

    @property
    def strength(self) -> float:
        """The displacement as a fraction of the cost's gradient."""
        return self.eta

    def phase(self, sign, targets, cost):
        """Return the outputs held displaced; see `AbstractContrast`."""
        return Displacement(cost, targets, sign * self.eta)
