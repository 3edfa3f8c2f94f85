"""Resistors: trainable ones, and those that stay as they are."""

import dataclasses
import math

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.devices.base import AbstractTwoTerminal
from eqprop_spice.errors import NetlistError


@dataclasses.dataclass(frozen=True)
class AbstractResistor(AbstractTwoTerminal):
    """An ohmic resistor with conductance g [S]: $i = g v$, co-content $g v^2 / 2$."""

    siemens: float | Array

    @property
    def kind(self) -> str:
        """Its power counts to the resistors'."""
        return "resistors"

    @property
    def linear(self) -> bool:
        """Its law is Ohm's."""
        return True

    def current(self, voltage):
        """Return $g v$ [A]."""
        return self.siemens * voltage

    def conductance(self, voltage):
        """Return g [S]."""
        return self.siemens + 0.0 * voltage

    def co_content(self, voltage):
        """Return $g v^2 / 2$ [W]."""
        return 0.5 * self.siemens * voltage**2

    def card(self, name, nodes):
        """Return the R card; SPICE wants the resistance [ohm]."""
        return f"r{name} {nodes[0]} {nodes[1]} {1.0 / float(self.siemens)!r}"


@dataclasses.dataclass(frozen=True)
class Resistor(AbstractResistor):
    """A resistor that learns.

    Attributes:
        siemens: Its conductance [S]; in a circuit, that of the parameters.
    """

    siemens: float | Array = math.nan

    @property
    def parameter(self) -> str:
        """A resistor learns its conductance."""
        return "siemens"


@dataclasses.dataclass(frozen=True)
class FixedResistor(AbstractResistor):
    """A resistor that does not learn.

    Attributes:
        siemens: Its conductance [S].
    """

    def __post_init__(self) -> None:
        """Refuse a conductance that no resistor has."""
        g = np.ravel(self.siemens)
        with np.errstate(divide="ignore", over="ignore"):
            good = (g > 0.0) & np.isfinite(g) & np.isfinite(1.0 / g)
        if not good.all():
            raise NetlistError(
                f"A fixed resistor has conductance {g[np.argmin(good)]} S; it must be finite and "
                "positive, such as 1e-2 S."
            )
