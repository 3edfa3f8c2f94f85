"""The bipolar transistor against ngspice, closed forms and finite differences."""

import subprocess

import numpy as np
import pytest

from eqprop_spice.constants import TEMPERATURE, THERMAL_VOLTAGE
from eqprop_spice.devices.bjt import Bipolar
from eqprop_spice.errors import ConfigError
from eqprop_spice.spice.writer import ACCURATE_OPTIONS

NUM_DEVICES = 1000
KELVINS = (233.15, 300.15, 358.15, 398.15)

RELATIVE, ABSOLUTE = 1e-9, 1e-15
"""ngspice's own Newton stops at its tolerance of 1e-10; currents of gmin alone are near 1e-15 A."""

SLOPE = 1e-6
"""Central differences of currents with steps of 1e-6 V: their truncation, and rounding."""


def drawn(random: np.random.Generator, name: str, channel: str, kelvin: float) -> Bipolar:
    """Return a transistor with parameters as published models have them."""

    def some(low: float, high: float, without: float) -> float:
        return 10 ** random.uniform(low, high) if random.random() < 0.6 else without

    return Bipolar(
        model=name,
        channel=channel,
        saturation_current=10 ** random.uniform(-17, -13),
        forward_gain=random.uniform(20, 400),
        reverse_gain=random.uniform(0.5, 10),
        forward_emission=random.uniform(1, 1.1),
        reverse_emission=random.uniform(1, 1.1),
        forward_early_voltage=some(1.3, 2.3, np.inf),
        reverse_early_voltage=some(0.8, 1.7, np.inf),
        forward_knee_current=some(-3, -1, np.inf),
        reverse_knee_current=some(-3, -1, np.inf),
        emitter_leakage=some(-15, -13, 0.0),
        collector_leakage=some(-15, -13, 0.0),
        emitter_leakage_emission=random.uniform(1.3, 2.2),
        collector_leakage_emission=random.uniform(1.1, 2.2),
        energy_gap=random.choice([1.11, 0.69]),
        saturation_exponent=random.uniform(2, 4),
        gain_exponent=random.choice([0.0, 1.5]),
        area=random.choice([1.0, 0.7, 3.0]),
        multiplier=random.choice([1.0, 2.5]),
        temperature=kelvin,
        nominal_temperature=random.choice([TEMPERATURE, 298.15]),
    )


def biased(random: np.random.Generator, channel: str) -> tuple[float, float, float, float]:
    """Return terminal voltages [V] of any region that a circuit leaves a transistor in."""
    p = 1.0 if channel == "npn" else -1.0
    emitter = random.uniform(-1, 1)
    base = emitter + p * random.uniform(-1, 0.75)
    collector = base - p * random.uniform(-4, 0.7)
    return collector, base, emitter, random.uniform(-2, 2)


def ngspice_currents(devices, points) -> np.ndarray:
    """Return the currents into all terminals [A], `instance terminal`, by one run of ngspice."""
    lines, wanted = ["* transistors", ACCURATE_OPTIONS], []
    for k, (device, point) in enumerate(zip(devices, points, strict=True)):
        lines += [device.model_card(), device.card(str(k), [f"n{k}_{t}" for t in range(4)])]
        lines += [f"v{k}_{t} n{k}_{t} 0 {v!r}" for t, v in enumerate(point)]
        wanted += [f"print i(v{k}_{t})" for t in range(4)]
    lines += [".control", "set numdgt=16", "op", *wanted, ".endc", ".end", ""]
    done = subprocess.run(
        ["ngspice", "-n", "-b"], input="\n".join(lines), capture_output=True, text=True, check=False
    )
    found = [line.split(" = ")[1] for line in done.stdout.splitlines() if line.startswith("i(v")]
    return -np.array(found, float).reshape(-1, 4)


@pytest.mark.ngspice
@pytest.mark.parametrize("channel", ["npn", "pnp"])
def test_currents_are_those_of_ngspice(channel):
    random = np.random.default_rng(7)
    kelvins = np.resize(KELVINS, NUM_DEVICES // 2)
    devices = [drawn(random, f"m{k}", channel, t) for k, t in enumerate(kelvins.tolist())]
    points = [biased(random, channel) for _ in devices]
    theirs = ngspice_currents(devices, points)
    for device, point, expected in zip(devices, points, theirs, strict=True):
        c, b, e, s = (np.array([v]) for v in point)
        ours = np.ravel(device.currents(c - s, b - s, e - s))
        ours = np.append(ours, -ours.sum())
        np.testing.assert_allclose(
            ours, expected, rtol=RELATIVE, atol=ABSOLUTE, err_msg=str(device)
        )


@pytest.mark.parametrize("channel", ["npn", "pnp"])
def test_slopes_are_the_derivatives_of_the_currents(channel):
    random = np.random.default_rng(8)
    for k in range(40):
        device = drawn(random, f"m{k}", channel, 300.15)
        c, b, e, s = biased(random, channel)
        drops = np.array([[c - s], [b - s], [e - s]])
        slopes = np.array(device.slopes(*drops))[:, :, 0]
        for j in range(3):
            step = np.zeros((3, 1))
            step[j] = 1e-6
            higher, lower = device.currents(*(drops + step)), device.currents(*(drops - step))
            numeric = (np.array(higher) - np.array(lower))[:, 0] / 2e-6
            scale = np.abs(slopes).max() + 1e-9
            np.testing.assert_allclose(slopes[:, j], numeric, rtol=SLOPE, atol=SLOPE * scale)


def test_gain_of_an_ideal_transistor():
    device = Bipolar("q", forward_gain=150.0)
    i_c, i_b, i_e = device.currents(np.array([2.0]), np.array([0.65]), np.array([0.0]))
    assert i_c / i_b == pytest.approx(150.0, rel=1e-4)
    assert i_c == pytest.approx(1e-16 * np.exp(0.65 / THERMAL_VOLTAGE), rel=1e-4)
    assert i_c + i_b + i_e == pytest.approx(2e-12, rel=1e-2)


def test_what_is_no_transistor_is_refused():
    with pytest.raises(ConfigError, match="model name"):
        Bipolar("q1\n.control")
    with pytest.raises(ConfigError, match="one of npn, pnp"):
        Bipolar("q", channel="nmos")
    with pytest.raises(ConfigError, match="forward_gain 0"):
        Bipolar("q", forward_gain=0.0)
    with pytest.raises(ConfigError, match="saturation_current"):
        Bipolar("q", saturation_current=np.array([1e-16, np.inf]))
