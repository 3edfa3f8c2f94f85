"""What all transistors share: a model's name, a polarity, a temperature, and their refusals."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from eqprop_spice.constants import BOLTZMANN, ELEMENTARY_CHARGE, TEMPERATURE, ZERO_CELSIUS
from eqprop_spice.devices.base import AbstractDevice, check_model_name
from eqprop_spice.errors import ConfigError

LARGEST_EXPONENT = 600.0
"""Where exp is cut off: a junction that far in forward direction is no operating point."""


class AbstractTransistor(AbstractDevice):
    """A transistor with a SPICE model, of either polarity, at a temperature.

    Attributes:
        model: Name of the SPICE model.
        channel: A key of `POLARITIES`.
        temperature: The device's temperature [K].
    """

    POLARITIES: ClassVar[Mapping[str, float]]
    """1 or -1 by SPICE's name of the kind of model."""

    model: str
    channel: str
    temperature: float

    def _check_model(self) -> None:
        """Refuse kinds that there are not, and names that ngspice would execute."""
        check_model_name(self.model, "transistor model")
        if self.channel not in self.POLARITIES:
            raise ConfigError(
                f"Transistor '{self.model}' has channel {self.channel!r}; it is one of "
                f"{', '.join(self.POLARITIES)}."
            )

    def _require(self, name: str, good: Any, rule: str) -> None:
        """Refuse a field unless all its values are good, by what they must be."""
        if not np.all(good):
            value = np.ravel(getattr(self, name))[np.argmin(good)]
            raise ConfigError(f"Transistor '{self.model}' has {name} {value}; it must {rule}.")

    @property
    def kind(self) -> str:
        """Its power counts to the transistors'."""
        return "transistors"

    @property
    def polarity(self) -> float:
        """1 or -1: what turns its voltages into those of `POLARITIES`' first kind."""
        return self.POLARITIES[self.channel]

    @property
    def thermal_voltage(self) -> float:
        """kT/q at the device's temperature [V]."""
        return BOLTZMANN * self.temperature / ELEMENTARY_CHARGE

    @property
    def _heat(self) -> str:
        """What a card says of the temperature, if it is not the usual one."""
        if self.temperature == TEMPERATURE:
            return ""
        return f" temp={float(self.temperature) - ZERO_CELSIUS!r}"

    def at_temperature(self, kelvin):
        """Return the transistor at a temperature [K]; its card says so."""
        return dataclasses.replace(self, temperature=float(kelvin))  # pyright: ignore
