"""Dense layers: a resistor between every pair of nodes."""

import numpy as np
import pytest

from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense


def test_bias_sources_join_the_previous_nodes():
    circuit = layered_circuit([Dense(3, bias=(1.0, -2.0)), Dense(2)], num_inputs=2, num_outputs=1)
    assert circuit.parameter_shapes() == {"dense_0": (4, 3), "dense_1": (3, 2)}
    voltages = circuit.node_voltages(np.zeros((1, 5)), np.zeros((1, 2)))[0]
    bias = {n: voltages[i] for i, n in enumerate(circuit.node_names) if n.startswith("b")}
    assert bias == {"b0_0": 1.0, "b0_1": -2.0}


def test_currents_of_a_dense_layer_equal_those_of_its_resistors():
    circuit = layered_circuit(
        [Dense(3, bias=(1.0,))], num_inputs=2, num_outputs=3, differential=False
    )
    (group,) = circuit.groups
    rng = np.random.default_rng(0)
    v, g = rng.normal(size=(4, circuit.num_nodes)), rng.uniform(0, 1, (3, 3))
    first, second = group.sides.linear_currents(v, g)
    drops = v[:, group.sides.first][:, :, None] - v[:, group.sides.second][:, None, :]
    # The package multiplies matrices, this sums branches: rounding apart, the same.
    np.testing.assert_allclose(first, (g * drops).sum(2), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(second, -(g * drops).sum(1), rtol=1e-12, atol=1e-14)


def test_product_of_drops_is_the_mean_over_the_batch():
    circuit = layered_circuit([Dense(4)], num_inputs=3, num_outputs=2)
    (group,) = circuit.groups
    rng = np.random.default_rng(1)
    v, dv = rng.normal(size=(2, 5, circuit.num_nodes))
    a, b = group.layout.pairs()
    expected = ((v[:, a] - v[:, b]) * (dv[:, a] - dv[:, b])).mean(0).reshape(3, 4)
    np.testing.assert_allclose(group.sides.voltage_drop_product(v, dv), expected, atol=1e-14)


def test_layers_without_nodes_are_refused():
    with pytest.raises(NetlistError, match="Dense layer 1 has num_outputs 0"):
        layered_circuit([Dense(2), Dense(0)], num_inputs=1, num_outputs=1)


def test_bias_must_be_finite():
    with pytest.raises(NetlistError, match="not finite"):
        layered_circuit([Dense(2, bias=(np.inf,))], num_inputs=1, num_outputs=1)
