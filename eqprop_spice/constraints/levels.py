"""Parameters with few bits: levels at equal distances on both sides of zero."""

import dataclasses
import math
from collections.abc import Mapping

import jax.numpy as jnp

from eqprop_spice.arrays import Array
from eqprop_spice.constraints.base import AbstractConstraint
from eqprop_spice.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Levels(AbstractConstraint):
    r"""Clip every parameter to $\pm m$ and round it to one of $2^b$ levels, after every update.

    What is below half a level is lost: updates do not add up.

    Attributes:
        bits: b, at least 1; 0 clips only.
        largest: m.

    References:
        Gower (2025), arXiv:2505.02103 (quantized parameters).
    """

    bits: int
    largest: float = 1.0

    def __post_init__(self) -> None:
        """Refuse levels that are none."""
        if self.bits < 0:
            raise ConfigError(f"bits is {self.bits}; it must not be negative.")
        if not 0.0 < self.largest < math.inf:
            raise ConfigError(f"largest is {self.largest}; it must be finite and positive.")

    def __call__(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """Return the levels that are nearest."""
        return {name: self._nearest(jnp.asarray(value)) for name, value in params.items()}

    def _nearest(self, values: Array) -> Array:
        clipped = jnp.clip(values, -self.largest, self.largest)
        if not self.bits:
            return clipped
        distance = 2.0 * self.largest / (2**self.bits - 1)
        return distance * jnp.round((clipped + self.largest) / distance) - self.largest
