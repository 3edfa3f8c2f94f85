"""Diode layers: which way the diodes stand, and where their sources are."""

import numpy as np
import pytest

from eqprop_spice.devices.ideal import Ideal
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes, Rectifier, SplitRectifiers
from eqprop_spice.phases import Free
from tests.references import KIRAZ

KNEE = 0.7
"""Voltage [V] that a diode of 1 uA and N = 2 takes at 1 A and less: 2 vt ln(1e6) = 0.71 V."""


def response(layer, inputs: np.ndarray) -> np.ndarray:
    """Return the voltage of one node behind 1 S, with the layer's diodes at it."""
    circuit = layered_circuit([Dense(1), layer], num_inputs=1, num_outputs=1, differential=False)
    params = {"dense_0": np.ones((1, 1))}
    (point,) = NgSpice().settle(circuit, params, inputs[:, None], [Free()])
    assert point.converged.all()
    return np.asarray(circuit.outputs(point.voltages))[:, 0]


@pytest.mark.ngspice
def test_antiparallel_diodes_clamp_both_ways_alike():
    x = np.linspace(-1.2, 1.2, 13)
    y = response(AntiparallelDiodes(KIRAZ, 0.1), x)
    # The sweep's Newton steps are not symmetric, so this holds to the solver's tolerance.
    np.testing.assert_allclose(y, -y[::-1], atol=1e-11)
    assert (np.diff(y) > 0).all()
    assert np.abs(y).max() < 0.1 + KNEE
    np.testing.assert_allclose(y[6], 0.0, atol=1e-11)


@pytest.mark.ngspice
def test_rectifier_clamps_below_minus_shift_only():
    x = np.array([-1.2, -0.2, 0.0, 1.2])
    y = response(Rectifier(KIRAZ, 0.2), x)
    # Above, only the saturation current of 1 uA flows, into 1 S.
    np.testing.assert_allclose(y[2:], x[2:], atol=1.1e-6)
    assert -0.2 - KNEE < y[0] < -0.2


def test_diodes_and_shift_sources_stand_as_drawn():
    circuit = layered_circuit(
        [Dense(2), AntiparallelDiodes(KIRAZ, 0.3)], num_inputs=1, num_outputs=1
    )
    names = circuit.node_names
    pairs = {
        group.name: [(names[a], names[b]) for a, b in zip(*group.layout.pairs(), strict=True)]
        for group in circuit.groups
        if not group.device.trainable
    }
    assert pairs == {
        "upper_1": [("n0_0", "sp1"), ("n0_1", "sp1")],
        "lower_1": [("sn1", "n0_0"), ("sn1", "n0_1")],
    }
    voltages = circuit.node_voltages(np.zeros((1, 2)), np.zeros((1, 1)))[0]
    assert voltages[names.index("sp1")] == 0.3
    assert voltages[names.index("sn1")] == -0.3


def test_rectifier_has_one_diode_per_node_and_one_source():
    circuit = layered_circuit([Dense(2), Rectifier(KIRAZ, 0.2)], num_inputs=1, num_outputs=1)
    (group,) = (g for g in circuit.groups if not g.device.trainable)
    names = circuit.node_names
    pairs = [(names[a], names[b]) for a, b in zip(*group.layout.pairs(), strict=True)]
    assert pairs == [("sn1", "n0_0"), ("sn1", "n0_1")]
    assert circuit.node_voltages(np.zeros((1, 2)), np.zeros((1, 1)))[0, names.index("sn1")] == -0.2


@pytest.mark.ngspice
@pytest.mark.parametrize("diode", [Ideal(), KIRAZ])
def test_split_rectifiers_with_a_shift_bound_each_half_from_its_side(diode):
    circuit = layered_circuit(
        [Dense(4), SplitRectifiers(diode, 0.2), Dense(2)],
        num_inputs=2,
        num_outputs=1,
        doubled_inputs=True,
    )
    rng = np.random.default_rng(2)
    shapes = circuit.parameter_shapes()
    params = {name: rng.uniform(0.1, 1.0, shape) for name, shape in shapes.items()}
    inputs = rng.uniform(-50.0, 50.0, (8, 2))
    (ours,), (theirs,) = (
        e.settle(circuit, params, inputs, [Free()]) for e in (Native(), NgSpice())
    )
    assert ours.converged.all() and theirs.converged.all()
    np.testing.assert_allclose(ours.voltages, theirs.voltages, rtol=0.0, atol=1e-8)
    names = circuit.node_names
    hidden = np.asarray(ours.voltages)[:, [names.index(f"n0_{j}") for j in range(4)]]
    if diode == Ideal():
        assert hidden[:, :2].min() == pytest.approx(-0.2, abs=1e-12)
        assert hidden[:, 2:].max() == pytest.approx(0.2, abs=1e-12)
    assert hidden[:, :2].max() > 0.2 + KNEE and hidden[:, 2:].min() < -0.2 - KNEE
