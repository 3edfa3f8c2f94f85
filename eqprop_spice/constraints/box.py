"""Conductances between two bounds."""

import dataclasses
import math
from collections.abc import Mapping

import jax.numpy as jnp

from eqprop_spice.arrays import Array
from eqprop_spice.constraints.base import AbstractConstraint
from eqprop_spice.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Box(AbstractConstraint):
    """Clip every conductance to [lower, upper].

    Attributes:
        lower: Smallest conductance [S], above zero.
        upper: Largest conductance [S].
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        """Refuse bounds that leave no positive conductance."""
        if not (0 < self.lower < self.upper and math.isfinite(self.upper)):
            raise ConfigError(
                f"The Box constraint has bounds {self.lower} S and {self.upper} S; they must be "
                "positive, finite and in ascending order."
            )

    def __call__(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """Return the clipped conductances."""
        return {name: jnp.clip(value, self.lower, self.upper) for name, value in params.items()}
