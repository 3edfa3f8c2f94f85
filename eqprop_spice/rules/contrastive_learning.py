"""Contrastive learning: contrast the free state with the one whose outputs are the targets."""

import dataclasses

from eqprop_spice.phases import Hold
from eqprop_spice.rules.contrast import SIGNS, AbstractHeld


@dataclasses.dataclass(frozen=True)
class ContrastiveLearning(AbstractHeld):
    r"""CL: $E_\theta(\text{outputs held at } t) - E_\theta(\text{free})$.

    It descends the contrast of the two energies, which is zero where the targets are met, and not
    the cost. The estimate's unit is [V^2]; a learning rate has [S/V^2].

    References:
        Movellan (1991); Scellier et al. (2023), arXiv:2312.15103.
    """

    @property
    def signs(self) -> tuple[int, int]:
        """The free state and the one at the targets."""
        return SIGNS["positive"]

    @property
    def strength(self) -> float:
        """The estimate is the plain difference."""
        return 1.0

    def phase(self, sign, targets, cost):
        """Return the outputs held at their targets; see `AbstractContrast`."""
        return Hold(targets)
