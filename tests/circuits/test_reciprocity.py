"""Reciprocity weights: scaled by them, the Jacobian of Kirchhoff's equations is symmetric."""

import numpy as np
import pytest

from eqprop_spice.circuits import reciprocity
from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.circuits.reciprocity import reciprocity_weights
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.errors import NetlistError
from tests.references import KIRAZ, reflection_of

SYMMETRY = 1e-6
"""Relative asymmetry accepted: central differences with steps of 1e-6 V of currents through diodes
with N vt = 0.05 V err by 1e-10 in truncation and 1e-9 in rounding."""

ASYMMETRY = 0.1
"""Relative asymmetry of an unscaled Jacobian, far above the error of its differences."""


def stages(
    hidden: list[list[tuple[float, float]]], *, inverted: bool = False
) -> tuple[Circuit, list[np.ndarray]]:
    """Return a circuit with an amplifier `(gain, kappa)` per hidden node, and its nodes by layer.

    Args:
        hidden: Gain and reflection of every node of every hidden layer.
        inverted: Whether every amplifier has a second output with the opposite sign.
    """
    builder = CircuitBuilder()
    nodes = builder.add_nodes("x", 2)
    builder.add_inputs("x", nodes, np.arange(2))
    layers = []
    for depth, amplifiers in enumerate(hidden):
        bias = builder.add_nodes(f"b{depth}", 1)
        builder.add_constants(f"bias_{depth}", bias, [1.0])
        new = builder.add_nodes(f"n{depth}", len(amplifiers))
        builder.add_dense(f"dense_{depth}", Resistor(), np.concatenate([nodes, bias]), new)
        builder.add_pairs(f"diode_{depth}", KIRAZ, new, np.full(len(new), GROUND))
        followers = []
        for j, (gain, kappa) in enumerate(amplifiers):
            for sign in (1.0, -1.0) if inverted else (1.0,):
                name = f"{'amp' if sign > 0 else 'inv'}_{depth}_{j}"
                out = builder.add_node(f"o_{name}")
                builder.add_amplifiers(
                    name, new[j : j + 1], np.array([out]), sign * gain, sign * kappa
                )
                followers.append(out)
        layers.append(new)
        nodes = np.array(followers)
    outputs = builder.add_nodes("y", 2)
    builder.add_dense(f"dense_{len(hidden)}", Resistor(), nodes, outputs)
    layers.append(outputs)
    return builder.build([(outputs[0], outputs[1])], num_inputs=2), layers


def jacobian(circuit: Circuit, params: dict[str, np.ndarray], free: np.ndarray) -> np.ndarray:
    """Return the derivative of the residual by the free voltages, by central differences."""
    h, size = 1e-6, len(free)
    nothing, inputs = np.zeros((2 * size, 1)), np.ones((2 * size, 2))
    moved = free + h * np.concatenate([np.eye(size), -np.eye(size)])
    residual = circuit.residual(params, circuit.node_voltages(moved, inputs), nothing)
    return np.asarray((residual[:size] - residual[size:]) / (2 * h)).T


def asymmetry(matrix: np.ndarray) -> float:
    """Return the largest difference from the transpose, relative to the largest element."""
    off_diagonal = matrix - np.diag(np.diag(matrix))
    return float(np.abs(matrix - matrix.T).max() / np.abs(off_diagonal).max())


def node_weights(circuit: Circuit, layers: list[np.ndarray]) -> np.ndarray:
    """Return the weight of every free node: that of the dense layer that ends there."""
    weights = reciprocity_weights(circuit)
    by_node = np.zeros(circuit.num_nodes)
    for depth, nodes in enumerate(layers):
        of_group = weights[f"dense_{depth}"]
        np.testing.assert_array_equal(of_group, of_group[:1] + 0.0 * of_group)
        by_node[nodes] = of_group[0]
    return by_node[circuit.free_nodes]


def draw(circuit: Circuit, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {n: rng.uniform(1e-3, 1e-2, shape) for n, shape in circuit.parameter_shapes().items()}


@pytest.mark.parametrize("kind", ["transformer", "kendall", "published"])
@pytest.mark.parametrize("num_hidden", [1, 2, 3])
@pytest.mark.parametrize("inverted", [False, True])
def test_weighted_jacobian_is_symmetric(kind, num_hidden, inverted):
    gain = 3.0
    kappa = reflection_of(kind, gain)
    circuit, layers = stages([[(gain, kappa)] * 3] * num_hidden, inverted=inverted)
    weights = reciprocity_weights(circuit)
    for depth in range(num_hidden + 1):
        expected = (gain / kappa) ** (num_hidden - depth)
        np.testing.assert_allclose(weights[f"dense_{depth}"], expected, rtol=1e-12)
    rng = np.random.default_rng(num_hidden)
    matrix = jacobian(circuit, draw(circuit, 1), rng.uniform(-0.5, 0.3, len(circuit.free_nodes)))
    weighted = node_weights(circuit, layers)[:, None] * matrix
    assert asymmetry(weighted) < SYMMETRY
    if kind != "transformer":
        assert asymmetry(matrix) > ASYMMETRY


def test_first_hidden_layer_may_have_different_amplifiers():
    """Its nodes meet only through amplifiers, so each has a weight of its own."""
    different = [(4.0, 0.25), (2.0, 0.5), (3.0, -1.0 / 3.0)]
    circuit, layers = stages([different, [(4.0, 0.25)] * 2])
    weights = reciprocity_weights(circuit)
    expected = 16.0 * np.array([16.0, 4.0, -9.0])
    np.testing.assert_allclose(weights["dense_0"], np.tile(expected, (3, 1)), rtol=1e-12)
    np.testing.assert_allclose(weights["dense_1"], 16.0, rtol=1e-12)
    free = np.random.default_rng(0).uniform(-0.5, 0.3, len(circuit.free_nodes))
    matrix = jacobian(circuit, draw(circuit, 2), free)
    assert asymmetry(node_weights(circuit, layers)[:, None] * matrix) < SYMMETRY


def test_deeper_layers_with_different_amplifiers_are_refused():
    """Their nodes share the nodes of the layer before, and one cycle is inconsistent."""
    circuit, _ = stages([[(4.0, 0.25)] * 2, [(4.0, 0.25), (2.0, 0.5)]])
    with pytest.raises(NetlistError, match=r"weights 16 and 4.*A/kappa uniform"):
        reciprocity_weights(circuit)


def test_two_outputs_of_an_amplifier_with_different_ratios_are_refused():
    builder = CircuitBuilder()
    x, h, y = builder.add_node("x"), builder.add_node("h"), builder.add_node("y")
    builder.add_inputs("x", [x], np.array([0]))
    out, inverse = builder.add_node("out"), builder.add_node("inverse")
    builder.add_amplifiers("amp", np.array([h]), np.array([out]), 4.0, 0.25)
    builder.add_amplifiers("inv", np.array([h]), np.array([inverse]), -4.0, -0.5)
    builder.add_pairs("r", Resistor(), [x, out, inverse], [h, y, y])
    circuit = builder.build([(y, GROUND)], num_inputs=1)
    with pytest.raises(NetlistError, match="not reciprocal"):
        reciprocity_weights(circuit)


def test_networks_of_two_terminal_devices_have_weight_one():
    circuit, _ = stages([])
    (weight,) = reciprocity_weights(circuit).values()
    np.testing.assert_array_equal(weight, 1.0)


def test_devices_that_no_output_sees_have_weight_zero():
    builder = CircuitBuilder()
    x, y, dead = builder.add_node("x"), builder.add_node("y"), builder.add_node("dead")
    builder.add_inputs("x", [x], np.array([0]))
    builder.add_pairs("r", Resistor(), [x, x, y, x], [y, dead, GROUND, GROUND])
    circuit = builder.build([(y, GROUND)], num_inputs=1)
    np.testing.assert_array_equal(reciprocity_weights(circuit)["r"], [1.0, 0.0, 1.0, 0.0])


def test_asymmetry_is_zero_exactly_where_weights_exist():
    """Some scaling makes the Jacobian symmetric if there are weights, and only then."""
    reciprocal, _ = stages([[(4.0, 0.25), (2.0, -0.5)], [(3.0, 3.0), (3.0, 3.0)]])
    uneven, _ = stages([[(4.0, 0.25), (2.0, 0.5)], [(4.0, 0.25), (2.0, 0.5)]])
    for circuit in (reciprocal, uneven):
        rng = np.random.default_rng(0)
        params = {n: rng.uniform(1e-3, 1e-2, s) for n, s in circuit.parameter_shapes().items()}
        found = GeneralPlan(circuit).jacobian(params, np.zeros(circuit.num_nodes))
        by_differences = jacobian(circuit, params, np.zeros(len(circuit.free_nodes)))
        assert np.abs(found - by_differences).max() < SYMMETRY * np.abs(found).max()
        if circuit is reciprocal:
            reciprocity_weights(circuit)
            assert reciprocity.asymmetry(found) < 1e-12
        else:
            with pytest.raises(NetlistError, match="not reciprocal"):
                reciprocity_weights(circuit)
            assert reciprocity.asymmetry(found) > 1e-3


def test_asymmetry_of_known_matrices():
    assert reciprocity.asymmetry(np.eye(3)) == 0.0
    symmetric = np.array([[2.0, -1.0, 0.5], [-1.0, 3.0, -0.2], [0.5, -0.2, 1.0]])
    rows = np.array([1.0, 16.0, -4.0])
    assert reciprocity.asymmetry(symmetric) < 1e-14
    assert reciprocity.asymmetry(symmetric / rows[:, None]) < 1e-14
    # A cycle whose couplings multiply to 2 one way and to 1 the other way round.
    cyclic = symmetric.copy()
    cyclic[0, 1] *= 2.0
    assert reciprocity.asymmetry(cyclic) > 0.01
    scaled = reciprocity.asymmetry(cyclic / rows[:, None])
    assert scaled == pytest.approx(reciprocity.asymmetry(cyclic))


def test_open_switches_take_no_part():
    """Two amplifiers of opposite kinds at one node agree if only one of them is connected."""
    builder = CircuitBuilder()
    source, hidden, out = (builder.add_nodes(name, 1) for name in ("x", "h", "y"))
    builder.add_inputs("x", source, np.arange(1))
    builder.add_dense("first", Resistor(), source, hidden)
    followers = builder.add_nodes("a", 2)
    builder.add_amplifiers("plus", hidden, followers[:1], 4.0, 0.25)
    builder.add_amplifiers("minus", hidden, followers[1:], -4.0, 0.25)
    builder.add_dense("second", Resistor(), followers, out)
    circuit = builder.build([(int(out[0]), GROUND)], num_inputs=1)
    with pytest.raises(NetlistError, match="not reciprocal"):
        reciprocity_weights(circuit)
    for row, expected in ((0, 16.0), (1, -16.0)):
        mask = np.zeros((2, 1), bool)
        mask[row] = True
        weights = reciprocity_weights(circuit, conducting={"second": mask})
        assert (weights["first"] == expected).all()
        assert weights["second"][row, 0] == 1.0
