"""The memristor in motion against its closed form and ngspice, and at rest as a resistor."""

import numpy as np
import pytest

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.drives import Segment
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.circuits.reciprocity import reciprocity_weights
from eqprop_spice.devices.memristor import Memristor
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.engines.transient import Transient
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import Free
from eqprop_spice.spice.waveforms import transient_netlist
from eqprop_spice.spice.writer import netlist
from tests.references import bisect, run_ngspice, run_transient

STEPS = 1e-5
"""Accumulated error at steps good to 1e-6 of the states and voltages."""

NGSPICE = 2e-5
"""What ngspice errs by at its tolerances and steps [V]."""


def one(device: Memristor, **values) -> tuple[Circuit, dict[str, np.ndarray]]:
    """Return memristors from a resistor of 100 ohm at the source to ground."""
    builder = CircuitBuilder()
    x, n = builder.add_nodes("x", 1), builder.add_nodes("n", 1)
    builder.add_inputs("x", x, np.arange(1))
    builder.add_pairs("r", Resistor(), x, n)
    count = len(next(iter(values.values()), [0]))
    ends = np.repeat(n, count)
    builder.add_devices("m", device, [ends, 0 * ends], values=values)
    return builder.build([(n[0], GROUND)], num_inputs=1), {"r": np.array([1e-2])}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_its_state_follows_the_charge(sign: float) -> None:
    r"""With p = 1 and a current of one sign, $x = \tanh(\operatorname{artanh} x_0 + k q)$.

    Under a negative current the same holds for 1 - x. The flux is that of charge and resistance:
    $V t = \int R(x(q))\,dq$, which gives q.
    """
    device = Memristor(window=1, state=0.2 if sign > 0 else 0.8)
    circuit, params = one(device)
    total = 100.0  # The resistor in series.
    end = 0.8
    found = Transient().solve(circuit, params, [Segment(end, np.array([[sign]]))])
    start, k = np.arctanh(0.2), device.drift
    span = device.off_resistance - device.on_resistance

    def flux(q):
        moved = np.log(np.cosh(start + k * q) / np.cosh(start)) / k
        if sign > 0:
            return (total + device.off_resistance) * q - span * moved
        return (total + device.on_resistance) * q + span * moved

    charge = bisect(lambda q: flux(q) - found.times, 0.0 * found.times, 0.0 * found.times + 1e-2)
    share = np.tanh(start + k * charge)
    exact = share if sign > 0 else 1.0 - share
    x = found.states["m"][0, :, 0, 0]
    assert np.abs(x - exact).max() < STEPS
    assert np.ptp(x) > 0.3


@pytest.mark.ngspice
def test_a_loop_is_pinched_and_ngspices(tmp_path) -> None:
    """Under an alternating voltage: no current without voltage, and two currents at any other."""
    circuit, params = one(Memristor(), state=[0.1, 0.4])
    cycle = np.array([0.0, 0.7, 1.2, 0.7, 0.0, -0.7, -1.2, -0.7, 0.0])
    segments = [Segment(0.05, np.array([[v]])) for v in cycle]
    found = Transient().solve(circuit, params, segments)
    times, voltages = run_transient(transient_netlist(circuit, params, segments), tmp_path)
    ends = found.ends[:-1, None]
    # A jump takes no time here, and a ramp of 2e-7 s there.
    away = (np.abs(times - ends) > 2e-7).all(axis=0)
    difference = np.abs(found.at(times)[0][:, circuit.free_nodes] - voltages)[away]
    assert difference.max() < NGSPICE
    at_ends = found.at(found.ends - 1e-6)[0]
    current = 1e-2 * (at_ends[:, 1] - at_ends[:, 2])
    np.testing.assert_allclose(current[cycle == 0.0], 0.0, atol=1e-15)
    # Up and down again through the same voltages: less resistance on the way back.
    assert current[3] > 1.1 * current[1] and abs(current[7]) < abs(current[5])
    states = found.states["m"]
    assert states.min() > 0.0 and states.max() < 1.0 and np.ptp(states[0, :, 0, 0]) > 0.05


@pytest.mark.ngspice
def test_at_rest_it_is_a_resistor(tmp_path) -> None:
    states = np.array([0.0, 0.25, 1.0])
    circuit, params = one(Memristor(), state=states)
    inputs = np.array([[0.7], [-2.0]])
    g = (1.0 / (16e3 - 15.9e3 * states)).sum()
    expected = inputs[:, 0] * 1e-2 / (1e-2 + g)
    points = [
        engine.settle(circuit, params, inputs, [Free()])[0] for engine in (Native(), NgSpice())
    ]
    for point in points:
        np.testing.assert_allclose(point.voltages[:, 2], expected, rtol=1e-12)
    assert not circuit.groups_without_energy
    np.testing.assert_array_equal(reciprocity_weights(circuit)["r"], [1.0])
    printed = run_ngspice(netlist(circuit, params, inputs[0], Free()), tmp_path)
    assert printed["v(n_0)"] == pytest.approx(expected[0], rel=1e-10)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"state": 1.5}, "state 1.5; it must be finite and between 0 and 1"),
        ({"state": np.array([0.5, -0.1])}, "state -0.1"),
        ({"off_resistance": 50.0}, "off_resistance 50.0; it must be finite and above"),
        ({"on_resistance": -1.0}, "on_resistance -1.0"),
        ({"drift": np.inf}, "drift inf"),
        ({"window": 0}, "window 0"),
    ],
)
def test_what_is_no_memristor_is_refused(values, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Memristor(**values)
