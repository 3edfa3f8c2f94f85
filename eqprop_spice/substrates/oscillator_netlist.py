r"""Coupled oscillators as SPICE netlists: the equations of their phases, and true oscillators."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from eqprop_spice.spice.writer import number
from eqprop_spice.substrates.phase_model import Angles, PhaseModel, Units

OPTIONS = ".options reltol=1e-9 vntol=1e-12 abstol=1e-14 gmin=1e-15"
"""Tolerances far below a nudge; values are of order one."""

# Of the true oscillators:
FREQUENCY = 1e6
"""Frequency of the reference [Hz]."""

CAPACITANCE = 1e-9
"""Capacitance of every oscillator [F]."""

GAIN = 2.5e-4
"""Negative conductance at the origin [S]: a 25th of what the capacitor has, for nearly sines.

Phases lag by about half of that."""

STEPS_PER_PERIOD = 100
"""Time steps of the trapezoidal rule in a period."""

LAST_PERIODS = 4
"""Periods at the end of a transient in which phases are measured."""


Numbers = list[np.ndarray]
"""The numbers of the oscillators of every block, which name them."""


def phase_netlist(model: PhaseModel, numbers: Numbers, units: Units, title: str) -> str:
    r"""Return the netlist of one sample whose `.op` are the phases.

    Every oscillator has four nodes: the fields a and b, each the sum of what is injected into
    1 ohm, and c and s, the unit vector along the field. A spring or an injection S at twice the
    frequency adds $2 S c$ to a, and a detuning turns the vector by $\arcsin(\omega/|field|)$: the
    stationary states are those of the energy. As there may be several, `.nodeset` names the one
    that is meant.

    Args:
        model: The phase model of one sample, with what is attached to the outputs.
        numbers: The numbers of the oscillators by block: nodes of number 7 are a7, b7, c7 and s7.
        units: The state to start from.
        title: First line.
    """
    lines = [f"* {title}", OPTIONS]
    for block, unit in enumerate(np.asarray(u)[:, :, 0] for u in units):
        sync, detuning = model.sync[block], model.detuning[block]
        field = np.array(model.pull(units, block) + model.fields[block])[:, :, 0]
        if sync is not None:
            field[:, 0] += 2.0 * np.asarray(sync)[:, 0] * unit[:, 0]
        for i in range(len(unit)):
            name = f"{numbers[block][i]}"
            in_phase, quadrature = (float(v) for v in model.fields[block][i, :, 0])
            lines += [f"r{n}{name} {n}{name} 0 1" for n in "ab"]
            lines.append(f"ia{name} 0 a{name} {number(in_phase)}")
            lines.append(f"ib{name} 0 b{name} {number(quadrature)}")
            if sync is not None:
                lines.append(f"gs{name} 0 a{name} c{name} 0 {number(2.0 * sync[i, 0])}")
            lines += _unit_cards(name, 0.0 if detuning is None else float(detuning[i, 0]))
            guess = zip("abcs", (*field[i], *unit[i]), strict=True)
            lines.append(".nodeset " + " ".join(f"v({n}{name})={number(v)}" for n, v in guess))
    lines += _coupling_cards(model, numbers)
    return "\n".join([*lines, ".op", ".end", ""])


def _unit_cards(name: str, detuning: float) -> list[str]:
    """Return two sources: the unit vector along the field (a, b), turned by the detuning."""
    a, b = f"v(a{name})", f"v(b{name})"
    square = f"({a}*{a}+{b}*{b})"
    if detuning == 0.0:
        return [f"bc{name} c{name} 0 v={a}/sqrt{square}", f"bs{name} s{name} 0 v={b}/sqrt{square}"]
    w = f"({number(detuning)})"
    along = f"sqrt({square}-{w}*{w})"
    return [
        f"bc{name} c{name} 0 v=({a}*{along}-{b}*{w})/{square}",
        f"bs{name} s{name} 0 v=({b}*{along}+{a}*{w})/{square}",
    ]


def _coupling_cards(model: PhaseModel, numbers: Numbers) -> Iterator[str]:
    """Yield what a coupling injects into the fields of both its ends."""
    for (first, second), coupling in model.links.items():
        for (i, j), value in np.ndenumerate(np.asarray(coupling)):
            if value != 0.0:
                one, other, strength = numbers[first][i], numbers[second][j], number(value)
                for field, component in ("ac", "bs"):
                    yield f"g{field}{one}_{other} 0 {field}{one} {component}{other} 0 {strength}"
                    yield f"g{field}{other}_{one} 0 {field}{other} {component}{one} 0 {strength}"


def oscillator_netlist(
    model: PhaseModel,
    numbers: Numbers,
    phases: Angles,
    *,
    unit_conductance: float,
    periods: float,
    title: str,
) -> str:
    r"""Return the netlist of one sample as van der Pol oscillators, with a `.tran` analysis.

    An oscillator is an inductor, a capacitor and the current $-g_1 v + \tfrac43 g_1 v^3$, so it
    swings as $\cos(\omega t + \phi)$ with 1 V. A coupling J is a pair of transconductances $J G$,
    a field h a current $hG\cos\omega t$, q one a quarter period ahead, S a conductance modulated by
    $2SG\cos 2\omega t$. In slow time $t\,G/2C$ the phases obey the phase model, to first order in
    $G/g_1$.

    The tank is tuned so that the *simulated* oscillator runs at the frequency of the reference: the
    cubic current lowers it by $(g_1/\omega C)^2/16$ and the trapezoidal rule by
    $(\omega h)^2/12$, each as much as a coupling.

    Args:
        model: The phase model of one sample, without detuning.
        numbers: The numbers of the oscillators by block: node of number 7 is v7.
        phases: Phases to start from [rad].
        unit_conductance: G [S]: what a coupling of 1 is. The smaller the better obeyed, and slower.
        periods: Duration [periods of the reference].
        title: First line.
    """
    omega, step = 2.0 * math.pi * FREQUENCY, 1.0 / (FREQUENCY * STEPS_PER_PERIOD)
    tuned = (
        2.0 / step * math.tan(0.5 * omega * step) * (1.0 + (GAIN / (omega * CAPACITANCE)) ** 2 / 16)
    )
    inductance = 1.0 / (tuned**2 * CAPACITANCE)
    lines = [
        f"* {title}",
        # With this trtol the steps are all of the same length, which the tuning relies on.
        ".options reltol=1e-8 vntol=1e-10 abstol=1e-12 trtol=1e7 method=trap",
        f"vcos cos 0 sin(0 1 {number(FREQUENCY)} 0 0 90)",
        f"vahead ahead 0 sin(0 -1 {number(FREQUENCY)})",
        f"vpump pump 0 sin(0 1 {number(2.0 * FREQUENCY)} 0 0 90)",
    ]
    for block, angles in enumerate(np.asarray(p)[:, 0] for p in phases):
        sync = model.sync[block]
        for i, angle in enumerate(angles):
            n = numbers[block][i]
            in_phase, quadrature = (float(v) for v in model.fields[block][i, :, 0])
            current = math.sin(angle) / (omega * inductance)
            lines += [
                f"c{n} v{n} 0 {number(CAPACITANCE)} ic={number(math.cos(angle))}",
                f"l{n} v{n} 0 {number(inductance)} ic={number(current)}",
                # In ngspice v^3 is |v|^3.
                f"b{n} v{n} 0 i={number(GAIN)}*v(v{n})*({number(4 / 3)}*v(v{n})*v(v{n})-1)",
                f"gh{n} 0 v{n} cos 0 {number(in_phase * unit_conductance)}",
                f"gq{n} 0 v{n} ahead 0 {number(quadrature * unit_conductance)}",
            ]
            if sync is not None:
                pump = number(-2.0 * float(sync[i, 0]) * unit_conductance)
                lines.append(f"bs{n} v{n} 0 i={pump}*v(v{n})*v(pump)")
    for (first, second), coupling in model.links.items():
        for (i, j), value in np.ndenumerate(np.asarray(coupling)):
            one, other = numbers[first][i], numbers[second][j]
            strength = number(value * unit_conductance)
            lines.append(f"gj{one}_{other} 0 v{one} v{other} 0 {strength}")
            lines.append(f"gj{other}_{one} 0 v{other} v{one} 0 {strength}")
    end = periods / FREQUENCY
    lines.append(f".tran {number(step)} {number(end)} 0 {number(step)} uic")
    return "\n".join([*lines, ".end", ""])


def measured_phases(
    times: Float[np.ndarray, " point"], voltages: Float[np.ndarray, "oscillator point"]
) -> Float[np.ndarray, " oscillator"]:
    """Return the phases to the reference over its last periods, the mean of LAST_PERIODS [rad]."""
    end = times[-1]
    even = np.linspace(end - LAST_PERIODS / FREQUENCY, end, LAST_PERIODS * STEPS_PER_PERIOD + 1)[1:]
    carrier = np.exp(-2j * math.pi * FREQUENCY * even)
    return np.array([np.angle((np.interp(even, times, v) * carrier).mean()) for v in voltages])
