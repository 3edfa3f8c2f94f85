"""The general plan: circuits of no particular structure, and layered ones as a check."""

import jax
import numpy as np
import pytest

import eqprop_spice.engines.general.plan as general
from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.diode import PRESETS, Shockley
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.general.equations import DenseSystem, conductance_matrix, structure_of
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.native import Native, plan_for
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.phases import ConstantNudge, Force, Free, Spring
from tests.references import KIRAZ, Layered, diode_law

NGSPICE = 1e-9
"""Largest voltage difference [V] to ngspice at reltol 1e-10; the error is ngspice's, 1e-10 V."""

REFERENCE = 1e-11
"""Largest voltage difference [V] to dense Newton steps down to rounding."""

NUM_NODES, NUM_INPUTS, NUM_SAMPLES = 200, 6, 10

LINEAR = 1e-9
"""Relative; .ac and the native response linearize at points 1e-11 V apart."""

FINITE_DIFFERENCE = 1e-6
"""Relative truncation and rounding error of the central differences taken here."""

STEEP = Shockley("steep", 1e-14)
"""A junction diode whose current changes by e every 26 mV: what makes chains hard."""


def random_graph(num_nodes: int, seed: int, *, num_amplifiers: int = 4) -> Circuit:
    """Return a connected graph of resistors with diodes between any two nodes, and amplifiers."""
    rng = np.random.default_rng(seed)
    builder = CircuitBuilder()
    sources = builder.add_nodes("x", 3)
    builder.add_inputs("x", sources, np.arange(3))
    nodes = builder.add_nodes("n", num_nodes)
    edges = [(nodes[rng.integers(0, i)], nodes[i]) for i in range(1, num_nodes)]
    edges += [tuple(rng.choice(nodes, 2, replace=False)) for _ in range(2 * num_nodes)]
    edges += [(s, n) for s in sources for n in rng.choice(nodes, 4, replace=False)]
    if num_amplifiers:
        followers = builder.add_nodes("a", num_amplifiers)
        inputs = rng.choice(nodes[:-3], num_amplifiers, replace=False)
        # A gain below one keeps loops through random resistors from latching.
        builder.add_amplifiers("amp", inputs, followers, 0.8, 0.9)
        edges += [(f, n) for f in followers for n in rng.choice(nodes, 3, replace=False)]
    edges.append((nodes[0], GROUND))
    first, second = np.array(edges).T
    builder.add_pairs("r", Resistor(), first, second)
    ends = rng.choice(nodes, (num_nodes // 2, 2))
    ends = ends[ends[:, 0] != ends[:, 1]]
    builder.add_pairs("d", KIRAZ, ends[:, 0], ends[:, 1])
    grounded = rng.choice(nodes, num_nodes // 4, replace=False)
    builder.add_pairs("dg", PRESETS["d1n4148"], grounded, np.zeros(len(grounded), int))
    outputs = [(nodes[-1], nodes[-2]), (nodes[-3], GROUND)]
    return builder.build(outputs, num_inputs=3)


def draw(circuit: Circuit, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {k: rng.uniform(1e-4, 1e-2, shape) for k, shape in circuit.parameter_shapes().items()}


def loops(circuit: Circuit, params, v: np.ndarray, currents: np.ndarray):
    """Return Kirchhoff's residual and Jacobian at the free nodes of one sample, by loops."""
    count = circuit.num_nodes
    leaving, slopes = np.zeros(count), np.zeros((count, count))

    def stamp(a, b, current, conductance):
        leaving[a] += current
        leaving[b] -= current
        for row, column, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
            slopes[row, column] += sign * conductance

    for group in circuit.groups:
        values = np.ravel(params[group.name]) if group.name in params else None
        for i, (a, b) in enumerate(zip(*group.layout.pairs(), strict=True)):
            if values is not None:
                stamp(a, b, values[i] * (v[a] - v[b]), values[i])
            else:
                assert isinstance(group.device, Shockley)
                stamp(a, b, *map(float, diode_law(group.device, v[a] - v[b])))
    for (plus, minus), current in zip(circuit.output_nodes, currents, strict=True):
        leaving[plus] -= current
        leaving[minus] += current
    for amplifier in circuit.amplifiers:
        ends = zip(amplifier.inputs, amplifier.outputs, strict=True)
        for (h, o), gain, kappa in zip(ends, amplifier.gains, amplifier.reflections, strict=True):
            leaving[h] += kappa * leaving[o]
            slopes[h] += kappa * slopes[o]
            slopes[:, h] += gain * slopes[:, o]
    free = circuit.free_nodes
    return leaving[free], slopes[np.ix_(free, free)]


def polish(circuit: Circuit, params, inputs, free: np.ndarray, currents) -> np.ndarray:
    """Return node voltages after plain Newton steps from given free voltages."""
    rows = []
    for x, u, current in zip(inputs, free, currents, strict=True):
        for _ in range(6):
            v = np.asarray(circuit.node_voltages(u[None], x[None]))[0]
            f, jacobian = loops(circuit, params, v, current)
            u = u - np.linalg.solve(jacobian, f)
        rows.append(circuit.node_voltages(u[None], x[None])[0])
    return np.array(rows)


@pytest.fixture(params=["dense", "sparse"])
def system(request, monkeypatch):
    """Solve with the reduced dense system, or with the whole sparse one."""
    if request.param == "sparse":
        monkeypatch.setattr(general, "DENSE_LIMIT", 0)
    return request.param


def test_a_random_graph_is_solved_to_rounding(system):
    circuit = random_graph(12, 1)
    params, rng = draw(circuit, 0), np.random.default_rng(2)
    inputs, currents = rng.uniform(-5.0, 5.0, (6, 3)), 1e-3 * rng.normal(size=(6, 2))
    assert isinstance(plan_for(circuit), GeneralPlan)
    for force, point in zip(
        (np.zeros((6, 2)), currents),
        Native().settle(circuit, params, inputs, [Free(), Force(currents)]),
        strict=True,
    ):
        assert point.converged.all()
        # The reference starts off the solution, and has to find it again.
        start = np.asarray(point.voltages)[:, circuit.free_nodes] + 1e-3
        expected = polish(circuit, params, inputs, start, force)
        np.testing.assert_allclose(point.voltages, expected, rtol=0.0, atol=REFERENCE)


@pytest.mark.ngspice
@pytest.mark.parametrize("num_nodes", [10, 50])
def test_random_graphs_agree_with_ngspice(num_nodes, system):
    check_against_ngspice(random_graph(num_nodes, num_nodes))


def check_against_ngspice(circuit: Circuit) -> None:
    params, rng = draw(circuit, 0), np.random.default_rng(2)
    inputs, targets = rng.uniform(-5.0, 5.0, (4, 3)), rng.normal(size=(4, 2))
    phases = [Free(), ConstantNudge(SquaredError(), targets, 1e-4), Spring(1e-4, targets)]
    pairs = zip(
        Native().settle(circuit, params, inputs, phases),
        NgSpice().settle(circuit, params, inputs, phases),
        strict=True,
    )
    for ours, theirs in pairs:
        assert ours.converged.all() and theirs.converged.all()
        np.testing.assert_allclose(ours.voltages, theirs.voltages, rtol=0.0, atol=NGSPICE)


def large_graph(diode: str, *, amplified: bool = False) -> Circuit:
    """Return 200 nodes: a tree with chords, sources, diodes to ground and between nodes."""
    rng = np.random.default_rng(1)
    builder = CircuitBuilder()
    sources = builder.add_nodes("x", NUM_INPUTS)
    builder.add_inputs("x", sources, np.arange(NUM_INPUTS))
    nodes = builder.add_nodes("n", NUM_NODES)
    tree = [(nodes[i], nodes[rng.integers(0, i)]) for i in range(1, NUM_NODES)]
    chords = [tuple(rng.choice(nodes, 2, replace=False)) for _ in range(NUM_NODES)]
    feeds = [(sources[k % NUM_INPUTS], nodes[rng.integers(NUM_NODES)]) for k in range(24)]
    pairs = np.array(tree + chords + feeds)
    builder.add_pairs("r", Resistor(), pairs[:, 0], pairs[:, 1])
    anodes = rng.choice(nodes[: NUM_NODES - 10], 60, replace=False)
    builder.add_pairs("d", PRESETS[diode], anodes[:30], np.full(30, GROUND))
    builder.add_pairs("e", PRESETS[diode], anodes[30:], rng.choice(nodes, 30))
    if amplified:
        outputs = builder.add_nodes("a", 3)
        builder.add_amplifiers("amp", nodes[:3], outputs, 4.0, 0.25)
        builder.add_pairs("s", Resistor(), outputs, nodes[100:103])
    return builder.build([(nodes[-1], nodes[-2]), (nodes[-3], GROUND)], num_inputs=NUM_INPUTS)


def drawn(circuit: Circuit) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    params = {n: rng.uniform(1e-4, 1e-2, s) for n, s in circuit.parameter_shapes().items()}
    return params, rng.uniform(-3, 3, (NUM_SAMPLES, NUM_INPUTS)), rng.normal(size=(NUM_SAMPLES, 2))


@pytest.mark.parametrize("amplified", [False, True], ids=["passive", "amplified"])
@pytest.mark.parametrize("diode", ["kiraz", "d1n4148", "d1n5817"])
@pytest.mark.ngspice
def test_graphs_of_200_nodes_agree_with_ngspice(diode: str, amplified: bool) -> None:
    circuit = large_graph(diode, amplified=amplified)
    assert isinstance(plan_for(circuit), GeneralPlan)
    params, inputs, targets = drawn(circuit)
    phases = [Free(), Force(1e-3 * targets), Spring(1e-3, targets)]
    ours = Native().settle(circuit, params, inputs, phases)
    theirs = NgSpice().settle(circuit, params, inputs, phases)
    for one, other in zip(ours, theirs, strict=True):
        assert np.asarray(one.converged).all()
        assert other.converged.all()
        np.testing.assert_allclose(one.voltages, other.voltages, rtol=0, atol=NGSPICE)


@pytest.mark.ngspice
def test_the_response_is_that_of_an_ac_analysis() -> None:
    circuit = large_graph("kiraz", amplified=True)
    params, inputs, currents = drawn(circuit)
    responses = []
    for engine in (Native(), NgSpice()):
        (point,) = engine.settle(circuit, params, inputs, [Free()])
        responses.append(
            np.asarray(engine.respond(circuit, params, inputs, point.voltages, currents))
        )
    size = np.abs(responses[1]).max()
    np.testing.assert_allclose(responses[0], responses[1], rtol=0, atol=LINEAR * size)


@pytest.mark.parametrize("kind", ["transformer", "kendall", "published"])
@pytest.mark.parametrize("diode", ["kiraz", "d1n4148", "almost_ideal"])
def test_layered_circuits_are_solved_without_use_of_their_structure(kind, diode):
    layered = Layered((4, 3), 3, 2, kind, diode=PRESETS[diode], gain=1.5, inverted=True)
    circuit, params, inputs = layered.circuit(), layered.draw(0), layered.inputs(1, 3)
    params = {k: g * 30.0**-depth for depth, (k, g) in enumerate(params.items())}
    targets = np.ones((3, 2))
    phases = [Free(), Spring(1e-3, targets), Force(1e-3 * targets)]
    where = [circuit.node_names.index(name) for name in layered.node_names()]
    points = GeneralPlan(circuit).settle(params, inputs, phases)
    for phase, point in zip(phases, points, strict=True):
        assert point.converged.all()
        currents = phase.source_currents(3, 2)
        expected = layered.solve(params, inputs, currents, phase.conductance)
        np.testing.assert_allclose(
            np.asarray(point.voltages)[:, where], expected, rtol=0.0, atol=REFERENCE
        )


def chain_of_diodes(length: int) -> Circuit:
    """Return diodes in series from a source through a resistor."""
    builder = CircuitBuilder()
    source = builder.add_nodes("x", 1)
    builder.add_inputs("x", source, np.arange(1))
    nodes = builder.add_nodes("n", length)
    builder.add_pairs("r", Resistor(), source, nodes[:1])
    builder.add_pairs("d", STEEP, nodes, [*nodes[1:], GROUND])
    return builder.build([(nodes[0], GROUND)], num_inputs=1)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_steep_diodes_in_series_share_the_voltage(length, system):
    circuit = chain_of_diodes(length)
    params, inputs = {"r": np.array([1e-2])}, np.array([[10.0], [0.3], [0.0], [-10.0]])
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    assert point.converged.all()
    drops = -np.diff(np.append(point.voltages[0, circuit.free_nodes], 0.0))
    current = params["r"][0] * (10.0 - point.voltages[0, circuit.free_nodes[0]])
    np.testing.assert_allclose(drops, drops[0], rtol=1e-9)
    assert float(diode_law(STEEP, drops[0])[0]) == pytest.approx(current, rel=1e-9)


def test_respond_and_adjoint_are_derivatives(system):
    circuit = random_graph(10, 4)
    params, rng = draw(circuit, 0), np.random.default_rng(2)
    inputs, currents = rng.uniform(-5.0, 5.0, (3, 3)), rng.normal(size=(3, 2))
    engine, step = Native(), 1e-7
    free, plus, minus = engine.settle(
        circuit, params, inputs, [Free(), Force(step * currents), Force(-step * currents)]
    )
    slope = (plus.voltages - minus.voltages) / (2.0 * step)
    scale = np.abs(slope).max()
    response = engine.respond(circuit, params, inputs, free.voltages, currents)
    np.testing.assert_allclose(response, slope, rtol=0.0, atol=FINITE_DIFFERENCE * scale)

    multipliers = engine.adjoint(circuit, params, inputs, free.voltages, currents)
    a, b = circuit.trainable_groups[0].layout.pairs()
    product = (multipliers[:, a] - multipliers[:, b]) * (free.voltages[:, a] - free.voltages[:, b])
    gradient = -product.sum(axis=0)

    def loss(changed):
        (point,) = engine.settle(circuit, {"r": changed}, inputs, [Free()])
        return float((circuit.outputs(point.voltages) * currents).sum())

    for which in np.argsort(-np.abs(gradient))[:3]:
        change = np.zeros_like(params["r"])
        change[which] = 1e-5 * params["r"][which]
        difference = loss(params["r"] + change) - loss(params["r"] - change)
        expected = difference / (2.0 * change[which])
        assert gradient[which] == pytest.approx(expected, rel=FINITE_DIFFERENCE)


def test_linear_nodes_are_eliminated():
    circuit = random_graph(50, 5, num_amplifiers=0)
    structure = structure_of(circuit)
    assert 0 < len(structure.nonlinear) < len(circuit.free_nodes)
    matrix = structure.reflection.T @ np.eye(circuit.num_nodes) @ structure.selection
    assert matrix.shape == (50, 50)
    conductances = conductance_matrix(circuit, draw(circuit, 0), 0.0)
    system = general.system_of(structure, conductances, traced=False)
    assert isinstance(system, DenseSystem)
    assert np.array_equal(system.kept, structure.nonlinear)


def test_a_circuit_without_diodes_is_linear(system):
    builder = CircuitBuilder()
    source = builder.add_nodes("x", 1)
    builder.add_inputs("x", source, np.arange(1))
    node = builder.add_nodes("n", 1)
    builder.add_pairs("r", Resistor(), [source[0], node[0]], [node[0], GROUND])
    circuit = builder.build([(node[0], GROUND)], num_inputs=1)
    params = {"r": np.array([1e-3, 3e-3])}
    free, forced, held = Native().settle(
        circuit,
        params,
        np.array([[8.0]]),
        [Free(), Force(np.array([[4e-3]])), Spring(4e-3, np.array([[6.0]]))],
    )
    outputs = [float(p.voltages[0, node[0]]) for p in (free, forced, held)]
    assert outputs == pytest.approx([2.0, 3.0, 4.0], rel=1e-14)


def test_a_circuit_without_an_operating_point_is_marked():
    layered = Layered((1,), reflection="published", gain=4.0)
    circuit, inputs = layered.circuit(), np.array([[1.0, np.nan], [1.0, 1.0]])
    (point,) = GeneralPlan(circuit).settle(layered.draw(0), inputs, [Free()])
    assert point.converged.tolist() == [False, True]
    assert np.isnan(point.voltages[0]).all()
    assert np.isfinite(point.voltages[1]).all()


def test_under_jit_the_plan_runs_as_a_callback():
    circuit = random_graph(10, 4)
    params, rng = draw(circuit, 0), np.random.default_rng(2)
    inputs, targets = rng.uniform(-5.0, 5.0, (3, 3)), rng.normal(size=(3, 2))

    def settle(params, inputs):
        nudge = ConstantNudge(SquaredError(), targets, 1e-4)
        points = Native().settle(circuit, params, inputs, [Free(), nudge])
        response = Native().respond(circuit, params, inputs, points[0].voltages, targets)
        return [p.voltages for p in points], response

    eager, jitted = settle(params, inputs), jax.jit(settle)(params, inputs)
    for one, two in zip(jax.tree.leaves(eager), jax.tree.leaves(jitted), strict=True):
        np.testing.assert_allclose(np.asarray(two), one, rtol=0.0, atol=1e-12)
