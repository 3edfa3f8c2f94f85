"""Conductances drawn from one uniform distribution."""

import dataclasses
import math

from eqprop_spice.errors import ConfigError
from eqprop_spice.initializers.base import AbstractInitializer


@dataclasses.dataclass(frozen=True)
class Uniform(AbstractInitializer):
    """Draw every conductance from U(lower, upper).

    Attributes:
        lower: Smallest conductance [S], above zero.
        upper: Largest conductance [S].
    """

    lower: float = 1e-4
    upper: float = 1e-1

    def __post_init__(self) -> None:
        """Refuse bounds that are not an interval of positive conductances."""
        if not 0 < self.lower <= self.upper < math.inf:
            raise ConfigError(
                f"Uniform has bounds {self.lower} S and {self.upper} S; they must be positive, "
                "finite and in ascending order."
            )

    def __call__(self, shapes, rng):
        """Return the drawn conductances."""
        return {name: rng.uniform(self.lower, self.upper, shape) for name, shape in shapes.items()}
