"""Folding: the folded circuit is the same circuit."""

import numpy as np
import pytest

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.engines.ngspice.folding import branches_of, fold
from eqprop_spice.phases import Force, Free
from eqprop_spice.spice.writer import netlist
from tests.references import Layered, run_ngspice

SOLVER = 1e-9
"""Voltage error [V] between two runs of ngspice whose last Newton steps are below 1e-10."""

ROUNDING = 1e-13
"""Relative error of sums of a dozen products."""


@pytest.mark.ngspice
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("doubled", [False, True])
def test_folded_sweep_equals_the_unfolded_netlist(inverted, doubled, tmp_path):
    """The unfolded netlist holds every resistor and every source: the oracle."""
    layered = Layered((3, 2), num_outputs=2, inverted=inverted, doubled_inputs=doubled)
    circuit, params, inputs = layered.circuit(), layered.draw(3), layered.inputs(4, 3)
    force = Force(np.array([[1e-3, -2e-3]] * 3))
    points = NgSpice().settle(circuit, params, inputs, [Free(), force])
    for phase, point in zip((Free(), Force(force.currents[:1])), points, strict=True):
        for x, voltages in zip(inputs, point.voltages, strict=True):
            printed = run_ngspice(netlist(circuit, params, x, phase), tmp_path)
            for node in circuit.free_nodes:
                expected = printed[f"v({circuit.node_names[node]})"]
                assert voltages[node] == pytest.approx(expected, rel=0.0, abs=SOLVER)


def test_folded_currents_are_those_of_the_sources():
    """At any voltages, conductance and current to ground replace the resistors at sources."""
    layered = Layered((3, 2), doubled_inputs=True)
    circuit, params, inputs = layered.circuit(), layered.draw(3), layered.inputs(4, 5)
    folded = fold(circuit, params, circuit.fixed_voltages(inputs))
    rng = np.random.default_rng(0)
    free = rng.normal(size=(5, len(circuit.free_nodes)))
    v = circuit.node_voltages(free, inputs)
    resistors = {n: g for n, g in params.items()}
    leaving = np.zeros_like(v)
    for group in circuit.trainable_groups:
        a, b = group.layout.pairs()
        current = resistors[group.name].ravel() * (v[:, a] - v[:, b])
        for k in range(len(a)):
            leaving[:, a[k]] += current[:, k]
            leaving[:, b[k]] -= current[:, k]
    again = folded.conductance * v - folded.currents
    for a, b, g in zip(*branches_of(circuit), folded.branches, strict=True):
        again[:, a] += g * (v[:, a] - v[:, b])
        again[:, b] -= g * (v[:, a] - v[:, b])
    kept = ~circuit.is_fixed
    np.testing.assert_allclose(again[:, kept], leaving[:, kept], rtol=ROUNDING, atol=ROUNDING)


def test_pairs_fold_in_both_directions():
    builder = CircuitBuilder()
    source, n, m = builder.add_node("s"), builder.add_node("n"), builder.add_node("m")
    builder.add_inputs("in", [source], np.array([0]))
    # source-node, node-source, node-node, node-ground, source-ground (no effect).
    builder.add_pairs("r", Resistor(), [source, m, n, n, source], [n, source, m, GROUND, GROUND])
    circuit = builder.build([(n, m)], num_inputs=1)
    g = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    folded = fold(circuit, {"r": g}, circuit.fixed_voltages(np.array([[3.0], [-1.0]])))
    assert (*branches_of(circuit), folded.branches) == (n, m, 4.0)
    assert (folded.conductance[n], folded.conductance[m]) == (9.0, 2.0)
    np.testing.assert_array_equal(folded.currents[:, n], [3.0, -1.0])
    np.testing.assert_array_equal(folded.currents[:, m], [6.0, -2.0])


def test_a_large_layer_folds_to_its_nodes():
    layered = Layered((20,), num_inputs=50, num_outputs=5)
    circuit = layered.circuit()
    folded = fold(circuit, layered.draw(0), circuit.fixed_voltages(layered.inputs(0, 2)))
    assert len(folded.branches) == 20 * 10
    # Hidden nodes and output nodes, both have bias sources.
    assert np.count_nonzero(folded.conductance) == 20 + 10
