"""Truncated backpropagation: through the last visits of a relaxation, neighbors in turn."""

import dataclasses

from eqprop_spice.rules.backpropagation import AbstractTruncated
from eqprop_spice.settled import Relaxation


@dataclasses.dataclass(frozen=True)
class TruncatedBackpropagation(AbstractTruncated):
    """TBP: the gradient through the last iterations of a relaxation, its start taken as given.

    From the operating point, the circuit relaxes some more, every second layer at once and then
    the others, and the cost is differentiated through these iterations alone. With their number the
    estimate converges to the exact gradient; no physical system does it.

    Attributes:
        num_iterations: Iterations that are differentiated through.

    References:
        Scellier et al. (2023), arXiv:2312.15103, section 3.
    """

    @property
    def relaxation(self) -> Relaxation:
        """Visit neighbors in turn."""
        return Relaxation(self.num_iterations, synchronous=False)
