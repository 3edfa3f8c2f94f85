"""Layers in a row: which circuits they make, and which are refused."""

import numpy as np
import pytest

from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense


def test_doubled_inputs_hold_the_negative():
    circuit = layered_circuit([Dense(2)], num_inputs=2, num_outputs=1, doubled_inputs=True)
    held = circuit.fixed_voltages(np.array([[0.5, -2.0]]))
    named = dict(
        zip([circuit.node_names[n] for n in circuit.fixed_nodes], held[0].tolist(), strict=True)
    )
    assert named == {"0": 0.0, "x_0": 0.5, "x_1": -2.0, "xn_0": -0.5, "xn_1": 2.0}
    assert circuit.parameter_shapes() == {"dense_0": (4, 2)}


def test_differential_outputs_pair_the_two_halves():
    circuit = layered_circuit([Dense(6)], num_inputs=1, num_outputs=3)
    names = [[circuit.node_names[n] for n in pair] for pair in circuit.output_nodes]
    assert names == [["n0_0", "n0_3"], ["n0_1", "n0_4"], ["n0_2", "n0_5"]]


def test_single_ended_outputs_are_read_against_ground():
    circuit = layered_circuit([Dense(2)], num_inputs=1, num_outputs=2, differential=False)
    np.testing.assert_array_equal(circuit.output_nodes[:, 1], GROUND)


def test_no_layers_are_refused():
    with pytest.raises(NetlistError, match="no layers"):
        layered_circuit([], num_inputs=1, num_outputs=1)


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (-1, 1)])
def test_circuits_need_inputs_and_outputs(sizes):
    with pytest.raises(NetlistError, match="needs inputs and outputs"):
        layered_circuit([Dense(2)], num_inputs=sizes[0], num_outputs=sizes[1])


@pytest.mark.parametrize(("differential", "expected"), [(True, 4), (False, 2)])
def test_last_layer_must_have_the_size_of_the_outputs(differential, expected):
    with pytest.raises(NetlistError, match=f"ends with 3 nodes.*num_outputs to {expected}"):
        layered_circuit([Dense(3)], num_inputs=1, num_outputs=2, differential=differential)
