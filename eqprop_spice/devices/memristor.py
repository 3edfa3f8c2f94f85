"""Memristors: resistors whose conductance follows from the charge that went through them."""

import dataclasses

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.devices.base import AbstractTwoTerminal
from eqprop_spice.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Memristor(AbstractTwoTerminal):
    r"""The memristor of dopants that drift, with Biolek's window.

    $i = v / R$, $R = R_{off} - (R_{off} - R_{on})\,x$, and the share x of doped length follows

    $\dot x = k\,i\,(1 - (x - s)^{2p})$, where s is 1 for $i < 0$, else 0.

    So x goes towards 1 under a positive current and towards 0 under a negative one, slows down
    before either bound, and leaves both freely. At an operating point x stays where it is: there
    the memristor is a resistor, and both engines, the weights and the audit take it for one.

    Attributes:
        on_resistance: $R_{on}$ [ohm], where x is 1.
        off_resistance: $R_{off}$ [ohm], where x is 0.
        drift: k [1/C]: dopant mobility times $R_{on}$ over the square of the length.
        window: p; the larger, the closer to its bounds x moves undisturbed.
        state: x, between 0 and 1; in a transient, where it starts.

    References:
        Strukov et al. (2008), Nature 453, 80, eqs. 5 and 6; Biolek, Biolek and Biolkova (2009),
        Radioengineering 18, 210, eq. 4.
    """

    on_resistance: float | Array = 100.0
    off_resistance: float | Array = 16e3
    drift: float | Array = 1e4
    window: int = 2
    state: float | Array = 0.5

    def __post_init__(self) -> None:
        """Refuse values that are no memristor."""
        if np.ndim(self.state) > 1:
            # A solver moves the states of a batch, and may overshoot a bound by its tolerance.
            return
        for name, rule in (("on_resistance", "positive"), ("drift", "positive")):
            self._require(name, np.ravel(getattr(self, name)) > 0.0, rule)
        above = np.ravel(np.asarray(self.off_resistance) > np.asarray(self.on_resistance))
        self._require("off_resistance", above, "above on_resistance")
        self._require("window", np.ravel(np.asarray(self.window) >= 1), "1 or more")
        states = np.ravel(self.state)
        self._require("state", (states >= 0.0) & (states <= 1.0), "between 0 and 1")

    def _require(self, name: str, good: np.ndarray, rule: str) -> None:
        values = np.ravel(getattr(self, name))
        good = good & np.isfinite(values)
        if not good.all():
            value = np.broadcast_to(values, good.shape)[np.argmin(good)]
            raise ConfigError(f"A memristor has {name} {value}; it must be finite and {rule}.")

    @property
    def kind(self) -> str:
        """Its power counts to the resistors'."""
        return "resistors"

    @property
    def linear(self) -> bool:
        """While its state stays, its law is Ohm's."""
        return True

    @property
    def states(self) -> tuple[str, ...]:
        """The share of doped length."""
        return ("state",)

    @property
    def resistance(self) -> Array | float:
        """R at the present state [ohm]."""
        return self.off_resistance - (self.off_resistance - self.on_resistance) * self.state

    def current(self, voltage):
        """Return $v / R$ [A]."""
        return voltage / self.resistance

    def conductance(self, voltage):
        """Return $1 / R$ [S]."""
        return 1.0 / self.resistance + 0.0 * voltage

    def co_content(self, voltage):
        """Return $v^2 / 2 R$ [W], at the present state."""
        return 0.5 * voltage**2 / self.resistance

    def _window(self, voltage):
        """Return the window and its derivative by the state."""
        xp = voltage.__array_namespace__()
        distance = self.state - xp.where(voltage < 0.0, 1.0, 0.0)
        power = 2 * self.window
        return 1.0 - distance**power, -power * distance ** (power - 1)

    def rates(self, voltage):
        """Return the rate of the state [1/s]."""
        return (self.drift * self.current(voltage) * self._window(voltage)[0],)

    def rate_slopes(self, voltage):
        """Return the derivatives of the rate by voltage and state."""
        window, bend = self._window(voltage)
        ((by_state,),) = self.state_slopes(voltage)
        return (
            (
                self.drift * self.conductance(voltage) * window,
                self.drift * (by_state * window + self.current(voltage) * bend),
            ),
        )

    def state_slopes(self, voltage):
        """Return the derivative of the current by the state [A]."""
        span = self.off_resistance - self.on_resistance
        return ((voltage * span / self.resistance**2,),)

    def card(self, name, nodes):
        """Return the R card of the present state."""
        return f"r{name} {nodes[0]} {nodes[1]} {float(self.resistance)!r}"

    def moving_cards(self, name, nodes):
        """Return a B source as the resistor, and a node of 1 F at x volts with its own source."""
        x, v = f"_state_{name}", f"v({nodes[0]},{nodes[1]})"
        on, off = float(self.on_resistance), float(self.off_resistance)
        current = f"{v}/({off!r}-{off - on!r}*v({x}))"
        # An even power: ngspice takes the magnitude of its base.
        window = f"(1-pow(v({x})-({v}<0?1:0),{2 * self.window}))"
        return [
            f"b{name} {nodes[0]} {nodes[1]} i={current}",
            f"c{x} {x} 0 1",
            f"b{x} 0 {x} i={float(self.drift)!r}*({current})*{window}",
            f".ic v({x})={float(self.state)!r}",
        ]
