"""Circuits: what is refused, how nodes move, and the theorems every operating point obeys."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.phases import Force, Free, Spring
from tests.references import KIRAZ, Layered, absorbed_powers, branch_currents

KIRCHHOFF = 1e-8
"""Relative violation of a sum of powers: the engine accepts 1e-9 of the currents in a node."""

LINEAR = 1e-9
"""Relative error of the voltages of a resistor network: rounding times its condition."""

DIFFERENCE = 1e-6
"""Relative error of a central difference with a step of 1e-6 V: truncation (1e-6 V / N vt)^2 and
rounding of currents of 1 A relative to their change of 1e-6 A."""


def divider(
    builder: CircuitBuilder | None = None, name: str = "n", group: str = "r"
) -> tuple[CircuitBuilder, int]:
    """Return a builder with a source, and a node between two resistors to source and ground."""
    builder = builder or CircuitBuilder()
    source, node = builder.add_node("src"), builder.add_node(name)
    builder.add_inputs("in", [source], np.array([0]))
    builder.add_pairs(group, Resistor(), [source, node], [node, GROUND])
    return builder, node


def test_nodes_are_fixed_followers_or_free():
    circuit = Layered((2,)).circuit()
    kinds = {
        "fixed": circuit.fixed_nodes,
        "followers": circuit.follower_nodes,
        "free": circuit.free_nodes,
    }
    names = {kind: [circuit.node_names[n] for n in nodes] for kind, nodes in kinds.items()}
    assert names["fixed"] == ["0", "x_0", "x_1", "b0_0", "sp1", "sn1", "b3_0"]
    assert names["followers"] == ["a2_0", "a2_1"]
    assert names["free"] == ["n0_0", "n0_1", "n3_0", "n3_1"]
    together = np.concatenate(list(kinds.values()))
    assert sorted(together.tolist()) == list(range(circuit.num_nodes))


@pytest.mark.parametrize(
    "name",
    [
        "a\n.control",
        "A",
        "a.b",
        "a b",
        "1a",
        "",
        "a;b",
        "a`b`",
        "ä",
        "_a",
        "a-b",
        "0",
        None,
        3,
        "a\n",
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_unsafe_names_are_refused(name):
    with pytest.raises(NetlistError, match="not allowed"):
        CircuitBuilder().add_node(name)
    with pytest.raises(NetlistError, match="not allowed"):
        divider(group=name)


def test_names_are_unique_and_not_reserved():
    builder, _ = divider()
    with pytest.raises(NetlistError, match="reserves"):
        builder.add_node("all")
    with pytest.raises(NetlistError, match="Node 'n' exists already"):
        builder.add_node("n")
    with pytest.raises(NetlistError, match="exists already"):
        builder.add_node("gnd")
    with pytest.raises(NetlistError, match="Group 'r' exists already"):
        builder.add_pairs("r", Resistor(), [1], [2])
    with pytest.raises(NetlistError, match="Group 'in' exists already"):
        builder.add_inputs("in", [2], np.array([0]))


def test_names_that_would_meet_in_a_card_are_refused():
    """Instance 0_0 of dense group `a` and instance 0 of pairs `a_0` are both the card `ra_0_0`."""
    builder = CircuitBuilder()
    source, node = builder.add_node("src"), builder.add_nodes("n", 2)
    builder.add_inputs("in", [source], np.array([0]))
    with pytest.raises(NetlistError, match="a_0"):
        builder.add_dense("a", Resistor(), np.array([source]), node)
        builder.add_pairs("a_0", Resistor(), node, [GROUND, GROUND])
        builder.build([(node[0], node[1])], num_inputs=1)


def test_two_diodes_of_one_model_name_are_refused():
    """ngspice would take one of the two .model cards for both diodes."""
    builder, node = divider()
    builder.add_pairs("one", KIRAZ, [node], [GROUND])
    with pytest.raises(NetlistError, match="kiraz"):
        other = dataclasses.replace(KIRAZ, saturation_current=1e-9)
        builder.add_pairs("two", other, [GROUND], [node])
        builder.build([(node, GROUND)], num_inputs=1)


@pytest.mark.ngspice
@pytest.mark.parametrize("name", ["index", "spring", "dc", "e", "time", "v"])
def test_every_allowed_node_name_works(name):
    """Among them names that the engine's own netlist and ngspice use."""
    builder, node = divider(name=name)
    circuit = builder.build([(node, GROUND)], num_inputs=1)
    phases = [Free(), Spring(1e-3, np.array([[0.0]]))]
    params, inputs = {"r": np.full(2, 1e-3)}, np.array([[2.0]])
    free, held = NgSpice().settle(circuit, params, inputs, phases)
    assert free.converged.all() and held.converged.all()
    assert free.voltages[0, node] == pytest.approx(1.0, rel=LINEAR)
    assert held.voltages[0, node] == pytest.approx(2.0 / 3.0, rel=LINEAR)


def test_floating_node_is_named():
    builder, node = divider()
    lost, other = builder.add_node("lost"), builder.add_node("other")
    builder.add_pairs("island", Resistor(), [lost], [other])
    with pytest.raises(NetlistError, match="Node 'lost' floats"):
        builder.build([(node, GROUND)], num_inputs=1)


def test_a_node_held_twice_is_named():
    builder, node = divider()
    builder.add_constants("again", [1], [1.0])
    with pytest.raises(NetlistError, match="Node 'src' is held by two sources"):
        builder.build([(node, GROUND)], num_inputs=1)
    builder, node = divider()
    builder.add_amplifiers("amp", np.array([node]), np.array([1]), 4.0, 0.25)
    with pytest.raises(NetlistError, match="Node 'src' is held by two sources"):
        builder.build([(node, GROUND)], num_inputs=1)
    builder, node = divider()
    builder.add_constants("short", [GROUND], [1.0])
    with pytest.raises(NetlistError, match="Node '0' is held by two sources"):
        builder.build([(node, GROUND)], num_inputs=1)


def test_held_outputs_and_amplifier_inputs_are_refused():
    builder, node = divider()
    with pytest.raises(NetlistError, match="Output node 'src' is held"):
        builder.build([(1, GROUND)], num_inputs=1)
    with pytest.raises(NetlistError, match="Output node 'src' is held"):
        builder.build([(node, 1)], num_inputs=1)
    out = builder.add_node("out")
    builder.add_amplifiers("amp", np.array([1]), np.array([out]), 4.0, 0.25)
    with pytest.raises(NetlistError, match="'amp', node 'src', is not free"):
        builder.build([(node, GROUND)], num_inputs=1)
    builder, node = divider()
    builder.add_amplifiers("amp", np.array([node]), np.array([builder.add_node("o")]), 4.0, 0.25)
    with pytest.raises(NetlistError, match="Output node 'o' is held"):
        builder.build([(3, GROUND)], num_inputs=1)


def test_ground_as_positive_output_is_refused():
    builder, node = divider()
    with pytest.raises(NetlistError, match="positive"):
        builder.build([(GROUND, node)], num_inputs=1)


def test_circuits_without_resistors_outputs_or_inputs_are_refused():
    builder, node = divider()
    with pytest.raises(NetlistError, match="no outputs"):
        builder.build(np.zeros((0, 2), int), num_inputs=1)
    with pytest.raises(NetlistError, match="follows input 0, but there are 0"):
        builder.build([(node, GROUND)], num_inputs=0)
    with pytest.raises(NetlistError, match="no resistors"):
        CircuitBuilder().build([(GROUND, GROUND)], num_inputs=1)
    with pytest.raises(NetlistError, match="at least one"):
        CircuitBuilder().add_nodes("n", 0)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_amplifiers_and_sources_need_finite_values(value):
    builder, node = divider()
    with pytest.raises(NetlistError, match="gain"):
        builder.add_amplifiers("a", np.array([node]), np.array([1]), value, 1.0)
    with pytest.raises(NetlistError, match="reflection"):
        builder.add_amplifiers("a", np.array([node]), np.array([1]), 1.0, value)
    if value != 0.0:
        with pytest.raises(NetlistError, match="'bias'"):
            builder.add_constants("bias", [1], [value])


def test_pairs_of_different_lengths_are_refused():
    builder, node = divider()
    with pytest.raises(NetlistError, match="different lengths"):
        builder.add_pairs("p", Resistor(), [node], [0, 0])


@pytest.mark.parametrize("value", [0.0, -2e-5, np.nan, np.inf, -np.inf])
def test_bad_conductance_names_the_resistor(value):
    layered = Layered((2,))
    circuit, params = layered.circuit(), layered.draw(0)
    params["dense_0"][2, 1] = value
    with pytest.raises(NetlistError, match=r"'dense_0\[2, 1\]' has conductance .* S"):
        circuit.check_parameters(params)


def test_parameters_of_other_shapes_or_names_are_refused():
    layered = Layered((2,))
    circuit, params = layered.circuit(), layered.draw(0)
    circuit.check_parameters(params)
    with pytest.raises(NetlistError, match=r"shape \(2, 3\); expected \(3, 2\)"):
        circuit.check_parameters(params | {"dense_0": params["dense_0"].T})
    with pytest.raises(NetlistError, match="no group 'dense_9'"):
        circuit.check_parameters(params | {"dense_9": params["dense_0"]})
    with pytest.raises(NetlistError, match="'dense_3' has no conductances"):
        circuit.check_parameters({"dense_0": params["dense_0"]})


@pytest.mark.usefixtures("unchecked")
def test_bad_inputs_are_refused():
    circuit = Layered((2,)).circuit()
    with pytest.raises(NetlistError, match=r"\(batch, 2\)"):
        circuit.check_inputs(np.zeros((3, 4)))
    with pytest.raises(NetlistError, match=r"\(batch, 2\)"):
        circuit.check_inputs(np.zeros(2))
    for value in (np.nan, np.inf):
        with pytest.raises(NetlistError, match="Input 1 of sample 2"):
            circuit.check_inputs(np.array([[0.0, 0.0], [0.0, 0.0], [0.0, value]]))


def test_layouts_order_instances_like_raveled_parameters():
    layered = Layered((2,))
    circuit = layered.circuit()
    (group,) = (g for g in circuit.groups if g.name == "dense_0")
    assert group.layout.instance_names() == ["0_0", "0_1", "1_0", "1_1", "2_0", "2_1"]
    first, second = group.layout.pairs()
    names = [
        (circuit.node_names[a], circuit.node_names[b]) for a, b in zip(first, second, strict=True)
    ]
    assert names[:3] == [("x_0", "n0_0"), ("x_0", "n0_1"), ("x_1", "n0_0")]
    assert names[-1] == ("b0_0", "n0_1")


def test_followers_and_changes_follow_the_free_nodes():
    layered = Layered((2,), gain=3.0, inverted=True, doubled_inputs=True)
    circuit = layered.circuit()
    rng = np.random.default_rng(5)
    free = rng.normal(size=(2, len(circuit.free_nodes)))
    inputs = rng.normal(size=(2, 2))
    names = {name: i for i, name in enumerate(circuit.node_names)}
    v = circuit.node_voltages(free, inputs)
    change = circuit.selection.spread(free)
    for voltages in (v, change):
        np.testing.assert_array_equal(voltages[:, names["a2_1"]], 3.0 * voltages[:, names["n0_1"]])
        np.testing.assert_array_equal(voltages[:, names["i2_0"]], -3.0 * voltages[:, names["n0_0"]])
    np.testing.assert_array_equal(v[:, names["x_1"]], inputs[:, 1])
    np.testing.assert_array_equal(v[:, names["xn_0"]], -inputs[:, 0])
    np.testing.assert_array_equal(v[:, names["b0_0"]], 1.0)
    np.testing.assert_array_equal(change[:, circuit.fixed_nodes], 0.0)
    outputs = v[:, names["n3_0"]] - v[:, names["n3_1"]]
    np.testing.assert_array_equal(circuit.outputs(v)[:, 0], outputs)


def unknowns(circuit: Circuit, layered: Layered) -> np.ndarray:
    """Return the column of every unknown of the reference equations."""
    return np.array([circuit.node_names.index(name) for name in layered.node_names()])


@pytest.mark.parametrize("kind", ["transformer", "kendall", "published"])
@pytest.mark.parametrize("inverted", [False, True])
def test_residual_is_kirchhoffs_law_of_the_family(kind, inverted):
    """The flat residual against the layered equations, at arbitrary voltages."""
    layered = Layered(
        (2, 3), num_outputs=2, reflection=kind, inverted=inverted, doubled_inputs=True, gain=3.0
    )
    circuit, params = layered.circuit(), layered.draw(0)
    rng = np.random.default_rng(1)
    u, x = rng.uniform(-0.8, 0.8, sum(layered.sizes)), rng.normal(size=2)
    currents = rng.normal(size=2)
    free = np.zeros((1, circuit.num_nodes))
    free[0, unknowns(circuit, layered)] = u
    voltages = circuit.node_voltages(free[:, circuit.free_nodes], x[None])
    residual = np.zeros(circuit.num_nodes)
    residual[circuit.free_nodes] = circuit.residual(params, voltages, currents[None])[0]
    expected = layered.kirchhoff(list(params.values()), x, u, np.concatenate([currents, -currents]))
    np.testing.assert_allclose(
        residual[unknowns(circuit, layered)], expected, rtol=1e-10, atol=1e-13
    )


@pytest.mark.parametrize("kind", ["transformer", "kendall", "published"])
def test_linearized_residual_is_the_derivative_of_the_residual(kind):
    layered = Layered((2, 3), reflection=kind)
    circuit, params = layered.circuit(), layered.draw(2)
    rng = np.random.default_rng(3)
    x, nothing = np.zeros((1, 2)), np.zeros((1, 1))
    free = rng.uniform(-0.6, 0.6, (1, len(circuit.free_nodes)))
    direction = rng.normal(size=free.shape)
    injected = rng.normal(size=(1, 1))
    h = 1e-6

    def residual(sign: float) -> Array:
        voltages = circuit.node_voltages(free + sign * h * direction, x)
        return circuit.residual(params, voltages, sign * h * injected)

    expected = (residual(1.0) - residual(-1.0)) / (2 * h)
    actual = circuit.linearized_residual(
        params, circuit.node_voltages(free, x), circuit.selection.spread(direction), injected
    )
    np.testing.assert_allclose(actual, expected, rtol=DIFFERENCE)
    at_rest = circuit.linearized_residual(
        params, circuit.node_voltages(free, x), np.zeros((1, circuit.num_nodes)), nothing
    )
    np.testing.assert_array_equal(at_rest, 0.0)


def test_currents_that_meet_in_a_node_bound_the_residual():
    layered = Layered((2, 3))
    circuit, params = layered.circuit(), layered.draw(2)
    rng = np.random.default_rng(3)
    free = rng.uniform(-0.6, 0.6, (5, len(circuit.free_nodes)))
    voltages = circuit.node_voltages(free, rng.normal(size=(5, 2)))
    injected = rng.normal(size=(5, 1))
    residual, scale = circuit.balance(params, voltages, injected)
    np.testing.assert_array_equal(residual, circuit.residual(params, voltages, injected))
    assert (np.abs(residual) <= scale).all()


@pytest.mark.ngspice
@given(
    hidden=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    kind=st.sampled_from(["transformer", "kendall", "published"]),
    inverted=st.booleans(),
    seed=st.integers(0, 1000),
    force=st.floats(-1e-2, 1e-2),
)
def test_tellegen_all_powers_sum_to_zero(hidden, kind, inverted, seed, force):
    layered = Layered(tuple(hidden), reflection=kind, inverted=inverted, gain=2.0)
    circuit, params = layered.circuit(), layered.draw(seed)
    if kind == "published":
        # Larger conductances in front keep sum g_in - sum g_out > 0: one operating point.
        for depth, name in enumerate(reversed(params)):
            params[name] = (0.05 + params[name]) * 20.0**depth
    inputs = layered.inputs(seed, 2)
    injected = np.full((2, 1), force)
    points = NgSpice().settle(circuit, params, inputs, [Free(), Force(injected)])
    for point, currents in zip(points, (0.0 * injected, injected), strict=True):
        assert point.converged.all()
        for v, current in zip(point.voltages, currents, strict=True):
            powers = absorbed_powers(circuit, params, v, current)
            total = sum(abs(p) for p in powers.values())
            assert abs(sum(powers.values())) <= KIRCHHOFF * total
            if kind == "transformer":
                # A transformer conserves power.
                assert abs(powers["amplifiers"]) <= KIRCHHOFF * total


@pytest.mark.ngspice
@given(seed=st.integers(0, 1000), factor=st.floats(1e-3, 1e3))
def test_scaling_all_conductances_of_a_resistor_network_changes_no_voltage(seed, factor):
    circuit = layered_circuit([Dense(3), Dense(2, bias=(1.0,))], num_inputs=2, num_outputs=1)
    rng = np.random.default_rng(seed)
    params = {n: rng.uniform(1e-4, 1e-2, s) for n, s in circuit.parameter_shapes().items()}
    scaled = {name: factor * g for name, g in params.items()}
    inputs = rng.uniform(-2, 2, (3, 2))
    (one,) = NgSpice().settle(circuit, params, inputs, [Free()])
    (two,) = NgSpice().settle(circuit, scaled, inputs, [Free()])
    np.testing.assert_allclose(two.voltages, one.voltages, rtol=LINEAR, atol=LINEAR)


@pytest.mark.ngspice
@given(seed=st.integers(0, 1000))
def test_passive_networks_dissipate_and_stay_within_their_sources(seed):
    layered = Layered((3,))
    rng = np.random.default_rng(seed)
    builder = CircuitBuilder()
    sources, nodes = builder.add_nodes("s", 2), builder.add_nodes("n", 5)
    builder.add_inputs("in", sources, np.arange(2))
    everything = np.concatenate([[GROUND], sources, nodes])
    tree = [int(rng.choice(everything[: 3 + k])) for k in range(5)]
    builder.add_pairs("tree", Resistor(), tree, nodes)
    ends = np.array([rng.choice(everything, 2, replace=False) for _ in range(6)])
    builder.add_pairs("diodes", layered.diode, ends[:, 0], ends[:, 1])
    circuit = builder.build([(int(nodes[-1]), GROUND)], num_inputs=2)
    params = {"tree": 10 ** rng.uniform(-4, -1, 5)}
    inputs = rng.uniform(-2, 2, (3, 2))
    (point,) = NgSpice().settle(circuit, params, inputs, [Free()])
    assert point.converged.all()
    for v, x in zip(point.voltages, inputs, strict=True):
        low, high = min(0.0, *x), max(0.0, *x)
        assert (v >= low - 1e-9).all() and (v <= high + 1e-9).all()
        for _, a, b, current in branch_currents(circuit, params, v):
            assert (v[a] - v[b]) * current >= 0.0
        powers = absorbed_powers(circuit, params, v, np.zeros(1))
        assert powers["sources"] <= KIRCHHOFF * powers["resistors"]
