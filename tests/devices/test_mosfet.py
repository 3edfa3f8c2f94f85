"""The level-1 transistor against ngspice, and networks of transistors on both engines."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.transistor_devices import mosfet, mosfet_bias, ngspice_currents
from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.circuits.maps import sum_at
from eqprop_spice.circuits.power import absorbed_powers
from eqprop_spice.circuits.reciprocity import asymmetry, reciprocity_weights
from eqprop_spice.devices.mosfet import Mosfet
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.native import Native, plan_for
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.engines.relaxation import Relaxation, truncated_multipliers
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.phases import Force, Free
from eqprop_spice.spice.writer import netlist
from tests.references import run_ngspice

RELATIVE, ABSOLUTE = 1e-9, 1e-15
"""Relative error of a current, or its error [A]: ngspice and this law round differently."""

LEAKAGE = 1e-26
"""Rounding [A] of gmin times volts and of saturation currents, where derivatives are compared."""

SOLVERS = 1e-9
"""Voltage error [V] between engines; ngspice's Newton steps end at 1e-10 of the voltages."""

FINITE_DIFFERENCE = 1e-7
"""Relative truncation and rounding error of the central differences taken here."""

TELLEGEN = 1e-12
"""Sum of all powers over the largest, at operating points good to 1e-13."""

NUM_DEVICES = 60

FIELDS = (
    "threshold",
    "transconductance",
    "body_effect",
    "surface_potential",
    "channel_modulation",
    "bulk_current",
    "width",
    "length",
)


@pytest.mark.ngspice
@pytest.mark.parametrize("kelvin", [233.15, 300.15, 358.15])
@pytest.mark.parametrize("channel", ["nmos", "pmos"])
def test_currents_are_those_of_ngspice(channel: str, kelvin: float) -> None:
    rng = np.random.default_rng(int(kelvin))
    drawn, expected = [], []
    for k in range(NUM_DEVICES):
        device = mosfet(rng, f"m{k}", channel, kelvin)
        bias = mosfet_bias(rng, channel, conducting=k % 2 == 1)
        drawn.append((device, bias))
        into = device.currents(*(np.array(bias[:3]) - bias[3]))
        expected.append([*map(float, into), -float(sum(into))])
    found = ngspice_currents(drawn)
    np.testing.assert_allclose(expected, found, rtol=RELATIVE, atol=ABSOLUTE)
    carrying = np.abs(found[:, 0]) > 1e-8
    assert 0.3 < carrying.mean() < 1.0


@pytest.mark.parametrize("channel", ["nmos", "pmos"])
def test_slopes_are_the_derivatives_of_the_currents(channel: str) -> None:
    rng = np.random.default_rng(1)
    devices = [mosfet(rng, "m", channel, 320.0) for _ in range(NUM_DEVICES)]
    # One device with a number per instance in its fields, as a group makes them.
    law = dataclasses.replace(
        devices[0],
        **{name: np.array([getattr(d, name) for d in devices]) for name in FIELDS},
    )
    numbers = range(NUM_DEVICES)
    bias = np.array([mosfet_bias(rng, channel, conducting=k % 2 == 1) for k in numbers])
    drops = tuple((bias[:, :3] - bias[:, 3:]).T)
    alone = [d.currents(*row) for d, row in zip(devices, np.array(drops).T, strict=True)]
    np.testing.assert_allclose(np.array(alone).T, law.currents(*drops), rtol=1e-12, atol=LEAKAGE)
    slopes = law.slopes(*drops)
    for port in range(3):
        direction = tuple(float(k == port) + jnp.zeros(NUM_DEVICES) for k in range(3))
        start = tuple(map(jnp.asarray, drops))
        _, exact = jax.jvp(lambda *d: law.currents(*d), start, direction)
        column = [row[port] for row in slopes]
        np.testing.assert_allclose(column, exact, rtol=1e-12, atol=LEAKAGE)


def test_source_and_drain_are_exchanged_where_current_flows_back() -> None:
    device = Mosfet("m", threshold=0.7, body_effect=0.3, channel_modulation=0.05)
    into = device.currents(np.float64(1.0), np.float64(2.0), np.float64(0.4))
    back = device.currents(np.float64(0.4), np.float64(2.0), np.float64(1.0))
    np.testing.assert_array_equal(into, back[::-1])


def transistor_network(num_nodes: int = 6) -> Circuit:
    """Return transistors as edges, their gates at sources, between nodes with resistors."""
    rng = np.random.default_rng(7)
    builder = CircuitBuilder()
    sources = builder.add_nodes("x", 2)
    builder.add_inputs("x", sources, np.arange(2))
    edges = [
        (i, j) for i in range(num_nodes) for j in range(i) if rng.uniform() < 0.6 or i == j + 1
    ]
    gates = builder.add_nodes("g", len(edges))
    builder.add_constants("gate", gates, rng.uniform(1.5, 3.0, len(edges)))
    supply = builder.add_nodes("vdd", 1)
    builder.add_constants("vdd", supply, [3.0])
    nodes = builder.add_nodes("n", num_nodes)
    builder.add_pairs("feed", Resistor(), [sources[0], sources[1], GROUND], nodes[[0, 1, 2]])
    first, second = nodes[np.array(edges).T]
    edge = Mosfet("edge", transconductance=1e-3, body_effect=0.4, channel_modulation=0.02)
    builder.add_devices(
        "edge",
        edge,
        [first, gates, second, np.zeros(len(edges), int)],
        values={"threshold": rng.uniform(0.5, 0.9, len(edges))},
    )
    # Loads of the other polarity, two of them with the gate tied to the drain.
    load = Mosfet("load", "pmos", threshold=-0.6, transconductance=2e-4)
    ends, three = nodes[3:6], np.repeat(supply, 3)
    builder.add_devices("load", load, [ends, [ends[0], ends[1], nodes[0]], three, three])
    return builder.build([(nodes[-1], nodes[-2]), (nodes[-3], GROUND)], num_inputs=2)


def drawn(circuit: Circuit):
    rng = np.random.default_rng(8)
    params = {k: rng.uniform(1e-4, 1e-3, s) for k, s in circuit.parameter_shapes().items()}
    return params, rng.uniform(0.0, 1.0, (4, 2)), rng.normal(size=(4, 2))


@pytest.mark.ngspice
def test_a_network_of_transistors_settles_as_in_ngspice() -> None:
    circuit = transistor_network()
    assert isinstance(plan_for(circuit), GeneralPlan)
    params, inputs, currents = drawn(circuit)
    phases = [Free(), Force(1e-5 * currents)]
    ours = Native().settle(circuit, params, inputs, phases)
    theirs = NgSpice().settle(circuit, params, inputs, phases)
    for one, other in zip(ours, theirs, strict=True):
        assert one.converged.all() and other.converged.all()
        np.testing.assert_allclose(one.voltages, other.voltages, rtol=0.0, atol=SOLVERS)
    moved = np.abs(ours[1].voltages - ours[0].voltages)
    assert moved.max() > 1e4 * SOLVERS
    responses = [
        np.asarray(engine.respond(circuit, params, inputs, ours[0].voltages, currents))
        for engine in (Native(), NgSpice())
    ]
    scale = np.abs(responses[0]).max()
    np.testing.assert_allclose(*responses, rtol=0.0, atol=1e-7 * scale)


@pytest.mark.ngspice
def test_plain_ngspice_runs_the_netlist(tmp_path) -> None:
    circuit = transistor_network()
    params, inputs, _ = drawn(circuit)
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    printed = run_ngspice(netlist(circuit, params, inputs[0], Free()), tmp_path)
    for node in circuit.free_nodes:
        value = printed[f"v({circuit.node_names[node]})"]
        assert point.voltages[0, node] == pytest.approx(value, abs=SOLVERS)


@pytest.fixture(params=["dense", "sparse"])
def system(request, monkeypatch) -> None:
    """Solve with the reduced dense system, or with the whole sparse one."""
    if request.param == "sparse":
        monkeypatch.setattr("eqprop_spice.engines.general.plan.DENSE_LIMIT", 0)


@pytest.mark.usefixtures("system")
def test_response_and_adjoint_are_derivatives() -> None:
    circuit = transistor_network()
    params, inputs, currents = drawn(circuit)
    engine, step = Native(), 1e-8
    free, plus, minus = engine.settle(
        circuit, params, inputs, [Free(), Force(step * currents), Force(-step * currents)]
    )
    slope = (plus.voltages - minus.voltages) / (2.0 * step)
    response = np.asarray(engine.respond(circuit, params, inputs, free.voltages, currents))
    np.testing.assert_allclose(response, slope, rtol=0.0, atol=1e-6 * np.abs(slope).max())
    multipliers = np.asarray(engine.adjoint(circuit, params, inputs, free.voltages, currents))
    a, b = circuit.trainable_groups[0].layout.pairs()
    product = (multipliers[:, a] - multipliers[:, b]) * (free.voltages[:, a] - free.voltages[:, b])
    gradient = -product.sum(axis=0)

    def loss(changed: np.ndarray) -> float:
        (point,) = engine.settle(circuit, {"feed": changed}, inputs, [Free()])
        return float((circuit.outputs(point.voltages) * currents).sum())

    for which in range(len(gradient)):
        change = np.zeros_like(params["feed"])
        change[which] = 1e-4 * params["feed"][which]
        difference = loss(params["feed"] + change) - loss(params["feed"] - change)
        expected = difference / (2.0 * change[which])
        assert gradient[which] == pytest.approx(expected, rel=FINITE_DIFFERENCE)


def test_many_visits_of_the_adjoint_system_end_at_the_adjoint() -> None:
    circuit = transistor_network()
    params, inputs, slopes = drawn(circuit)
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    exact = np.asarray(Native().adjoint(circuit, params, inputs, point.voltages, slopes))
    relaxed = truncated_multipliers(
        circuit, params, point.voltages, slopes, Relaxation(300, synchronous=False)
    )
    np.testing.assert_allclose(relaxed, exact, rtol=0.0, atol=1e-9 * np.abs(exact).max())


def test_powers_sum_to_zero_and_the_circuit_has_no_energy() -> None:
    circuit = transistor_network()
    params, inputs, _ = drawn(circuit)
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    powers = absorbed_powers(circuit, params, point.voltages, np.zeros((4, 2)))
    largest = max(np.abs(power).max() for power in powers.values())
    assert np.abs(sum(powers.values())).max() <= TELLEGEN * largest
    assert (powers["transistors"] > 0.0).all()
    assert [g.name for g in circuit.groups_without_energy] == ["edge", "load"]
    jacobian = GeneralPlan(circuit).jacobian(params, np.asarray(point.voltages)[0])
    assert asymmetry(jacobian) > 1e-3
    # Their own rule's weights are computed all the same: the nudge enters with weight 1.
    np.testing.assert_array_equal(reciprocity_weights(circuit)["feed"], np.ones(3))


def test_the_jacobian_is_the_derivative_of_kirchhoffs_law() -> None:
    circuit = transistor_network()
    params, inputs, _ = drawn(circuit)
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    plan, v = GeneralPlan(circuit), np.asarray(point.voltages)[:1]
    jacobian, step = plan.jacobian(params, v[0]), 1e-6
    for column in range(len(circuit.free_nodes)):
        move = np.zeros((1, len(circuit.free_nodes)))
        move[0, column] = step
        change = circuit.selection.spread(move)
        above, below = (
            circuit.residual(params, v + sign * change, np.zeros((1, 2))) for sign in (1.0, -1.0)
        )
        slope = (above - below)[0] / (2.0 * step)
        np.testing.assert_allclose(jacobian[:, column], slope, rtol=0.0, atol=1e-12)
    # The gates tied to their drains count at the diagonal too.
    own = np.zeros(v.shape)
    for group in circuit.groups:
        sum_at(own, group.own_conductances(params, v))
    np.testing.assert_allclose(own[0, circuit.free_nodes], np.diag(jacobian), rtol=1e-12)


def test_a_gate_that_nothing_drives_floats() -> None:
    builder = CircuitBuilder()
    source, nodes, gate = (builder.add_nodes(n, 1) for n in "xng")
    builder.add_inputs("x", source, np.arange(1))
    builder.add_pairs("r", Resistor(), source, nodes)
    builder.add_devices("m", Mosfet("m"), [nodes, gate, [GROUND], [GROUND]])
    with pytest.raises(NetlistError, match="'g_0' floats"):
        builder.build([(nodes[0], GROUND)], num_inputs=1)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("transconductance", 0.0, "positive"),
        ("width", -1e-6, "positive"),
        ("body_effect", -0.1, "not negative"),
        ("threshold", np.nan, "finite"),
        ("length", np.array([1e-6, np.inf]), "positive"),
    ],
)
def test_values_that_are_no_transistor_are_refused(field: str, value, rule: str) -> None:
    with pytest.raises(ConfigError, match=f"'m' has {field} .*{rule}"):
        Mosfet("m", **{field: value})


def test_names_that_ngspice_would_execute_are_refused() -> None:
    with pytest.raises(ConfigError, match="not allowed"):
        Mosfet("m\n.control")
    with pytest.raises(ConfigError, match="nmos, pmos"):
        Mosfet("m", "njf")
