"""Conductances of which half start at the smallest value."""

import dataclasses

import numpy as np

from eqprop_spice.errors import ConfigError
from eqprop_spice.initializers.base import AbstractInitializer


@dataclasses.dataclass(frozen=True)
class RectifiedNormal(AbstractInitializer):
    """Draw the positive part of a normal distribution, clipped to bounds.

    Where every coefficient is the difference of two conductances, the coefficients start with mean
    zero, and about half of the conductances have the lower bound.

    Attributes:
        deviation: Standard deviation before rectification [S].
        lower: Smallest conductance [S], above zero.
        upper: Largest conductance [S].
    """

    deviation: float = 1e-5
    lower: float = 1e-7
    upper: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse bounds that are not an interval of positive conductances."""
        if not (0 < self.lower < self.upper and self.deviation > 0):
            raise ConfigError(
                f"RectifiedNormal has deviation {self.deviation} S and bounds {self.lower} S and "
                f"{self.upper} S; all must be positive, the bounds in ascending order."
            )

    def __call__(self, shapes, rng):
        """Return the drawn conductances."""
        return {
            name: np.clip(rng.normal(0.0, self.deviation, shape), self.lower, self.upper)
            for name, shape in shapes.items()
        }
