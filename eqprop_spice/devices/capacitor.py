"""Capacitors: what keeps a voltage while time passes, and no current at rest."""

import dataclasses

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.devices.base import AbstractTwoTerminal
from eqprop_spice.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class AbstractCapacitance(AbstractTwoTerminal):
    """A charge that follows from the voltage, and no direct current."""

    @property
    def paths(self) -> tuple[tuple[int, int], ...]:
        """No direct current flows."""
        return ()

    @property
    def kind(self) -> str:
        """Its power counts to the capacitors'."""
        return "capacitors"

    def current(self, voltage):
        """Return 0 A."""
        return 0.0 * voltage

    def conductance(self, voltage):
        """Return 0 S."""
        return 0.0 * voltage

    def co_content(self, voltage):
        """Return 0 W."""
        return 0.0 * voltage


@dataclasses.dataclass(frozen=True)
class Capacitor(AbstractCapacitance):
    """A linear capacitor: $q = C v$. It carries no direct current.

    Attributes:
        farads: Its capacitance C [F].
    """

    farads: float | Array

    def __post_init__(self) -> None:
        """Refuse a capacitance that would give energy away."""
        values = np.ravel(self.farads)
        good = np.isfinite(values) & (values > 0.0)
        if not good.all():
            raise ConfigError(
                f"A capacitor has {values[np.argmin(good)]} F; it must be finite and positive, "
                "such as 1e-12 F."
            )

    def charge(self, voltage):
        """Return $C v$ [C]."""
        return self.farads * voltage

    def capacitance(self, voltage):
        """Return C [F]."""
        return self.farads + 0.0 * voltage

    def card(self, name, nodes):
        """Return the C card."""
        return f"c{name} {nodes[0]} {nodes[1]} {float(self.farads)!r}"
