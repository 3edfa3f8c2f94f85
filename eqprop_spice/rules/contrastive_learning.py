"""Contrastive learning: contrast the free state with the one whose outputs are the targets."""

import dataclasses

from eqprop_spice.phases import Free
from eqprop_spice.rules.base import AbstractRule, Estimate


@dataclasses.dataclass(frozen=True)
class ContrastiveLearning(AbstractRule):
    r"""CL: $E_\theta(\text{outputs held at } t) - E_\theta(\text{free})$.

    It descends the contrast of the two energies, which is zero where the targets are met, and not
    the cost. The estimate's unit is [V^2]; a learning rate has [S/V^2].

    References:
        Movellan (1991); Scellier et al. (2023), arXiv:2312.15103.
    """

    @property
    def bears_read_noise(self) -> bool:
        """No: held outputs are set, not read."""
        return False

    def __call__(self, substrate, params, inputs, targets, cost) -> Estimate:
        """Return the contrast; see `AbstractRule`."""
        (free,) = substrate.settle(params, inputs, [Free()])
        outputs = substrate.outputs(free)
        displacement = self.displacement(outputs, targets, cost)
        held = substrate.clamp(params, inputs, free, displacement)
        converged = substrate.converged(held)
        return Estimate(substrate.contrast(free, held, converged), outputs, converged)

    def displacement(self, outputs, targets, cost):
        """Return what takes the outputs to their targets."""
        return targets - outputs
