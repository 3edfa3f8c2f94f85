"""Junction diodes with ngspice's exact law, and presets named after their source."""

import dataclasses
import math

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.constants import JUNCTION_CONDUCTANCE, TEMPERATURE, THERMAL_VOLTAGE
from eqprop_spice.devices.base import AbstractTwoTerminal, check_model_name
from eqprop_spice.errors import ConfigError

SMALLEST_DROP = 1e-300
"""Stands for the saturation current times no series resistance [V], to divide by."""

SERIES_NEWTON_STEPS = 14
"""Newton steps for the junction behind a series resistance. The start lies right of the root of a
convex increasing function within a few emission voltages, so the descent is monotone and, from
there, quadratic; 14 steps reach rounding for every preset and every voltage up to 1 kV."""

ENERGY_GAP = 1.11
"""EG [eV] of a diode's model in SPICE, where it is not given: silicon."""

SATURATION_EXPONENT = 3.0
"""XTI of a diode's model in SPICE, where it is not given."""


def junction_law(v, thermal, saturation, *, largest_exponent: float | None = None):
    r"""Return the current [A] and the conductance [S] of a junction of ngspice's, without gmin.

    $I_s (e^{v/n} - 1)$ from $-3 n$ on, and $-I_s (1 + (3 n / e v)^3)$ below.

    Args:
        v: Its voltage [V].
        thermal: n, the voltage over which the current grows by e [V].
        saturation: $I_s$ [A].
        largest_exponent: Where $v/n$ is cut off; nowhere if None.
    """
    xp = v.__array_namespace__()
    forward = v >= -3.0 * thermal
    exponent = xp.where(forward, v, 0.0) / thermal
    if largest_exponent is not None:
        exponent = xp.minimum(exponent, largest_exponent)
    exponential = xp.exp(exponent)
    reverse = xp.where(forward, -3.0 * thermal, v)
    cubed = (3.0 * thermal / (math.e * reverse)) ** 3
    current = xp.where(forward, saturation * (exponential - 1.0), -saturation * (1.0 + cubed))
    slope = xp.where(
        forward, saturation / thermal * exponential, 3.0 * saturation * cubed / reverse
    )
    return current, slope


def limited_junction(
    new: Array, old: Array, thermal: Array | float, saturation: Array | float
) -> Array:
    r"""Limit a junction's voltage step [V] as SPICE does.

    A step up of a forward-biased junction is taken in its current:
    $\hat d \leftarrow \hat d + n \ln(1 + \Delta d / n)$.

    Args:
        new: The voltage that Newton's step leads to [V].
        old: The voltage that it started from [V].
        thermal: n, the voltage over which the current grows by e [V].
        saturation: The saturation current [A].

    References:
        Nagel (1975), SPICE2, UCB/ERL M520, section 3.3; ngspice's DEVpnjlim.
    """
    critical = thermal * np.log(thermal / (np.sqrt(2.0) * saturation))
    jump = (new > critical) & (np.abs(new - old) > 2.0 * thermal)
    growth = np.maximum(1.0 + (new - old) / thermal, 0.0)
    with np.errstate(divide="ignore"):
        climbing = np.where(growth > 0.0, old + thermal * np.log(growth), critical)
    starting = thermal * np.log(np.maximum(new, thermal) / thermal)
    return np.where(jump, np.where(old > 0.0, climbing, starting), new)


class AbstractDiode(AbstractTwoTerminal):
    """A device with an anode and a cathode."""

    @property
    def terminals(self) -> tuple[str, ...]:
        """A positive current enters the anode."""
        return ("anode", "cathode")

    @property
    def kind(self) -> str:
        """Its power counts to the diodes'."""
        return "diodes"


@dataclasses.dataclass(frozen=True)
class Shockley(AbstractDiode):
    r"""A junction diode, anode first, as ngspice computes it.

    With $v_T = kT/q$ and the junction voltage $u = v - R_s i$:

    $i = I_s (e^{u / N v_T} - 1) + g_{min} u$ for $u \ge -3 N v_T$, and
    $i = -I_s (1 + (3 N v_T / (e u))^3) + g_{min} u$ below.

    Attributes:
        model: Name of the SPICE model.
        saturation_current: $I_s$ [A].
        emission_coefficient: N.
        series_resistance: $R_s$ [ohm].
    """

    model: str
    saturation_current: float | Array
    emission_coefficient: float | Array = 1.0
    series_resistance: float | Array = 0.0

    def __post_init__(self):
        """Refuse values that ngspice would take without a word, and names it would execute."""
        check_model_name(self.model, "diode model")
        for name in ("saturation_current", "emission_coefficient"):
            values = np.ravel(getattr(self, name))
            good = np.isfinite(values) & (values > 0)
            if not good.all():
                raise ConfigError(
                    f"Diode '{self.model}' has {name} {values[np.argmin(good)]}; "
                    "it must be positive."
                )
        values = np.ravel(self.series_resistance)
        good = np.isfinite(values) & (values >= 0)
        if not good.all():
            raise ConfigError(
                f"Diode '{self.model}' has series_resistance {values[np.argmin(good)]} ohm; "
                "it must not be negative."
            )

    @property
    def emission_voltage(self) -> float | Array:
        """$N v_T$ [V]."""
        return self.emission_coefficient * THERMAL_VOLTAGE

    def _junction_law(self, u):
        """Return current [A] and conductance [S] of the junction without its series resistance."""
        current, slope = junction_law(u, self.emission_voltage, self.saturation_current)
        return current + JUNCTION_CONDUCTANCE * u, slope + JUNCTION_CONDUCTANCE

    def junction_voltage(self, voltage):
        """Return the voltage across the junction, behind the series resistance [V]."""
        r_s = self.series_resistance
        if np.all(r_s == 0.0):
            return voltage
        xp = voltage.__array_namespace__()
        positive = xp.maximum(voltage, 0.0)
        # Next to diodes with a series resistance, one without steps from any bound to its voltage.
        drop = np.maximum(r_s * self.saturation_current, SMALLEST_DROP)
        bound = self.emission_voltage * xp.log1p(positive / drop)
        u = xp.minimum(voltage, bound)
        for _ in range(SERIES_NEWTON_STEPS):
            current, slope = self._junction_law(u)
            u = u - (u + r_s * current - voltage) / (1.0 + r_s * slope)
        return u

    def current(self, voltage):
        """Return the current into the anode [A]."""
        u = self.junction_voltage(voltage)
        return self._junction_law(u)[0]

    def conductance(self, voltage):
        """Return $g_d / (1 + R_s g_d)$ [S]."""
        slope = self._junction_law(self.junction_voltage(voltage))[1]
        return slope / (1.0 + self.series_resistance * slope)

    def currents_and_slopes(self, *drops):
        """Return the one current [A] and the one slope [S], from one exponential."""
        (voltage,) = drops
        current, slope = self._junction_law(self.junction_voltage(voltage))
        return (current,), ((slope / (1.0 + self.series_resistance * slope),),)

    def co_content(self, voltage):
        r"""Return $\int_0^u i\,du' + R_s i^2 / 2$ [W]."""
        xp = voltage.__array_namespace__()
        nvt, i_s = self.emission_voltage, self.saturation_current
        u = self.junction_voltage(voltage)
        knee = -3.0 * nvt
        forward = u >= knee
        u_forward = xp.where(forward, u, knee)
        integral = i_s * (nvt * xp.expm1(u_forward / nvt) - u_forward)
        reverse_u = xp.where(forward, knee, u)
        # Below the knee: minus the integral of Is (1 + c^3 / u^3), from the knee to u.
        c_cubed = (3.0 * nvt / math.e) ** 3
        integral = integral - i_s * (reverse_u - knee)
        integral = integral + i_s * 0.5 * c_cubed * (reverse_u**-2 - knee**-2)
        current = self._junction_law(u)[0]
        return (
            integral + 0.5 * JUNCTION_CONDUCTANCE * u**2 + 0.5 * self.series_resistance * current**2
        )

    def limit_step(self, new, old):
        """Return the drop that SPICE would linearize at next [V]; see `limited_junction`."""
        steps = zip(new, old, strict=True)
        nvt, i_s = self.emission_voltage, self.saturation_current
        return tuple(limited_junction(one, other, nvt, i_s) for one, other in steps)

    def at_temperature(self, kelvin):
        r"""Return the diode that is at 27 degC what this one is at a temperature [K].

        $I_s(T) = I_s (T/T_0)^{X/N} \exp((T/T_0 - 1) E_g / N v_T(T))$, and $N v_T$ is proportional
        to T, with $T_0$ = 300.15 K.

        References:
            Vogt et al., ngspice manual, section 7.3.
        """
        ratio = kelvin / TEMPERATURE
        n = self.emission_coefficient
        exponent = (ratio - 1.0) * ENERGY_GAP / (n * THERMAL_VOLTAGE * ratio)
        growth = ratio ** (SATURATION_EXPONENT / n) * np.exp(exponent)
        return dataclasses.replace(
            self,
            saturation_current=self.saturation_current * growth,
            emission_coefficient=n * ratio,
        )

    def card(self, name, nodes):
        """Return the D card; the anode comes first."""
        return f"d{name} {nodes[0]} {nodes[1]} {self.model}"

    def behavioral_cards(self, name, nodes):
        """Return a B card, and a resistor in series with it where the diode has one."""
        first, second = nodes
        cards, anode = [], first
        if self.series_resistance:
            anode = f"_junction_{name}"
            cards.append(f"r{anode} {first} {anode} {float(self.series_resistance)!r}")
        v, nvt, i_s = (
            f"v({anode},{second})",
            float(self.emission_voltage),
            float(self.saturation_current),
        )
        forward = f"{i_s!r}*(exp({v}/{nvt!r})-1)"
        # A product, since ngspice's power takes the magnitude of its base.
        cubed = f"{(3.0 * nvt / math.e) ** 3!r}/({v}*{v}*{v})"
        reverse = f"-{i_s!r}*(1+{cubed})"
        law = f"{v} >= {-3.0 * nvt!r} ? {forward} : {reverse}"
        return [*cards, f"b{name} {anode} {second} i=({law})+{JUNCTION_CONDUCTANCE!r}*{v}"]

    def model_card(self):
        """Return the .model card."""
        series = f" rs={float(self.series_resistance)!r}" if self.series_resistance else ""
        return (
            f".model {self.model} d(is={float(self.saturation_current)!r} "
            f"n={float(self.emission_coefficient)!r}{series})"
        )


PRESETS = {
    diode.model: diode
    for diode in (
        # Kiraz, Pham and Desgreys (NEWCAS 2022): the diode of the paper's circuit.
        Shockley("kiraz", 1e-6, 2.0),
        # The widely published SPICE parameters of the 1N4148 switching diode.
        Shockley("d1n4148", 2.52e-9, 1.752, 0.568),
        # The widely published SPICE parameters of the 1N5817 Schottky rectifier.
        Shockley("d1n5817", 3.17e-5, 1.373, 0.051),
        # Nearly a switch: the knee lies at about 12 mV for 10 mA.
        Shockley("almost_ideal", 1e-6, 0.05),
    )
}
"""Diodes by name, for experiments; add one here to use it in a TOML."""
