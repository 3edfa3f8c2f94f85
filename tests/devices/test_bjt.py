"""The bipolar transistor against ngspice, closed forms and finite differences."""

import numpy as np
import pytest

from benchmarks.transistor_devices import bipolar, bipolar_bias, ngspice_currents
from eqprop_spice.constants import THERMAL_VOLTAGE
from eqprop_spice.devices.bjt import Bipolar
from eqprop_spice.errors import ConfigError

NUM_DEVICES = 1000
KELVINS = (233.15, 300.15, 358.15, 398.15)

RELATIVE, ABSOLUTE = 1e-9, 1e-15
"""ngspice's own Newton stops at its tolerance of 1e-10; currents of gmin alone are near 1e-15 A."""

SLOPE = 1e-6
"""Central differences of currents with steps of 1e-6 V: their truncation, and rounding."""


@pytest.mark.ngspice
@pytest.mark.parametrize("channel", ["npn", "pnp"])
def test_currents_are_those_of_ngspice(channel):
    random = np.random.default_rng(7)
    kelvins = np.resize(KELVINS, NUM_DEVICES // 2)
    devices = [bipolar(random, f"m{k}", channel, t) for k, t in enumerate(kelvins.tolist())]
    drawn = [(device, bipolar_bias(random, channel)) for device in devices]
    for (device, point), expected in zip(drawn, ngspice_currents(drawn), strict=True):
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
        device = bipolar(random, f"m{k}", channel, 300.15)
        c, b, e, s = bipolar_bias(random, channel)
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
