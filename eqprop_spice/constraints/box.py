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
        groups: Smallest and largest value of groups by name, instead: currents [A] of either sign,
            or conductances.
    """

    lower: float
    upper: float
    groups: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse bounds that leave no positive conductance, or that are no interval."""
        for name, (lower, upper) in self.groups.items():
            if not -math.inf < lower < upper < math.inf:
                raise ConfigError(
                    f"The Box constraint has groups with bounds {lower} and {upper} for '{name}'; "
                    "they must be finite and in ascending order."
                )
        if not (0 < self.lower < self.upper and math.isfinite(self.upper)):
            raise ConfigError(
                f"The Box constraint has bounds {self.lower} S and {self.upper} S; they must be "
                "positive, finite and in ascending order."
            )

    def __call__(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """Return the clipped parameters."""
        bounds = {name: self.groups.get(name, (self.lower, self.upper)) for name in params}
        return {name: jnp.clip(value, *bounds[name]) for name, value in params.items()}

    @property
    def named(self) -> frozenset[str]:
        """The groups with bounds of their own."""
        return frozenset(self.groups)
