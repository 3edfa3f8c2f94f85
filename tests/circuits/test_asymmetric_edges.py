"""Reciprocity per edge: closed forms of single transistors."""

import numpy as np
import pytest

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.circuits.reciprocity import asymmetric_edges, edges_of
from eqprop_spice.devices.mosfet import Mosfet
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.native import Native
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free

ROUNDING = 1e-9
"""Junctions and gmin beside a channel of milliamperes per volt."""


def transistors():
    """Return a circuit with a held gate, a drain that is held, and a gate tied to its drain."""
    builder = CircuitBuilder()
    source = builder.add_nodes("x", 1)
    builder.add_inputs("x", source, np.arange(1))
    gate = builder.add_nodes("g", 1)
    builder.add_constants("gate", gate, [3.0])
    a, b = builder.add_nodes("n", 2)
    builder.add_pairs("r", Resistor(), [source[0], b], [a, GROUND])
    law = Mosfet("m", threshold=0.7, transconductance=1e-4)
    drains, gates, sources = [a, source[0], a], [gate[0], gate[0], a], [b, b, b]
    builder.add_devices("edge", law, [drains, gates, sources, [GROUND] * 3])
    circuit = builder.build([(b, GROUND)], num_inputs=1)
    return circuit, {"r": np.array([1e-3, 1e-3])}


def test_each_edge_has_the_asymmetry_of_its_law():
    circuit, params = transistors()
    (point,) = Native().settle(circuit, params, np.array([[1.5]]), [Free()])
    voltages = np.asarray(point.voltages)
    a, b = (voltages[0, circuit.node_names.index(f"n_{k}")] for k in range(2))
    found = {e.name: e for e in asymmetric_edges(circuit, params, voltages)}
    # In the triode region the slopes are KP (G - V - VT) at either end.
    ends = 1e-4 * np.array([3.0 - a - 0.7, 3.0 - b - 0.7])
    size = np.sqrt((ends**2).sum())
    assert found["edge_0"].asymmetry == pytest.approx(
        abs(ends[0] - ends[1]) / np.sqrt(2) / size, rel=ROUNDING
    )
    assert found["edge_0"].conductance == pytest.approx(size, rel=ROUNDING)
    # With one free end, nothing can be asymmetric; a gate at its drain makes a two-terminal device.
    assert found["edge_1"].asymmetry == 0.0
    assert found["edge_2"].asymmetry == pytest.approx(0.0, abs=ROUNDING)


def test_a_one_way_device_is_as_asymmetric_as_can_be():
    slopes = np.array([[1.0, 0.0], [1e-3, 1.0]])[:, :, None, None]
    nodes = np.array([[1], [2]])
    (edge,) = edges_of(["m"], slopes, nodes, np.zeros((2, 1), bool))
    assert edge.asymmetry == pytest.approx(1 / np.sqrt(2))
    assert edge.conductance == pytest.approx(1e-3)


def test_networks_of_transistors_name_their_edges():
    experiment = Experiment.load("transistors/xor")
    substrate, params = experiment.substrate, experiment.initial_params()
    inputs = experiment.data.train_inputs
    (point,) = substrate.settle(params, inputs, [Free()])
    edges = substrate.asymmetric_edges(params, inputs, point.state)
    assert {e.name for e in edges} == {f"gate[{k}]" for k in range(params["gate"].size)}
    weighted = [e.asymmetry * e.conductance for e in edges]
    assert weighted == sorted(weighted, reverse=True) and weighted[0] > 0.0
    assert max(e.asymmetry for e in edges) <= 1.0
