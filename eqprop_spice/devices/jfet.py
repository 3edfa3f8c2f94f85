r"""Junction field-effect transistors with ngspice's level 1 (Shichman, Hodges), both channels.

With the channel's polarity $p = \pm 1$, source and drain exchanged where $p V_{DS} < 0$, and
voltages times p from here on, $V = V_{GS} - V_{TO}$, $\beta' = \beta (1 + \lambda V_{DS})$, and
$b' = (1 - b) / (P_B - V_{TO})$:

$I = 0$ for $V \le 0$, $\ \beta' V^2 (b + b' V)$ for $0 < V < V_{DS}$,
$\ \beta' V_{DS} (V_{DS} (b' V_{DS} - b) + V (2 b + 3 b' (V - V_{DS})))$ else.

A junction leads from the gate to either end of the channel: $I_s (e^{v / v_T} - 1)$ above
$-3 v_T$, $-I_s (1 + (3 v_T / e v)^3)$ below, and gmin beside it. Series resistances are not part of
it.

References:
    Parker and Skellern (1990), doi:10.1109/81.32748 (b); Vogt et al., ngspice manual, section 9.1.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.constants import (
    JUNCTION_CONDUCTANCE,
    TEMPERATURE,
    ZERO_CELSIUS,
)
from eqprop_spice.devices.diode import junction_law, limited_junction
from eqprop_spice.devices.transistor import (
    LARGEST_EXPONENT,
    AbstractTransistor,
)

ENERGY_GAP = 1.11
"""Of the gate's junctions [eV]."""

CARD = {
    "threshold": "vto",
    "transconductance": "beta",
    "channel_modulation": "lambda",
    "saturation_current": "is",
    "doping_tail": "b",
    "gate_potential": "pb",
    "threshold_drift": "tcv",
    "transconductance_drift": "betatce",
}
"""The fields with their names in a .model card."""


@dataclasses.dataclass(frozen=True)
class Jfet(AbstractTransistor):
    r"""A junction field-effect transistor: drain, gate, source.

    Its drain current depends on the gate, but hardly the gate current on the drain: it has no
    co-content, and a circuit with one no energy.

    Attributes:
        model: Name of the SPICE model.
        channel: "njf" or "pjf".
        threshold: VTO, at which the channel opens; negative for both channels [V].
        transconductance: BETA [A/V^2].
        channel_modulation: LAMBDA [1/V].
        saturation_current: IS of either gate junction [A].
        doping_tail: B.
        gate_potential: PB [V].
        threshold_drift: TCV, by how much the threshold falls with the temperature [V/K].
        transconductance_drift: BETATCE, in percent per kelvin.
        area: How many times as wide it is as its model.
        multiplier: How many are in parallel, each with its own gmin.
        temperature: The device's temperature [K]; all other values are those at
            `nominal_temperature`.
        nominal_temperature: TNOM [K].
    """

    POLARITIES: ClassVar[Mapping[str, float]] = {"njf": 1.0, "pjf": -1.0}

    model: str
    channel: str = "njf"
    threshold: float | Array = -2.0
    transconductance: float | Array = 1e-4
    channel_modulation: float | Array = 0.0
    saturation_current: float | Array = 1e-14
    doping_tail: float | Array = 1.0
    gate_potential: float | Array = 1.0
    threshold_drift: float | Array = 0.0
    transconductance_drift: float | Array = 0.0
    area: float | Array = 1.0
    multiplier: float | Array = 1.0
    temperature: float = TEMPERATURE
    nominal_temperature: float | Array = TEMPERATURE

    def __post_init__(self) -> None:
        """Refuse values that ngspice would take without a word, and names it would execute."""
        self._check_model()
        for field in dataclasses.fields(self)[2:]:
            values = np.ravel(getattr(self, field.name))
            good, rule = np.isfinite(values), "finite"
            if field.name == "channel_modulation":
                good, rule = good & (values >= 0.0), "finite and not negative"
            elif field.name != "threshold" and not field.name.endswith("drift"):
                good, rule = good & (values > 0.0), "finite and positive"
            self._require(field.name, good, f"be {rule}")

    @property
    def terminals(self) -> tuple[str, ...]:
        """In SPICE's order."""
        return ("drain", "gate", "source")

    @property
    def paths(self) -> tuple[tuple[int, int], ...]:
        """The channel, and both gate junctions."""
        return ((0, 2), (1, 0), (1, 2))

    @property
    def _hot(self) -> tuple[Any, Any, Any]:
        """VTO [V], beta [A/V^2] and I_s [A] at the device's temperature."""
        rise = self.temperature - self.nominal_temperature
        threshold = self.threshold - self.threshold_drift * rise
        beta = self.transconductance * 1.01 ** (self.transconductance_drift * rise) * self.area
        growth = np.exp(rise / self.nominal_temperature * ENERGY_GAP / self.thermal_voltage)
        return threshold, beta, self.saturation_current * growth * self.area

    def _channel(self, drop, gate):
        """Return the channel's current [A] and its derivatives [S] by drop and gate voltage.

        Args:
            drop: $V_{DS}$ times the polarity, not negative [V].
            gate: $V_{GS}$ times the polarity [V].
        """
        xp = drop.__array_namespace__()
        threshold, beta, _ = self._hot
        over, b = gate - threshold, self.doping_tail
        bent = (1.0 - b) / (self.gate_potential - self.threshold)
        linear = over >= drop
        part = 2.0 * b + 3.0 * bent * (over - drop)
        shape = xp.where(
            linear,
            drop * (drop * (bent * drop - b) + over * part),
            over**2 * (b + bent * over),
        )
        by_over = xp.where(
            linear, drop * (part + 3.0 * bent * over), over * (2.0 * b + 3.0 * bent * over)
        )
        by_drop = xp.where(linear, (over - drop) * part, 0.0)
        on = over > 0.0
        modulated = beta * (1.0 + self.channel_modulation * drop)
        current = xp.where(on, modulated * shape, 0.0)
        by_gate = xp.where(on, modulated * by_over, 0.0)
        slope = modulated * by_drop + beta * self.channel_modulation * shape
        return current, xp.where(on, slope, 0.0), by_gate

    def _junction(self, v):
        """Return current [A] and conductance [S] of a gate junction, gmin included."""
        current, slope = junction_law(
            v, self.thermal_voltage, self._hot[2], largest_exponent=LARGEST_EXPONENT
        )
        return current + JUNCTION_CONDUCTANCE * v, slope + JUNCTION_CONDUCTANCE

    def _oriented(self, drain, gate):
        """Return which instances conduct from drain to source, and the channel as seen so."""
        xp, p = drain.__array_namespace__(), self.polarity
        normal = p * drain >= 0.0
        return normal, self._channel(abs(drain), p * (gate - xp.where(normal, 0.0, drain)))

    def currents(self, drain, gate):
        """Return the currents into drain and gate [A]; drops are those above the source [V]."""
        xp, p = drain.__array_namespace__(), self.polarity
        normal, (channel, *_) = self._oriented(drain, gate)
        into_drain, _ = self._junction(p * (gate - drain))
        into_source, _ = self._junction(p * gate)
        through = xp.where(normal, channel, -channel)
        p = p * self.multiplier
        return p * (through - into_drain), p * (into_drain + into_source)

    def slopes(self, drain, gate):
        """Return the derivatives of the currents into drain and gate [S]."""
        xp, p = drain.__array_namespace__(), self.polarity
        normal, (_, g_ds, g_m) = self._oriented(drain, gate)
        _, at_drain = self._junction(p * (gate - drain))
        _, at_source = self._junction(p * gate)
        # Exchanged, the gate is above the drain, which then counts for both.
        by_drain = xp.where(normal, g_ds, g_ds + g_m)
        by_gate = xp.where(normal, g_m, -g_m)
        m = self.multiplier
        return (
            (m * (by_drain + at_drain), m * (by_gate - at_drain)),
            (-m * at_drain, m * (at_drain + at_source)),
        )

    def limit_step(self, new, old):
        """Limit both gate junctions as SPICE does, the source where Newton puts it."""
        vt, i_s, p = self.thermal_voltage, self._hot[2], self.polarity
        gate = p * limited_junction(p * new[1], p * old[1], vt, i_s)
        before = p * (old[1] - old[0])
        across = p * limited_junction(p * (new[1] - new[0]), before, vt, i_s)
        return gate - across, gate

    def card(self, name, nodes):
        """Return the J card."""
        size = f"area={float(self.area)!r} m={float(self.multiplier)!r}"
        return f"j{name} {' '.join(nodes)} {self.model} {size}{self._heat}"

    def model_card(self):
        """Return the .model card."""
        values = {name: float(getattr(self, field)) for field, name in CARD.items()}
        written = " ".join(f"{name}={value!r}" for name, value in values.items())
        nominal = float(self.nominal_temperature) - ZERO_CELSIUS
        return f".model {self.model} {self.channel}({written} tnom={nominal!r})"
