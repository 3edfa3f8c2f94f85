"""Recurrent backpropagation: the adjoint system relaxes, all nodes at once."""

import dataclasses

from eqprop_spice.rules.backpropagation import AbstractTruncated
from eqprop_spice.settled import Relaxation


@dataclasses.dataclass(frozen=True)
class RecurrentBackpropagation(AbstractTruncated):
    r"""RBP: $\sum_{k<K} (\partial C/\partial u) (\partial T/\partial u)^k \partial T/\partial g$.

    T is one step of a relaxation in which all nodes move at once, taken at the operating point.
    With K the estimate converges to the exact gradient; no physical system does it.

    Attributes:
        num_iterations: K.

    References:
        Almeida (1987); Pineda (1987), doi:10.1103/PhysRevLett.59.2229; Scellier et al. (2023),
        arXiv:2312.15103, section 3.
    """

    @property
    def relaxation(self) -> Relaxation:
        """Move all nodes at once."""
        return Relaxation(self.num_iterations, synchronous=True)
