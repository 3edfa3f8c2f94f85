"""Random MOS, bipolar and junction transistors, -40 to 125 degC, against ngspice's `.op`.

    python -m benchmarks.transistor_devices

A thousand of each kind and polarity, all of one kind in one netlist, every terminal at a source of
its own. A current counts as equal if it is within 1e-9 of ngspice's, or within 1e-15 A.
"""

import dataclasses
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from eqprop_spice.constants import TEMPERATURE
from eqprop_spice.devices.base import AbstractDevice
from eqprop_spice.devices.bjt import Bipolar
from eqprop_spice.devices.jfet import Jfet
from eqprop_spice.devices.mosfet import Mosfet
from eqprop_spice.spice.writer import ACCURATE_OPTIONS

NUM_DEVICES = 1000

COLDEST, HOTTEST = 233.15, 398.15
"""-40 and 125 degC [K]."""

RELATIVE, ABSOLUTE = 1e-9, 1e-15
"""What counts as equal: of a current, or [A]."""

Drawn = tuple[AbstractDevice, list[float]]
"""A device, and the voltages of its terminals [V]."""


def mosfet(rng: np.random.Generator, name: str, channel: str, kelvin: float) -> Mosfet:
    """Return a transistor of level 1 with every parameter drawn, some of them zero."""
    sign = 1.0 if channel == "nmos" else -1.0
    return Mosfet(
        name,
        channel,
        threshold=sign * rng.uniform(0.3, 1.2),
        transconductance=10.0 ** rng.uniform(-5, -3),
        body_effect=rng.choice([0.0, rng.uniform(0.0, 0.8)]),
        surface_potential=rng.uniform(0.5, 0.8),
        channel_modulation=rng.choice([0.0, rng.uniform(0.0, 0.1)]),
        bulk_current=10.0 ** rng.uniform(-16, -12),
        width=rng.uniform(1e-6, 2e-4),
        length=rng.uniform(1e-6, 1e-5),
        temperature=kelvin,
    )


def mosfet_bias(rng: np.random.Generator, channel: str, *, conducting: bool) -> list[float]:
    """Return voltages of any region [V]; whether the bulk conducts a little."""
    sign = 1.0 if channel == "nmos" else -1.0
    drain, gate, source = rng.uniform(-3.0, 3.0, 3)
    lowest = sign * min(sign * drain, sign * source)
    forward = rng.uniform(0.0, 0.4) if conducting else -rng.uniform(0.0, 3.0)
    return [float(v) for v in (drain, gate, source, lowest + sign * forward)]


def bipolar(rng: np.random.Generator, name: str, channel: str, kelvin: float) -> Bipolar:
    """Return a Gummel-Poon transistor as published models have them."""

    def some(low: float, high: float, without: float) -> float:
        return 10.0 ** rng.uniform(low, high) if rng.random() < 0.6 else without

    return Bipolar(
        name,
        channel,
        saturation_current=10.0 ** rng.uniform(-17, -13),
        forward_gain=rng.uniform(20, 400),
        reverse_gain=rng.uniform(0.5, 10),
        forward_emission=rng.uniform(1, 1.1),
        reverse_emission=rng.uniform(1, 1.1),
        forward_early_voltage=some(1.3, 2.3, np.inf),
        reverse_early_voltage=some(0.8, 1.7, np.inf),
        forward_knee_current=some(-3, -1, np.inf),
        reverse_knee_current=some(-3, -1, np.inf),
        emitter_leakage=some(-15, -13, 0.0),
        collector_leakage=some(-15, -13, 0.0),
        emitter_leakage_emission=rng.uniform(1.3, 2.2),
        collector_leakage_emission=rng.uniform(1.1, 2.2),
        energy_gap=rng.choice([1.11, 0.69]),
        saturation_exponent=rng.uniform(2, 4),
        gain_exponent=rng.choice([0.0, 1.5]),
        area=rng.choice([1.0, 0.7, 3.0]),
        multiplier=rng.choice([1.0, 2.5]),
        temperature=kelvin,
        nominal_temperature=rng.choice([TEMPERATURE, 298.15]),
    )


def bipolar_bias(rng: np.random.Generator, channel: str) -> list[float]:
    """Return voltages of any region that a circuit leaves a transistor in [V]."""
    sign = 1.0 if channel == "npn" else -1.0
    emitter = rng.uniform(-1, 1)
    base = emitter + sign * rng.uniform(-1, 0.75)
    collector = base - sign * rng.uniform(-4, 0.7)
    return [float(v) for v in (collector, base, emitter, rng.uniform(-2, 2))]


def jfet(rng: np.random.Generator, name: str, channel: str, kelvin: float) -> Jfet:
    """Return a junction field-effect transistor."""
    return Jfet(
        name,
        channel,
        threshold=-rng.uniform(0.5, 4.0),
        transconductance=10.0 ** rng.uniform(-5, -2),
        channel_modulation=rng.choice([0.0, rng.uniform(0.0, 0.1)]),
        saturation_current=10.0 ** rng.uniform(-16, -12),
        doping_tail=rng.choice([1.0, rng.uniform(0.3, 1.0)]),
        gate_potential=rng.uniform(0.6, 1.2),
        threshold_drift=rng.choice([0.0, rng.uniform(-3e-3, 3e-3)]),
        transconductance_drift=rng.choice([0.0, rng.uniform(-1.0, 0.5)]),
        area=rng.choice([1.0, 0.7, 3.0]),
        multiplier=rng.choice([1.0, 2.5]),
        temperature=kelvin,
        nominal_temperature=rng.choice([TEMPERATURE, 298.15]),
    )


def jfet_bias(rng: np.random.Generator, channel: str) -> list[float]:
    """Return voltages of any region [V]."""
    sign = 1.0 if channel == "njf" else -1.0
    drain, source = rng.uniform(-4.0, 4.0, 2)
    gate = sign * min(sign * drain, sign * source) + sign * rng.uniform(-5.0, 0.5)
    return [float(v) for v in (drain, gate, source)]


def drawn_at(rng: np.random.Generator, kind: str, name: str) -> Drawn:
    """Return a random transistor of a kind at a random temperature, and its bias."""
    kelvin = rng.uniform(COLDEST, HOTTEST)
    if kind in Mosfet.POLARITIES:
        bias = mosfet_bias(rng, kind, conducting=rng.random() < 0.5)
        return mosfet(rng, name, kind, kelvin), bias
    if kind in Bipolar.POLARITIES:
        return bipolar(rng, name, kind, kelvin), bipolar_bias(rng, kind)
    return jfet(rng, name, kind, kelvin), jfet_bias(rng, kind)


KINDS = (*Mosfet.POLARITIES, *Bipolar.POLARITIES, *Jfet.POLARITIES)
"""SPICE's names of the kinds of transistors."""


def ngspice_currents(drawn: Sequence[Drawn]) -> np.ndarray:
    """Return the currents into all terminals [A], `device terminal`, by one run of ngspice."""
    lines, wanted = ["* transistors", ACCURATE_OPTIONS], []
    count = len(drawn[0][1])
    for k, (device, point) in enumerate(drawn):
        nodes = [f"n{k}_{t}" for t in range(count)]
        lines += [str(device.model_card()), device.card(str(k), nodes)]
        lines += [f"v{k}_{t} n{k}_{t} 0 {v!r}" for t, v in enumerate(point)]
        wanted += [f"print i(v{k}_{t})" for t in range(count)]
    lines += [".control", "set numdgt=16", "op", *wanted, "quit 0", ".endc", ".end", ""]
    done = subprocess.run(
        ["ngspice", "-n", "-b"], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    found = [line.split(" = ")[1] for line in done.stdout.splitlines() if line.startswith("i(v")]
    return -np.array(found, float).reshape(-1, count)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How the currents of a kind of transistor compare.

    Attributes:
        currents: Currents compared.
        unequal: Those that are not equal.
        worst: The largest error, of what counts as equal.
        conducting: Share of the devices that carry more than 1 uA.
    """

    currents: int
    unequal: int
    worst: float
    conducting: float


def compare(kind: str, count: int, seed: int = 0) -> Agreement:
    """Return how random devices of a kind compare with ngspice."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    drawn = [drawn_at(rng, kind, f"m{k}") for k in range(count)]
    ours = []
    for device, point in drawn:
        into = device.currents(*(np.array(point[:-1]) - point[-1]))
        ours.append([*map(float, into), -float(sum(into))])
    theirs = ngspice_currents(drawn)
    error, size = np.abs(np.array(ours) - theirs), np.abs(theirs)
    error = error / np.maximum(RELATIVE * size, ABSOLUTE)
    return Agreement(
        error.size,
        int((error > 1.0).sum()),
        float(error.max()),
        float((size.max(axis=1) > 1e-6).mean()),
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else NUM_DEVICES
    for kind in KINDS:
        found = compare(kind, count)
        print(
            f"{kind}: {count} devices, {found.unequal} of {found.currents} currents not equal, "
            f"largest error {found.worst:.3f} of the bound; {found.conducting:.0%} carry over 1 uA",
            flush=True,
        )


if __name__ == "__main__":
    main()
