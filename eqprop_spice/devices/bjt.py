r"""Bipolar transistors with ngspice's Gummel-Poon model, npn and pnp.

With the polarity $p = \pm 1$, $V_{BE} = p (v_b - v_e)$, $V_{BC} = p (v_b - v_c)$ and the junction
law $J(v; I, n) = I (e^{v / n v_T} - 1)$ for $v \ge -3 n v_T$, $-I (1 + (3 n v_T / e v)^3)$ below,

$I_F = J(V_{BE}; I_S, N_F)$, $\quad I_R = J(V_{BC}; I_S, N_R)$,

$q_b = \frac{1 + \sqrt{1 + 4 (I_F / I_{KF} + I_R / I_{KR})}}{2 (1 - V_{BC} / V_{AF} - V_{BE} /
V_{AR})}$,

$I_C = (I_F - I_R) / q_b - I_R / B_R - I_{LC}$, $\quad I_B = I_F / B_F + I_{LE} + I_R / B_R +
I_{LC}$,

with the leakage $I_{LE} = J(V_{BE}; I_{SE}, N_E) + g_{min} V_{BE}$, and $I_{LC}$ likewise. gmin
also leads from the substrate to the collector of an npn (vertical) and to the base of a pnp
(lateral). The area A multiplies all currents among the parameters; as ngspice 39 has it, the $I_S$
of $I_R$ twice. Series resistances are not part of it; quasi-saturation and breakdown are left out.

References:
    Gummel and Poon (1970), doi:10.1002/j.1538-7305.1970.tb01803.x; Vogt et al., ngspice manual,
    section 8.2.
"""

import dataclasses
import math
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

CARD = {
    "saturation_current": "is",
    "forward_gain": "bf",
    "reverse_gain": "br",
    "forward_emission": "nf",
    "reverse_emission": "nr",
    "forward_early_voltage": "vaf",
    "reverse_early_voltage": "var",
    "forward_knee_current": "ikf",
    "reverse_knee_current": "ikr",
    "emitter_leakage": "ise",
    "collector_leakage": "isc",
    "emitter_leakage_emission": "ne",
    "collector_leakage_emission": "nc",
    "energy_gap": "eg",
    "saturation_exponent": "xti",
    "gain_exponent": "xtb",
}
"""The fields with their names in a .model card."""

MAY_BE_ZERO = ("emitter_leakage", "collector_leakage", "saturation_exponent", "gain_exponent")
UNLIMITED = ("early_voltage", "knee_current")


@dataclasses.dataclass(frozen=True)
class Bipolar(AbstractTransistor):
    r"""A bipolar transistor: collector, base, emitter, substrate.

    Its collector current depends on the base, but hardly the base current on the collector: it has
    no co-content, and a circuit with one no energy.

    Attributes:
        model: Name of the SPICE model.
        channel: "npn" or "pnp".
        saturation_current: IS [A].
        forward_gain: BF.
        reverse_gain: BR.
        forward_emission: NF.
        reverse_emission: NR.
        forward_early_voltage: VAF [V].
        reverse_early_voltage: VAR [V].
        forward_knee_current: IKF [A].
        reverse_knee_current: IKR [A].
        emitter_leakage: ISE [A].
        collector_leakage: ISC [A].
        emitter_leakage_emission: NE.
        collector_leakage_emission: NC.
        energy_gap: EG [eV].
        saturation_exponent: XTI.
        gain_exponent: XTB.
        area: A.
        multiplier: How many are in parallel.
        temperature: The device's temperature [K]; all other values are those at
            `nominal_temperature`.
        nominal_temperature: TNOM [K].
    """

    POLARITIES: ClassVar[Mapping[str, float]] = {"npn": 1.0, "pnp": -1.0}

    model: str
    channel: str = "npn"
    saturation_current: float | Array = 1e-16
    forward_gain: float | Array = 100.0
    reverse_gain: float | Array = 1.0
    forward_emission: float | Array = 1.0
    reverse_emission: float | Array = 1.0
    forward_early_voltage: float | Array = math.inf
    reverse_early_voltage: float | Array = math.inf
    forward_knee_current: float | Array = math.inf
    reverse_knee_current: float | Array = math.inf
    emitter_leakage: float | Array = 0.0
    collector_leakage: float | Array = 0.0
    emitter_leakage_emission: float | Array = 1.5
    collector_leakage_emission: float | Array = 2.0
    energy_gap: float | Array = 1.11
    saturation_exponent: float | Array = 3.0
    gain_exponent: float | Array = 0.0
    area: float | Array = 1.0
    multiplier: float | Array = 1.0
    temperature: float = TEMPERATURE
    nominal_temperature: float | Array = TEMPERATURE

    def __post_init__(self) -> None:
        """Refuse values that ngspice would take without a word, and names it would execute."""
        self._check_model()
        for name in (*CARD, "area", "multiplier", "temperature", "nominal_temperature"):
            values = np.ravel(getattr(self, name))
            good = np.isfinite(values) | (name.endswith(UNLIMITED) & (values == math.inf))
            good &= (values >= 0.0) if name in MAY_BE_ZERO else (values > 0.0)
            self._require(name, good, "not be negative" if name in MAY_BE_ZERO else "be positive")

    @property
    def terminals(self) -> tuple[str, ...]:
        """In SPICE's order."""
        return ("collector", "base", "emitter", "substrate")

    @property
    def paths(self) -> tuple[tuple[int, int], ...]:
        """Both junctions, and gmin's path from the substrate."""
        return ((1, 2), (1, 0), (self._tied, 3))

    @property
    def _tied(self) -> int:
        """The terminal that gmin leads to from the substrate."""
        return 0 if self.channel == "npn" else 1

    @property
    def _hot(self) -> tuple[Any, Any, Any]:
        """Growth of I_S, of its logarithm, and of the gains, from nominal to actual temperature."""
        ratio = self.temperature / self.nominal_temperature
        logarithm = (ratio - 1.0) * self.energy_gap / self.thermal_voltage
        logarithm = logarithm + self.saturation_exponent * np.log(ratio)
        return np.exp(logarithm), logarithm, ratio**self.gain_exponent

    def _junction(self, v, saturation, emission):
        """Return current [A] and conductance [S] of a junction without gmin."""
        nvt = emission * self.thermal_voltage
        return junction_law(v, nvt, saturation, largest_exponent=LARGEST_EXPONENT)

    def _leakage(self, v, saturation, emission):
        """Return current [A] and conductance [S] of a leaking junction, gmin included."""
        _, logarithm, gain = self._hot
        hot = self.area * saturation * np.exp(logarithm / emission) / gain
        current, slope = self._junction(v, hot, emission)
        return current + JUNCTION_CONDUCTANCE * v, slope + JUNCTION_CONDUCTANCE

    def _core(self, be, bc):
        """Return collector and base current [A], and the slopes of both by V_BE and V_BC [S]."""
        xp = be.__array_namespace__()
        growth, _, gain = self._hot
        saturation = self.saturation_current * growth * self.area
        i_f, g_f = self._junction(be, saturation, self.forward_emission)
        i_r, g_r = self._junction(bc, saturation * self.area, self.reverse_emission)
        leak_e, g_le = self._leakage(be, self.emitter_leakage, self.emitter_leakage_emission)
        leak_c, g_lc = self._leakage(bc, self.collector_leakage, self.collector_leakage_emission)
        by_vaf, by_var = 1.0 / self.forward_early_voltage, 1.0 / self.reverse_early_voltage
        by_ikf = 1.0 / (self.forward_knee_current * self.area)
        by_ikr = 1.0 / (self.reverse_knee_current * self.area)
        early = 1.0 / (1.0 - by_vaf * bc - by_var * be)
        argument = 1.0 + 4.0 * (by_ikf * i_f + by_ikr * i_r)
        # Never zero where a junction conducts; ngspice guards the root likewise.
        root = xp.where(argument > 0.0, xp.sqrt(xp.where(argument > 0.0, argument, 1.0)), 1.0)
        charge = 0.5 * early * (1.0 + xp.where(argument > 0.0, root, 0.0))
        charge_be = early * (charge * by_var + by_ikf * g_f / root)
        charge_bc = early * (charge * by_vaf + by_ikr * g_r / root)
        through = (i_f - i_r) / charge
        beta_f, beta_r = self.forward_gain * gain, self.reverse_gain * gain
        collector = through - i_r / beta_r - leak_c
        base = i_f / beta_f + leak_e + i_r / beta_r + leak_c
        collector_be = (g_f - through * charge_be) / charge
        collector_bc = -(g_r + through * charge_bc) / charge - g_r / beta_r - g_lc
        slopes = (
            (collector_be, collector_bc),
            (g_f / beta_f + g_le, g_r / beta_r + g_lc),
        )
        return collector, base, slopes

    def currents(self, collector, base, emitter):
        """Return the currents into collector, base and emitter [A]."""
        p, m = self.polarity, self.multiplier
        into_collector, into_base, _ = self._core(p * (base - emitter), p * (base - collector))
        found = [p * into_collector, p * into_base, -p * (into_collector + into_base)]
        # The drop is that above the substrate.
        found[self._tied] = found[self._tied] + JUNCTION_CONDUCTANCE * (collector, base)[self._tied]
        return tuple(m * current for current in found)

    def slopes(self, collector, base, emitter):
        """Return the derivatives of the currents into collector, base and emitter [S]."""
        p, m = self.polarity, self.multiplier
        _, _, rows = self._core(p * (base - emitter), p * (base - collector))
        found = [[-by_bc, by_be + by_bc, -by_be] for by_be, by_bc in rows]
        found.append([-(one + two) for one, two in zip(*found, strict=True)])
        found[self._tied][self._tied] = found[self._tied][self._tied] + JUNCTION_CONDUCTANCE
        return tuple(tuple(m * slope for slope in row) for row in found)

    def limit_step(self, new, old):
        """Limit both junctions as SPICE does, with the base where Newton puts it."""
        p, vt = self.polarity, self.thermal_voltage
        saturation = self.saturation_current * self._hot[0] * self.area
        collector, base, emitter = new
        limited = []
        for k, v in ((0, collector), (2, emitter)):
            junction, before = p * (base - v), p * (old[1] - old[k])
            # ngspice limits by kT/q, whatever the emission coefficient.
            limited.append(base - p * limited_junction(junction, before, vt, saturation))
        return limited[0], base, limited[1]

    def card(self, name, nodes):
        """Return the Q card."""
        size = f"area={float(self.area)!r} m={float(self.multiplier)!r}"
        return f"q{name} {' '.join(nodes)} {self.model} {size}{self._heat}"

    def model_card(self):
        """Return the .model card."""
        values = {name: float(getattr(self, field)) for field, name in CARD.items()}
        written = " ".join(f"{k}={v!r}" for k, v in values.items() if math.isfinite(v))
        nominal = float(self.nominal_temperature) - ZERO_CELSIUS
        return f".model {self.model} {self.channel}({written} tnom={nominal!r})"
