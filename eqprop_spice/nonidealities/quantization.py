"""Conductances that take a few values only."""

import dataclasses
from typing import Literal

from eqprop_spice.errors import ConfigError
from eqprop_spice.nonidealities.base import AbstractNonideality


@dataclasses.dataclass(frozen=True)
class QuantizedConductances(AbstractNonideality):
    """Every device takes the nearest of equally spaced conductances.

    Updates go to the programmed value, which has all its digits: small steps add up until the
    device moves to the next level.

    Attributes:
        levels: How many there are, at least two.
        lower: The smallest [S].
        upper: The largest [S].
        spacing: "linear": equal differences; "logarithmic": equal ratios.
    """

    levels: int
    lower: float
    upper: float
    spacing: Literal["linear", "logarithmic"] = "linear"

    def __post_init__(self) -> None:
        """Refuse levels that are none."""
        if self.levels < 2 or not 0.0 < self.lower < self.upper < float("inf"):
            raise ConfigError(
                f"QuantizedConductances has {self.levels} levels from {self.lower} S to "
                f"{self.upper} S; it needs at least two, positive and in ascending order."
            )

    def on_conductances(self, params):
        """Return the conductances of the devices [S]."""
        return {name: self._nearest(value) for name, value in params.items()}

    def _nearest(self, value):
        xp = value.__array_namespace__()
        steps = self.levels - 1
        clipped = xp.clip(value, self.lower, self.upper)
        if self.spacing == "linear":
            step = (self.upper - self.lower) / steps
            return self.lower + step * xp.round((clipped - self.lower) / step)
        ratio = (self.upper / self.lower) ** (1.0 / steps)
        position = xp.round(xp.log(clipped / self.lower) / xp.log(xp.asarray(ratio)))
        return self.lower * ratio**position
