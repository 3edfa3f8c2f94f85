"""Conductances of signed coefficients that all start positive."""

import dataclasses

from eqprop_spice.circuits.pairs import Pairs, check_pairs
from eqprop_spice.initializers.base import AbstractInitializer
from eqprop_spice.initializers.uniform import Uniform


@dataclasses.dataclass(frozen=True)
class PositivePairs(AbstractInitializer):
    """Draw the positive member of every pair from U(lower, upper); switch the other off.

    Attributes:
        pairs: By group name, pairs of rows (positive node's, negative node's).
        lower: Smallest conductance [S].
        upper: Largest conductance [S].
        floor: The conductance of a resistor that is switched off [S].
    """

    pairs: Pairs
    lower: float = 1e-4
    upper: float = 1e-1
    floor: float = 1e-12

    def check_shapes(self, shapes):
        """Refuse pairs of rows that the layers do not have."""
        check_pairs(self.pairs, self.floor, shapes)

    def __call__(self, shapes, rng):
        """Return the drawn conductances."""
        params = Uniform(self.lower, self.upper)(shapes, rng)
        for name, pairs in self.pairs.items():
            for _, negative in pairs:
                params[name][negative] = self.floor
        return params
