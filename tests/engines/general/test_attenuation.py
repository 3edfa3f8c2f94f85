"""Ladders and grids whose far nodes lie so far below the source that only rounding is left.

Each section of a ladder passes on a fixed share of its voltage, so Kirchhoff's law at the last of
1,000 nodes sums currents that are all far below the rounding error of the first.
"""

import numpy as np
import pytest

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.native import Native, plan_for
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.phases import Force, Free
from tests.references import KIRAZ

NGSPICE = 1e-9
"""Largest voltage difference [V] to ngspice at reltol 1e-10; the error is ngspice's, 1e-10 V."""

SIEMENS = 1e-3


def diode_ladder(length: int) -> Circuit:
    """Return resistors in a row from a source, each node with a resistor and a diode to ground."""
    builder = CircuitBuilder()
    source = builder.add_nodes("x", 1)
    builder.add_inputs("x", source, np.arange(1))
    nodes = builder.add_nodes("n", length)
    ground = np.full(length, GROUND)
    builder.add_pairs("series", Resistor(), [*source, *nodes[:-1]], nodes)
    builder.add_pairs("shunt", Resistor(), nodes, ground)
    builder.add_pairs("d", KIRAZ, nodes, ground)
    return builder.build([(nodes[length // 2], GROUND)], num_inputs=1)


def diode_grid(size: int) -> Circuit:
    """Return a square of resistors fed at one corner, with a diode to ground at every node."""
    builder = CircuitBuilder()
    source = builder.add_nodes("x", 1)
    builder.add_inputs("x", source, np.arange(1))
    nodes = builder.add_nodes("n", size * size).reshape(size, size)
    edges = [np.stack([nodes[:, :-1], nodes[:, 1:]]), np.stack([nodes[:-1], nodes[1:]])]
    first, second = np.concatenate([e.reshape(2, -1) for e in edges], axis=1)
    builder.add_pairs("feed", Resistor(), source, nodes[0, :1])
    builder.add_pairs("r", Resistor(), first, second)
    builder.add_pairs("d", KIRAZ, nodes.ravel(), np.full(nodes.size, GROUND))
    return builder.build([(nodes[-1, -1], GROUND)], num_inputs=1)


def check_against_ngspice(circuit: Circuit) -> None:
    assert isinstance(plan_for(circuit), GeneralPlan)
    params = {k: np.full(shape, SIEMENS) for k, shape in circuit.parameter_shapes().items()}
    inputs = np.array([[1.0], [0.0], [-3.0]])
    phases = [Free(), Force(np.array([[1e-4], [1e-4], [0.0]]))]
    ours = Native().settle(circuit, params, inputs, phases)
    theirs = NgSpice().settle(circuit, params, inputs, phases)
    for one, other in zip(ours, theirs, strict=True):
        assert one.converged.all() and other.converged.all()
        np.testing.assert_allclose(one.voltages, other.voltages, rtol=0.0, atol=NGSPICE)


@pytest.mark.ngspice
@pytest.mark.parametrize("length", [10, 40, 100, 1000])
def test_ladders_agree_with_ngspice(length: int) -> None:
    check_against_ngspice(diode_ladder(length))


@pytest.mark.ngspice
@pytest.mark.parametrize("size", [5, 20, 50])
def test_grids_agree_with_ngspice(size: int) -> None:
    check_against_ngspice(diode_grid(size))


def test_a_wrong_voltage_is_not_excused_by_a_quiet_node() -> None:
    """The floor excuses rounding, not an error of a nanovolt at a node that is at rest."""
    circuit = diode_ladder(100)
    params = {k: np.full(shape, SIEMENS) for k, shape in circuit.parameter_shapes().items()}
    (point,) = Native().settle(circuit, params, np.array([[1.0]]), [Free()])
    right = np.asarray(point.voltages)
    wrong = right + 0.0
    wrong[0, circuit.free_nodes[-1]] += 1e-9
    plan = GeneralPlan(circuit)
    nothing = np.zeros((1, 1))
    assert plan.violation(params, right, nothing).max() <= 1e-9
    assert plan.violation(params, wrong, nothing).max() > 1e-9
