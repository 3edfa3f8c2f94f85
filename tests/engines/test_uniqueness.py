"""Circuits that have several operating points, or certainly have one."""

import warnings

import numpy as np
import pytest

from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.engines.uniqueness import (
    SAME,
    confirmed,
    criterion,
    find_operating_points,
    linear_conductances,
    stable,
)
from eqprop_spice.errors import Remark
from eqprop_spice.phases import Free
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import Layered

INPUTS = np.array([[0.1], [-0.1]])

BISTABLE = Layered(hidden=(2,), num_inputs=1, reflection="published", gain=4.0, shift=0.1)
STRONG_FEEDBACK = {"dense_0": np.full((2, 2), 1e-4), "dense_3": np.full((3, 2), 5e-2)}

LOOP_GAIN_NOISE = 1e-12
"""Relative; a sum of five conductances in double precision."""


def test_the_criterion_is_the_linear_conductance_of_an_amplifiers_input():
    # Two inputs with 1e-4 S each; the output drives two nodes with 5e-2 S each. The published
    # amplifier has kappa = -1/gain, so that kappa A = -1.
    circuit = BISTABLE.circuit()
    expected = 2 * 1e-4 - 2 * 5e-2
    np.testing.assert_allclose(
        linear_conductances(circuit, STRONG_FEEDBACK), expected, rtol=LOOP_GAIN_NOISE
    )
    assert not criterion(circuit, STRONG_FEEDBACK).guaranteed
    weak = {"dense_0": np.full((2, 2), 1e-1), "dense_3": np.full((3, 2), 1e-3)}
    assert criterion(circuit, weak).guaranteed
    assert find_operating_points(circuit, weak, INPUTS).most_points == 1


def test_circuits_with_a_convex_energy_need_no_search():
    net = Layered(num_inputs=1)
    substrate = ResistiveNetwork(net.circuit(), Native())
    found = substrate.uniqueness(net.draw(0), INPUTS)
    assert found.guaranteed and found.num_starts == 0 and found.caution is None


def test_a_bistable_circuit_is_found_with_the_unstable_point_in_between():
    substrate = ResistiveNetwork(BISTABLE.circuit(), Native())
    found = substrate.uniqueness(STRONG_FEEDBACK, INPUTS)
    assert found.most_points >= 3
    assert found.num_samples_with_several == found.num_samples == 2
    # Between two points that attract lies one that does not.
    assert found.num_samples_with_unstable == 2
    assert found.caution is not None
    assert "2 of 2 samples have several" in found.caution


@pytest.mark.parametrize(
    "engine",
    [Native(), pytest.param(NgSpice(), marks=pytest.mark.ngspice)],
    ids=["native", "ngspice"],
)
def test_whoever_settles_such_a_circuit_is_told(engine):
    with pytest.warns(Remark, match="may have several operating points"):
        engine.settle(BISTABLE.circuit(), STRONG_FEEDBACK, INPUTS, [Free()])
    net = Layered(num_inputs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.settle(net.circuit(), net.draw(0), INPUTS, [Free()])


def test_stability_is_the_sign_of_a_single_nodes_conductance():
    # At 0 V the diodes are open: what is left of a node is c_j, negative or not.
    circuit = BISTABLE.circuit()
    origin = np.zeros(circuit.num_nodes)
    assert not stable(circuit, STRONG_FEEDBACK, origin)
    net = Layered(num_inputs=1)
    assert stable(net.circuit(), net.draw(0), np.zeros(net.circuit().num_nodes))


@pytest.mark.parametrize("offset", [0.0, 1e-3])
def test_only_what_solves_kirchhoffs_law_is_confirmed(offset):
    net = Layered(num_inputs=1)
    circuit, params = net.circuit(), net.draw(1)
    (point,) = Native().settle(circuit, params, INPUTS, [Free()])
    voltages = np.array(point.voltages)
    voltages[1, circuit.free_nodes[0]] += offset
    expected = [True, offset < SAME]
    assert confirmed(circuit, params, INPUTS, voltages).tolist() == expected
