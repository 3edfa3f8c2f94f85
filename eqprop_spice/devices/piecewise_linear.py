"""Diodes of two straight lines."""

import dataclasses

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.devices.diode import AbstractDiode
from eqprop_spice.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class PiecewiseLinear(AbstractDiode):
    r"""A diode whose law is two straight lines that meet at a threshold, anode first.

    $i = g_{off} v + (g_{on} - g_{off}) \max(v - V_T, 0)$.

    Attributes:
        on_conductance: $g_{on}$ [S].
        off_conductance: $g_{off}$ [S]; above zero, so that the law increases everywhere.
        threshold: $V_T$ [V].
    """

    on_conductance: float | Array
    off_conductance: float | Array = 1e-9
    threshold: float | Array = 0.0

    def __post_init__(self) -> None:
        """Refuse lines that are no diode."""
        on, off, threshold = np.broadcast_arrays(
            self.on_conductance, self.off_conductance, self.threshold
        )
        good = (off > 0.0) & (on >= off) & np.isfinite(on) & np.isfinite(threshold)
        if not good.all():
            where = np.argmin(good)
            raise ConfigError(
                f"A piecewise linear diode has off_conductance {off.flat[where]} S, on_conductance "
                f"{on.flat[where]} S and threshold {threshold.flat[where]} V; they must be finite, "
                "and the conductances positive and in ascending order."
            )

    @property
    def _step(self) -> float | Array:
        """By how much the conductance grows at the threshold [S]."""
        return self.on_conductance - self.off_conductance

    def current(self, voltage):
        """Return the current into the anode [A]."""
        over = voltage.__array_namespace__().maximum(voltage - self.threshold, 0.0)
        return self.off_conductance * voltage + self._step * over

    def conductance(self, voltage):
        """Return the slope of the line [S]; at the threshold that of the upper one."""
        xp = voltage.__array_namespace__()
        return self.off_conductance + self._step * xp.where(voltage >= self.threshold, 1.0, 0.0)

    def co_content(self, voltage):
        r"""Return $(g_{off} v^2 + (g_{on} - g_{off}) (o(v)^2 - o(0)^2)) / 2$ [W].

        o is the voltage above the threshold, or zero.
        """
        xp = voltage.__array_namespace__()
        over = xp.maximum(voltage - self.threshold, 0.0)
        before = np.maximum(-np.asarray(self.threshold), 0.0)
        return 0.5 * (self.off_conductance * voltage**2 + self._step * (over**2 - before**2))

    def card(self, name, nodes):
        """Return the B card of a source with this law."""
        v = f"v({nodes[0]},{nodes[1]})"
        threshold, step = float(self.threshold), float(self._step)
        over = f"{v} >= {threshold!r} ? {step!r}*({v}-({threshold!r})) : 0"
        return f"b{name} {nodes[0]} {nodes[1]} i={float(self.off_conductance)!r}*{v}+({over})"

    def behavioral_cards(self, name, nodes):
        """Return its card, which is behavioral."""
        return [self.card(name, nodes)]
