"""Transients against closed forms, theorems and ngspice's `.tran`."""

import dataclasses

import numpy as np
import pytest
import scipy.interpolate
import scipy.linalg

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.drives import Segment
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.circuits.power import absorbed_powers
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.base import AbstractTwoTerminal
from eqprop_spice.devices.capacitor import Capacitor
from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.devices.mosfet import Mosfet
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.transient import Transient
from eqprop_spice.errors import ConfigError, ConvergenceError, NetlistError
from eqprop_spice.phases import ConstantNudge, Force, Free, Hold, Spring
from eqprop_spice.spice.waveforms import transient_netlist
from tests.references import run_transient

ACCUMULATED = 10.0
"""Errors of single steps add up, over what a circuit remembers, to so many tolerances at most."""

NGSPICE = 5e-5
"""What ngspice errs by at its tolerances and 2000 points [V]: the distance is 2.6e-5 V there and
8.5e-6 V at 32,000 points, whether our steps are good to 1e-6 or to 1e-8."""


def low_pass(farads: float = 1e-9, coupling: float | None = None) -> Circuit:
    """Return a resistor of the parameters' size to a node with a capacitor."""
    builder = CircuitBuilder()
    x, n = builder.add_nodes("x", 1), builder.add_nodes("n", 1)
    builder.add_inputs("x", x, np.arange(1))
    builder.add_pairs("r", Resistor(), x if coupling is None else [GROUND], n)
    builder.add_pairs("c", Capacitor(farads), n, [GROUND])
    if coupling is not None:
        builder.add_pairs("couple", Capacitor(coupling), x, n)
    return builder.build([(n[0], GROUND)], num_inputs=1)


PARAMS = {"r": np.array([1e-3])}
TAU = 1e-6
"""The time constant of `low_pass` [s]."""


def test_a_capacitor_charges_as_the_exponential() -> None:
    targets = np.array([[1.0], [-3.0]])
    found = Transient().solve(low_pass(), PARAMS, [Segment(30 * TAU, targets)], np.zeros((2, 3)))
    size = np.abs(targets)
    for times, outputs in (
        (found.times, found.outputs),
        (moments := np.linspace(0, 30 * TAU, 700), found.outputs_of(found.at(moments))),
    ):
        exact = targets[:, None] * (1.0 - np.exp(-times / TAU))[:, None]
        error = np.abs(outputs - exact) / size[:, None]
        assert error.max() < 2 * ACCUMULATED * 1e-6
    settled = found.settling_times(targets, 1e-3 * size[:, 0])
    np.testing.assert_allclose(settled, TAU * np.log(1e3), rtol=5e-3)
    assert np.isinf(found.settling_times(2.0 * targets, 1e-3)).all()


def test_the_error_falls_with_the_fourth_power_of_the_step() -> None:
    errors, points = [], []
    for relative in (1e-3, 1e-7):
        wave = Segment(10 * TAU, lambda time: np.array([[np.sin(time / TAU)]]))
        found = Transient(relative, relative).solve(low_pass(), PARAMS, [wave])
        t = found.times / TAU
        exact = 0.5 * (np.sin(t) - np.cos(t) + np.exp(-t))
        errors.append(np.abs(found.outputs[0, :, 0] - exact).max())
        points.append(len(t))
        assert errors[-1] < ACCUMULATED * relative
    order = np.log(errors[0] / errors[1]) / np.log(points[1] / points[0])
    assert order > 3.0


def test_a_source_jumps_through_a_divider_of_capacitors() -> None:
    """Charge is conserved: the node jumps by the ratio of capacitances, then relaxes."""
    circuit = low_pass(6e-10, 4e-10)
    jump = np.array([[2.0]])
    found = Transient().solve(
        circuit, PARAMS, [Segment(TAU, 0.0 * jump), Segment(5 * TAU, jump), Segment(TAU, jump)]
    )
    after = found.times[found.counts[0] :] - TAU
    exact = 0.8 * np.exp(-after / TAU)
    np.testing.assert_allclose(found.outputs[0, found.counts[0] :, 0], exact, atol=1e-5)
    assert np.abs(found.outputs[0, : found.counts[0]]).max() < 1e-12
    assert found.at(np.array([TAU]))[0, 0, 2] == pytest.approx(0.0, abs=1e-12)


def ladder(num_nodes: int, without: tuple[int, ...]) -> Circuit:
    """Return resistors in a row, with a capacitor at most of the nodes."""
    builder = CircuitBuilder()
    x, n = builder.add_nodes("x", 1), builder.add_nodes("n", num_nodes)
    builder.add_inputs("x", x, np.arange(1))
    builder.add_pairs("r", Resistor(), [x[0], *n[:-1]], n)
    ends = np.delete(n, without)
    builder.add_devices(
        "c",
        Capacitor(1e-9),
        [ends, 0 * ends],
        values={"farads": 1e-9 / np.arange(1, 1 + len(ends))},
    )
    return builder.build([(n[-1], GROUND)], num_inputs=1)


@pytest.mark.parametrize("limit", [200, 0], ids=["dense", "sparse"])
def test_a_ladder_is_the_exponential_of_its_matrix(limit: int, monkeypatch) -> None:
    monkeypatch.setattr("eqprop_spice.engines.general.plan.DENSE_LIMIT", limit)
    without = np.array([2, 6])
    circuit = ladder(7, (2, 6))
    rng = np.random.default_rng(0)
    g = rng.uniform(5e-4, 2e-3, 7)
    end, inputs = 4e-6, np.array([[1.5]])
    found = Transient().solve(circuit, {"r": g}, [Segment(end, inputs)], np.zeros((1, 9)))
    conductances = np.diag(g) + np.diag(np.append(g[1:], 0.0))
    conductances -= np.diag(g[1:], 1) + np.diag(g[1:], -1)
    kept = np.delete(np.arange(7), without)
    schur, drive = conductances[np.ix_(kept, kept)], inputs[0, 0] * g[0] * (kept == 0)
    cross, inner = conductances[np.ix_(kept, without)], conductances[np.ix_(without, without)]
    follow = np.linalg.solve(inner, cross.T)
    schur = schur - cross @ follow
    rest = np.linalg.solve(schur, drive)
    matrix = -np.arange(1, 6)[:, None] * schur / 1e-9
    for time in (0.05 * end, 0.4 * end, end):
        exact = rest - scipy.linalg.expm(matrix * time) @ rest
        voltages = found.at(np.array([time]))[0, 0, 2:]
        np.testing.assert_allclose(voltages[kept], exact, rtol=0.0, atol=1e-5)
        np.testing.assert_allclose(voltages[without], -follow @ exact, rtol=0.0, atol=1e-5)


def test_energy_is_conserved() -> None:
    """What the resistors and diodes turn to heat is what the source gives and nothing stores."""
    builder = CircuitBuilder()
    x, n = builder.add_nodes("x", 1), builder.add_nodes("n", 2)
    builder.add_inputs("x", x, np.arange(1))
    builder.add_pairs("r", Resistor(), [x[0], n[0]], n)
    builder.add_pairs("d", PRESETS["kiraz"], n, [GROUND, GROUND])
    builder.add_pairs("c", Capacitor(1e-9), n, [GROUND, GROUND])
    circuit = builder.build([(n[1], GROUND)], num_inputs=1)
    params = {"r": np.array([1e-3, 5e-4])}
    segments = [Segment(3 * TAU, np.array([[0.6]])), Segment(3 * TAU, np.array([[-1.0]]))]
    found = Transient().solve(circuit, params, segments, np.zeros((1, 4)))
    absorbed = 0.0
    for k in range(2):
        points = slice(sum(found.counts[:k]), sum(found.counts[: k + 1]))
        v = found.voltages[0, points]
        powers = absorbed_powers(circuit, params, v, np.zeros((len(v), 1)))
        assert (powers["resistors"] >= 0.0).all() and (powers["diodes"] >= 0.0).all()
        total = sum(powers.values())
        spline = scipy.interpolate.CubicSpline(found.times[points], total)
        absorbed += spline.integrate(k * 3 * TAU, (k + 1) * 3 * TAU)
    stored = 0.5e-9 * (found.voltages[0, -1, 2:] ** 2).sum()
    assert stored > 1e-10
    # Sources give more than is absorbed: the difference is stored.
    assert -absorbed == pytest.approx(stored, rel=1e-5)


def learning_circuit() -> Circuit:
    """Return a layer with diodes, capacitors and amplifiers, and two output nodes."""
    builder = CircuitBuilder()
    x, h, o, y = (builder.add_nodes(k, n) for k, n in (("x", 3), ("h", 4), ("o", 4), ("y", 2)))
    shift = builder.add_nodes("s", 2)
    builder.add_inputs("x", x, np.arange(3))
    builder.add_constants("shift", shift, [0.1, -0.1])
    builder.add_dense("first", Resistor(), x, h)
    upper, lower, ground = np.full(4, shift[0]), np.full(4, shift[1]), np.zeros(4, int)
    builder.add_pairs("upper", PRESETS["kiraz"], h, upper)
    builder.add_pairs("lower", PRESETS["kiraz"], lower, h)
    builder.add_pairs("store", Capacitor(1e-12), h, ground)
    builder.add_amplifiers("amp", h, o, 4.0, 0.25)
    builder.add_dense("second", Resistor(), o, y)
    builder.add_pairs("load", Capacitor(1e-12), y, [GROUND, GROUND])
    # At an amplifier's output: its current is reflected too.
    builder.add_pairs("stray", Capacitor(2e-13), o, np.full(4, y[0]))
    return builder.build([(y[0], y[1])], num_inputs=3)


def drawn(circuit: Circuit, seed: int = 1):
    rng = np.random.default_rng(seed)
    params = {k: rng.uniform(1e-4, 1e-2, s) for k, s in circuit.parameter_shapes().items()}
    return params, rng.uniform(-2.0, 2.0, (2, 3)), rng.uniform(-1.0, 1.0, (2, 1))


@pytest.mark.ngspice
@pytest.mark.parametrize("nudge", ["constant", "live"])
def test_a_learning_circuit_moves_as_in_ngspice(nudge: str, tmp_path) -> None:
    circuit = learning_circuit()
    params, inputs, targets = drawn(circuit)
    constant = ConstantNudge(SquaredError(), targets, 1e-4)
    phase = constant if nudge == "constant" else Spring(1e-4, targets)
    segments = [
        Segment(1e-10, 0.0 * inputs),
        Segment(5e-9, inputs),
        Segment(5e-9, inputs, phase),
    ]
    found = Transient().solve(circuit, params, segments)
    # It ends where it settles.
    free = found.at(found.ends[1:2])[:, 0]
    (point, nudged) = Native().settle(circuit, params, inputs, [Free(), phase])
    np.testing.assert_allclose(free, point.voltages, rtol=0.0, atol=1e-8)
    np.testing.assert_allclose(found.voltages[:, -1], nudged.voltages, rtol=0.0, atol=1e-8)
    assert np.abs(np.asarray(nudged.voltages) - free).max() > 1e-3
    text = transient_netlist(circuit, params, found.segments, sample=1)
    times, voltages = run_transient(text, tmp_path)
    difference = np.abs(found.at(times)[1][:, circuit.free_nodes] - voltages)
    assert times[-1] == pytest.approx(found.ends[-1])
    assert np.ptp(voltages, axis=0).max() > 0.5
    assert difference.max() < NGSPICE
    assert np.median(difference.max(1)) < 1e-7


@pytest.mark.ngspice
def test_transistors_switch_as_in_ngspice(tmp_path) -> None:
    """Two inverters in a row, loaded, with a resistor between."""
    builder = CircuitBuilder()
    x, n, supply = builder.add_nodes("x", 1), builder.add_nodes("n", 3), builder.add_nodes("v", 1)
    builder.add_inputs("x", x, np.arange(1))
    builder.add_constants("supply", supply, [3.0])
    gates, drains = [x[0], n[1]], [n[0], n[2]]
    ground = [GROUND, GROUND]
    lower = Mosfet("lower", threshold=0.7, transconductance=1e-4, channel_modulation=0.02)
    upper = Mosfet("upper", "pmos", threshold=-0.7, transconductance=1e-4)
    above = [supply[0], supply[0]]
    builder.add_devices("lower", lower, [drains, gates, ground, ground])
    builder.add_devices("upper", upper, [drains, gates, above, above])
    builder.add_pairs("r", Resistor(), n[:1], n[1:2])
    builder.add_pairs("load", Capacitor(1e-12), n, np.zeros(3, int))
    builder.add_pairs("miller", Capacitor(2e-13), [x[0], n[1]], [n[0], n[2]])
    circuit = builder.build([(n[2], GROUND)], num_inputs=1)
    low, high = np.array([[0.0], [0.4]]), np.array([[3.0], [2.2]])
    segments = [Segment(2e-9, low), Segment(4e-8, high)]
    found = Transient(1e-5, 1e-7).solve(circuit, PARAMS, segments)
    for sample in (0, 1):
        text = transient_netlist(circuit, PARAMS, found.segments, sample=sample)
        times, voltages = run_transient(text, tmp_path)
        # A jump through the Miller capacitance takes no time here, and a ramp there.
        away = np.abs(times - found.ends[0]) > 1e-13
        difference = np.abs(found.at(times)[sample][:, circuit.free_nodes] - voltages)[away]
        assert times[-1] == pytest.approx(found.ends[-1])
        assert np.ptp(voltages, axis=0).min() > (0.2, 1.0)[sample == 0]
        assert difference.max() < 1e-3
        assert np.median(difference.max(1)) < 1e-5


@dataclasses.dataclass(frozen=True)
class Clock(AbstractTwoTerminal):
    """Two states that circle each other, faster the larger the voltage; i = g x v."""

    east: float | np.ndarray = 1.0
    north: float | np.ndarray = 0.0

    @property
    def states(self) -> tuple[str, ...]:
        return ("east", "north")

    @property
    def kind(self) -> str:
        return "resistors"

    def current(self, voltage):
        return 1e-4 * self.east * voltage

    def conductance(self, voltage):
        return 1e-4 * self.east + 0.0 * voltage

    def co_content(self, voltage):
        return 0.5e-4 * self.east * voltage**2

    def rates(self, voltage):
        return -1e6 * voltage * self.north, 1e6 * voltage * self.east

    def rate_slopes(self, voltage):
        turn, zero = 1e6 * voltage, 0.0 * voltage
        return (-1e6 * self.north, zero, -turn), (1e6 * self.east, turn, zero)

    def state_slopes(self, voltage):
        return ((1e-4 * voltage, 0.0 * voltage),)


def test_states_of_a_device_move_together() -> None:
    builder = CircuitBuilder()
    x, n = builder.add_nodes("x", 1), builder.add_nodes("n", 1)
    builder.add_inputs("x", x, np.arange(1))
    builder.add_pairs("r", Resistor(), x, n)
    builder.add_devices("clock", Clock(), [[x[0]], n])
    builder.add_devices("held", Clock(), [[x[0]], [GROUND]])
    circuit = builder.build([(n[0], GROUND)], num_inputs=1)
    found = Transient().solve(circuit, PARAMS, [Segment(4 * TAU, np.array([[2.0]]))])
    x = found.states["held"][0, :, :, 0].T
    np.testing.assert_allclose(x[0], np.cos(2e6 * found.times), atol=2e-5)
    np.testing.assert_allclose(x[1], np.sin(2e6 * found.times), atol=2e-5)
    # Nothing loads the output: no voltage is across the other clock, and it stands still.
    np.testing.assert_allclose(found.states["clock"][0, :, 0], 1.0, atol=1e-12)


def test_the_voltage_across_a_device_with_states_follows_from_both() -> None:
    """A clock in series with a resistor: at every point, Kirchhoff's law holds for its state."""
    builder = CircuitBuilder()
    x, n = builder.add_nodes("x", 1), builder.add_nodes("n", 1)
    builder.add_inputs("x", x, np.arange(1))
    builder.add_pairs("r", Resistor(), x, n)
    builder.add_devices("clock", Clock(0.9, 0.1), [n, [GROUND]])
    circuit = builder.build([(n[0], GROUND)], num_inputs=1)
    found = Transient().solve(circuit, PARAMS, [Segment(3 * TAU, np.array([[1.0]]))])
    east = found.states["clock"][0, :, 0, 0]
    np.testing.assert_allclose(found.outputs[0, :, 0], 1.0 / (1.0 + 0.1 * east), rtol=1e-9)
    # The angle is the integral of the voltage; its square sum stays.
    north = found.states["clock"][0, :, 1, 0]
    np.testing.assert_allclose(east**2 + north**2, 0.82, atol=1e-5)
    angle = np.unwrap(np.arctan2(north, east))
    spline = scipy.interpolate.CubicSpline(found.times, found.outputs[0, :, 0])
    turned = 1e6 * spline.integrate(found.times[0], found.times[-1])
    assert angle[-1] - angle[0] == pytest.approx(turned, rel=1e-5)
    assert turned > 2.0


def test_a_force_starts_from_the_free_operating_point() -> None:
    inputs = np.array([[1.0]])
    push = Segment(10 * TAU, inputs, Force(np.array([[1e-3]])))
    found = Transient().solve(low_pass(), PARAMS, [push])
    np.testing.assert_allclose(
        found.outputs[0, :, 0], 2.0 - np.exp(-found.times / TAU), rtol=0.0, atol=1e-5
    )


def test_what_cannot_be_walked_through_is_refused() -> None:
    one = np.array([[1.0]])
    with pytest.raises(ConfigError, match=r"0\.0 s"):
        Segment(0.0, one)
    with pytest.raises(ConfigError, match="Hold, which holds"):
        Segment(1.0, one, Hold(one))
    with pytest.raises(ConfigError, match="one segment"):
        Transient().solve(low_pass(), PARAMS, [])
    with pytest.raises(ConfigError, match=r"relative is 0\.0"):
        Transient(relative=0.0)
    with pytest.raises(NetlistError, match="expects"):
        Transient().solve(low_pass(), PARAMS, [Segment(1.0, np.zeros((1, 2)))])
    nudge = Segment(1.0, one, ConstantNudge(SquaredError(), one, 1e-4))
    with pytest.raises(NetlistError, match="A nudge depends"):
        transient_netlist(low_pass(), PARAMS, [nudge])
    with pytest.raises(NetlistError, match="no Python function"):
        transient_netlist(low_pass(), PARAMS, [Segment(1.0, lambda time: time * one)])


def test_steps_without_a_solution_end_with_the_time(monkeypatch) -> None:
    monkeypatch.setattr("eqprop_spice.engines.general.plan.MAX_STEPS", 1)
    with pytest.raises(ConvergenceError, match="no solution behind 0 s"):
        Transient().solve(low_pass(), PARAMS, [Segment(TAU, np.ones((1, 1)))], np.zeros((1, 3)))
