"""Resistors: trainable ones, and those that stay as they are."""

import dataclasses
import math

from eqprop_spice.arrays import Array
from eqprop_spice.devices.base import AbstractTwoTerminal
from eqprop_spice.errors import NetlistError


@dataclasses.dataclass(frozen=True)
class Resistor(AbstractTwoTerminal):
    """An ohmic resistor with conductance g [S]: $i = g v$, co-content $g v^2 / 2$."""

    @property
    def trainable(self) -> bool:
        """A resistor learns its conductance."""
        return True

    @property
    def linear(self) -> bool:
        """Its law is Ohm's."""
        return True

    def current(self, voltage, value: Array | float):
        """Return $g v$ [A]."""
        return value * voltage

    def conductance(self, voltage, value: Array | float):
        """Return g [S]."""
        return value + 0.0 * voltage

    def co_content(self, voltage, value: Array | float):
        """Return $g v^2 / 2$ [W]."""
        return 0.5 * value * voltage**2

    def card(self, name, first, second, value=None):
        """Return the R card; SPICE wants the resistance [ohm]."""
        assert value is not None, "a resistor's card needs its conductance"
        return f"r{name} {first} {second} {1.0 / float(value)!r}"


@dataclasses.dataclass(frozen=True)
class FixedResistor(AbstractTwoTerminal):
    """An ohmic resistor that does not learn, with the law of `Resistor`.

    Attributes:
        siemens: Its conductance [S].
    """

    siemens: float

    def __post_init__(self) -> None:
        """Refuse a conductance that no resistor has."""
        if not (0.0 < self.siemens < math.inf and math.isfinite(1.0 / self.siemens)):
            raise NetlistError(
                f"A fixed resistor has conductance {self.siemens} S; it must be finite and "
                "positive, such as 1e-2 S."
            )

    @property
    def linear(self) -> bool:
        """Its law is Ohm's."""
        return True

    def current(self, voltage, value=None):
        """Return $g v$ [A]."""
        return Resistor().current(voltage, self.siemens)

    def conductance(self, voltage, value=None):
        """Return g [S]."""
        return Resistor().conductance(voltage, self.siemens)

    def co_content(self, voltage, value=None):
        """Return $g v^2 / 2$ [W]."""
        return Resistor().co_content(voltage, self.siemens)

    def card(self, name, first, second, value=None):
        """Return the R card; SPICE wants the resistance [ohm]."""
        return Resistor().card(name, first, second, self.siemens)
