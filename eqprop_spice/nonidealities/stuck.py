"""Devices that cannot be programmed."""

import dataclasses
import math

from eqprop_spice.errors import ConfigError
from eqprop_spice.nonidealities.base import AbstractNonideality, check_seed, generator


@dataclasses.dataclass(frozen=True)
class StuckDevices(AbstractNonideality):
    """A random share of the devices has one conductance for ever.

    Devices that share a conductance are stuck together.

    Attributes:
        fraction: Probability of a device to be stuck.
        conductance: Where they are stuck [S].
        seed: Seed of the chip.
    """

    fraction: float
    conductance: float
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no probability, or no conductance."""
        check_seed(self, self.seed)
        if not 0.0 <= self.fraction <= 1.0:
            raise ConfigError(f"StuckDevices has fraction {self.fraction}; it is from 0 to 1.")
        if not 0.0 < self.conductance < math.inf:
            raise ConfigError(
                f"StuckDevices has conductance {self.conductance} S; it must be positive and "
                "finite. An open device has a small one, such as 1e-9 S."
            )

    def on_conductances(self, params):
        """Return the conductances of the devices [S]."""
        result = {}
        for name, value in params.items():
            stuck = generator(self.seed, name).random(value.shape) < self.fraction
            result[name] = value.__array_namespace__().where(stuck, self.conductance, value)
        return result
