"""Every device keeps the contract."""

import numpy as np
import pytest

from eqprop_spice.devices.bjt import Bipolar
from eqprop_spice.devices.capacitor import Capacitor
from eqprop_spice.devices.depletion import DepletionCapacitance
from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.devices.measured import Curve, Measured
from eqprop_spice.devices.memristor import Memristor
from eqprop_spice.devices.mosfet import Mosfet
from eqprop_spice.devices.piecewise_linear import PiecewiseLinear
from eqprop_spice.devices.resistor import FixedResistor
from tests.contracts import check_device

VOLTS = np.linspace(-0.45, 0.47, 12)


@pytest.mark.parametrize(
    "device",
    [
        PRESETS["kiraz"],
        PRESETS["d1n4148"],
        FixedResistor(1e-3),
        Capacitor(1e-12),
        DepletionCapacitance("layer", 1e-12, 0.8, 0.4),
        Memristor(window=3, state=0.4),
        PiecewiseLinear(1e-2, 1e-5, 0.1),
        Measured(Curve((-0.4, -0.1, 0.2, 0.31), (-1e-3, -1e-5, 4e-5, 2e-3))),
    ],
    ids=lambda device: type(device).__name__,
)
def test_two_terminals(device):
    check_device(device, (VOLTS,))


@pytest.mark.parametrize("channel", ["nmos", "pmos"])
def test_mosfet(channel):
    sign = 1.0 if channel == "nmos" else -1.0
    device = Mosfet(
        "some", channel, 0.6 * sign, body_effect=0.4, channel_modulation=0.02, bulk_current=1e-14
    )
    rng = np.random.default_rng(0)
    drain, gate, source = (sign * rng.uniform(*span, 9) for span in ((1, 2), (1, 4), (0, 0.9)))
    check_device(device, (drain, gate, source))


@pytest.mark.parametrize("channel", ["npn", "pnp"])
def test_bipolar(channel):
    sign = 1.0 if channel == "npn" else -1.0
    rng = np.random.default_rng(0)
    collector, base, emitter = (
        sign * rng.uniform(*span, 9) for span in ((1, 2), (0.5, 0.6), (0, 0.1))
    )
    check_device(Bipolar("some", channel), (collector, base, emitter))
