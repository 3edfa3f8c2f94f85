"""Resistors, the trainable devices."""

import dataclasses

from eqprop_spice.arrays import Array
from eqprop_spice.devices.base import AbstractTwoTerminal


@dataclasses.dataclass(frozen=True)
class Resistor(AbstractTwoTerminal):
    """An ohmic resistor with conductance g [S]: $i = g v$, co-content $g v^2 / 2$."""

    @property
    def trainable(self) -> bool:
        """A resistor learns its conductance."""
        return True

    def current(self, voltage, value: Array = None):
        """Return $g v$ [A]."""
        return value * voltage

    def conductance(self, voltage, value: Array = None):
        """Return g [S]."""
        return value + 0.0 * voltage

    def co_content(self, voltage, value: Array = None):
        """Return $g v^2 / 2$ [W]."""
        return 0.5 * value * voltage**2

    def card(self, name, first, second, value=None):
        """Return the R card; SPICE wants the resistance [ohm]."""
        assert value is not None, "a resistor's card needs its conductance"
        return f"r{name} {first} {second} {1.0 / float(value)!r}"
