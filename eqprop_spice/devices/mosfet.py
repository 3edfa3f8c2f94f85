r"""MOS transistors with ngspice's level 1 (Shichman and Hodges), n- and p-channel.

Voltages are taken relative to the bulk. With the channel's polarity $p = \pm 1$, source and drain
exchanged where $p V_{DS} < 0$, and voltages times p from here on,

$V_T = V_{BI} + \gamma\,s(V_{BS})$, $\quad V = V_{GS} - V_T$, $\quad
\beta' = \beta (1 + \lambda V_{DS})$,

$I = 0$ for $V \le 0$, $\ \beta' V^2 / 2$ for $0 < V \le V_{DS}$, $\ \beta' V_{DS} (V - V_{DS}/2)$
else, where $s(x) = \sqrt{\phi - x}$ for $x \le 0$ and
$\max(0, \sqrt{\phi} - x / 2 \sqrt{\phi})$ else. A junction leads from the bulk to either end of the
channel: $I_s (e^{v / v_T} - 1)$ above $-3 v_T$ and $-I_s$ below, and gmin beside it.

References:
    Shichman and Hodges (1968), doi:10.1109/JSSC.1968.1049902; Vogt et al., ngspice manual,
    section 11.2; Antognetti and Massobrio (1988), Semiconductor Device Modeling with SPICE.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.constants import (
    BOLTZMANN,
    ELEMENTARY_CHARGE,
    JUNCTION_CONDUCTANCE,
    TEMPERATURE,
)
from eqprop_spice.devices.diode import limited_junction
from eqprop_spice.devices.transistor import LARGEST_EXPONENT, AbstractTransistor


def _energy_gap(kelvin: float) -> float:
    """Return the energy gap of silicon [eV] (Varshni)."""
    return 1.16 - 7.02e-4 * kelvin**2 / (kelvin + 1108.0)


def _built_in_shift(kelvin: float) -> float:
    """Return how far a built-in potential moves with the temperature [V], as SPICE2 has it."""
    scale = BOLTZMANN / ELEMENTARY_CHARGE
    reference = 1.1150877 / (2.0 * scale * TEMPERATURE)
    argument = reference - _energy_gap(kelvin) / (2.0 * scale * kelvin)
    return -2.0 * scale * kelvin * (1.5 * np.log(kelvin / TEMPERATURE) + argument)


@dataclasses.dataclass(frozen=True)
class Mosfet(AbstractTransistor):
    r"""A MOS transistor of level 1: drain, gate, source, bulk.

    Its drain current depends on the gate, but no gate current on the drain: it has no co-content,
    and a circuit with one no energy.

    Attributes:
        model: Name of the SPICE model.
        channel: "nmos" or "pmos".
        threshold: VTO, the threshold voltage at $V_{BS} = 0$ [V].
        transconductance: KP [A/V^2].
        body_effect: GAMMA [V^(1/2)].
        surface_potential: PHI [V].
        channel_modulation: LAMBDA [1/V].
        bulk_current: IS, the saturation current of either bulk junction [A].
        width: W [m].
        length: L [m].
        temperature: The device's temperature [K]; all other values are those at 27 degC.
    """

    POLARITIES: ClassVar[Mapping[str, float]] = {"nmos": 1.0, "pmos": -1.0}

    model: str
    channel: str = "nmos"
    threshold: float | Array = 0.0
    transconductance: float | Array = 2e-5
    body_effect: float | Array = 0.0
    surface_potential: float | Array = 0.6
    channel_modulation: float | Array = 0.0
    bulk_current: float | Array = 1e-14
    width: float | Array = 1e-4
    length: float | Array = 1e-4
    temperature: float = TEMPERATURE

    def __post_init__(self) -> None:
        """Refuse values that ngspice would take without a word, and names it would execute."""
        self._check_model()
        positive = ("transconductance", "surface_potential", "bulk_current", "width", "length")
        not_negative = ("body_effect", "channel_modulation")
        for name in ("threshold", *positive, *not_negative, "temperature"):
            values = np.ravel(getattr(self, name))
            good = np.isfinite(values)
            if name in (*positive, "temperature"):
                good &= values > 0.0
            elif name in not_negative:
                good &= values >= 0.0
            bound = "not negative" if name in not_negative else "positive"
            rule = "be finite" if name == "threshold" else f"be finite and {bound}"
            self._require(name, good, rule)

    @property
    def terminals(self) -> tuple[str, ...]:
        """In SPICE's order."""
        return ("drain", "gate", "source", "bulk")

    @property
    def paths(self) -> tuple[tuple[int, int], ...]:
        """The channel, and both bulk junctions; no current enters the gate."""
        return ((0, 2), (0, 3), (2, 3))

    @property
    def _hot(self) -> tuple[Any, Any, Any, Any]:
        """Beta [A/V^2], phi [V], V_BI [V] and I_s [A] at the device's temperature, as SPICE has."""
        ratio = self.temperature / TEMPERATURE
        beta = self.transconductance / ratio**1.5 * self.width / self.length
        phi = self.surface_potential - _built_in_shift(TEMPERATURE)
        phi = ratio * phi + _built_in_shift(self.temperature)
        gaps = _energy_gap(TEMPERATURE), _energy_gap(self.temperature)
        p = self.polarity
        built_in = self.threshold - p * self.body_effect * self.surface_potential**0.5
        built_in = built_in + 0.5 * (gaps[0] - gaps[1]) + p * 0.5 * (phi - self.surface_potential)
        cold = BOLTZMANN * TEMPERATURE / ELEMENTARY_CHARGE
        current = self.bulk_current * np.exp(gaps[0] / cold - gaps[1] / self.thermal_voltage)
        return beta, phi, built_in, current

    def _channel(self, drop, gate, body):
        """Return the channel's current [A] and its derivatives [S] by drop, gate and body voltage.

        Args:
            drop: $V_{DS}$ times the polarity, not negative [V].
            gate: $V_{GS}$ times the polarity [V].
            body: $V_{BS}$ times the polarity [V].
        """
        xp = drop.__array_namespace__()
        beta, phi, built_in, _ = self._hot
        root, gamma = phi**0.5, self.body_effect
        back = body <= 0.0
        below = xp.sqrt(phi - xp.where(back, body, 0.0))
        above = root - body / (2.0 * root)
        bent = xp.where(back, below, xp.maximum(above, 0.0))
        bend = xp.where(back, -0.5 / below, xp.where(above > 0.0, -0.5 / root, 0.0))
        over = gate - (built_in * self.polarity + gamma * bent)
        modulated = beta * (1.0 + self.channel_modulation * drop)
        slope = beta * self.channel_modulation
        saturated = over <= drop
        shape = xp.where(saturated, 0.5 * over**2, drop * (over - 0.5 * drop))
        by_over = xp.where(saturated, over, drop)
        by_drop = xp.where(saturated, 0.0, over - drop)
        on = over > 0.0
        current = xp.where(on, modulated * shape, 0.0)
        by_gate = xp.where(on, modulated * by_over, 0.0)
        by_drop = xp.where(on, modulated * by_drop + slope * shape, 0.0)
        return current, by_drop, by_gate, -by_gate * gamma * bend

    def _junction(self, v):
        """Return current [A] and conductance [S] of a bulk junction, gmin included."""
        xp = v.__array_namespace__()
        vt, i_s = self.thermal_voltage, self._hot[3]
        forward = v > -3.0 * vt
        exponent = xp.minimum(xp.where(forward, v, 0.0) / vt, LARGEST_EXPONENT)
        exponential = xp.exp(exponent)
        current = xp.where(forward, i_s * (exponential - 1.0), -i_s)
        slope = xp.where(forward, i_s / vt * exponential, 0.0)
        return current + JUNCTION_CONDUCTANCE * v, slope + JUNCTION_CONDUCTANCE

    def _oriented(self, drain, gate, source):
        """Return which instances conduct from drain to source, and the channel as seen so."""
        xp = drain.__array_namespace__()
        p = self.polarity
        drop = p * (drain - source)
        normal = drop >= 0.0
        low = xp.where(normal, source, drain)
        return normal, self._channel(abs(drop), p * (gate - low), -p * low)

    def currents(self, drain, gate, source):
        """Return the currents into drain, gate and source [A]."""
        xp, p = drain.__array_namespace__(), self.polarity
        normal, (channel, *_) = self._oriented(drain, gate, source)
        through = xp.where(normal, channel, -channel)
        into_drain, _ = self._junction(-p * drain)
        into_source, _ = self._junction(-p * source)
        return p * (through - into_drain), 0.0 * gate, p * (-through - into_source)

    def slopes(self, drain, gate, source):
        """Return the derivatives of the currents into drain, gate and source [S]."""
        xp, p = drain.__array_namespace__(), self.polarity
        normal, (_, g_ds, g_m, g_mb) = self._oriented(drain, gate, source)
        # Of the current from the upper to the lower end of the channel, whichever those are.
        by_upper, by_lower = g_ds, -(g_ds + g_m + g_mb)
        by_drain = xp.where(normal, by_upper, -by_lower)
        by_source = xp.where(normal, by_lower, -by_upper)
        by_gate = xp.where(normal, g_m, -g_m)
        _, at_drain = self._junction(-p * drain)
        _, at_source = self._junction(-p * source)
        nothing = 0.0 * gate
        return (
            (by_drain + at_drain, by_gate, by_source),
            (nothing, nothing, nothing),
            (-by_drain, -by_gate, -by_source + at_source),
        )

    def limit_step(self, new, old):
        """Limit both bulk junctions as SPICE does; the square law needs no limit."""
        vt, i_s, p = self.thermal_voltage, self._hot[3], self.polarity
        drain, gate, source = new
        return (
            -p * limited_junction(-p * drain, -p * old[0], vt, i_s),
            gate,
            -p * limited_junction(-p * source, -p * old[2], vt, i_s),
        )

    def card(self, name, nodes):
        """Return the M card."""
        size = f"w={float(self.width)!r} l={float(self.length)!r}"
        return f"m{name} {' '.join(nodes)} {self.model} {size}{self._heat}"

    def model_card(self):
        """Return the .model card."""
        values = {
            "vto": self.threshold,
            "kp": self.transconductance,
            "gamma": self.body_effect,
            "phi": self.surface_potential,
            "lambda": self.channel_modulation,
            "is": self.bulk_current,
        }
        written = " ".join(f"{name}={float(value)!r}" for name, value in values.items())
        return f".model {self.model} {self.channel}(level=1 {written})"
