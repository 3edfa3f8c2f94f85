"""The references agree with each other: four ways to a gradient that share no code."""

import dataclasses

import numpy as np
import pytest

from eqprop_spice.audit.case import OPEN, Case, choose, conducting
from eqprop_spice.audit.references import (
    derivatives,
    exact_gradient,
    finite_differences,
    operating_point,
    sensitivities,
)
from eqprop_spice.costs.cross_entropy import CrossEntropy
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConvergenceError
from eqprop_spice.gradients.comparison import compare_layers
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.convolution import Convolution
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.layers.pooling import AveragePool
from eqprop_spice.phases import Free
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import KIRAZ, Layered

pytestmark = pytest.mark.ngspice

BY_NATIVE, BY_NGSPICE, BY_SENS, BY_SMALL_SIGNAL = 1e-8, 1e-6, 1e-6, 1e-9
"""Relative error of a layer's gradient that each reference has to stay below."""

CASES = {
    "case_1": (Layered(hidden=(2,)), SquaredError()),
    "d1n4148": (Layered(hidden=(3,), diode=PRESETS["d1n4148"], shift=0.1), SquaredError()),
    "two outputs": (
        Layered(hidden=(3, 2), num_outputs=2, reflection="transformer", doubled_inputs=True),
        CrossEntropy(),
    ),
    "three hidden": (Layered(hidden=(3, 3, 2), differential=False, shift=0.1), SquaredError()),
}


def case_of(name: str, engine=None) -> Case:
    """Return a small case with all conductances chosen."""
    net, cost = CASES[name]
    params = net.draw(3, 1e-4, 1e-2)
    return Case(
        "test",
        ResistiveNetwork(net.circuit(), engine or NgSpice()),
        EquilibriumPropagation(),
        cost,
        params,
        net.inputs(1, 3),
        np.full((3, net.num_outputs), 0.5),
        choose(params, 10_000, np.random.default_rng(0)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_all_references_agree(name):
    case = case_of(name)
    point = operating_point(case, case.tight_engine)
    exact = exact_gradient(case, point)
    chosen = case.chosen(exact)

    def worst(gradient) -> float:
        return max(c.largest_error for c in compare_layers(gradient, chosen).values())

    assert worst(finite_differences(case, Native())) < BY_NATIVE
    assert worst(finite_differences(case, NgSpice())) < BY_NGSPICE
    by_ngspice = sensitivities(case, point)
    assert by_ngspice is not None
    assert worst(by_ngspice) < BY_SENS
    for engine in (NgSpice(), Native()):
        gradient = case.estimate(SmallSignal(), engine=engine).gradient
        assert worst(case.chosen(gradient)) < BY_SMALL_SIGNAL


def test_shared_conductances_count_every_resistor():
    layers = [
        Convolution((2, 3), 2, (2, 2), bias=(1.0,)),
        AntiparallelDiodes(KIRAZ, 0.1),
        AveragePool((1, 2), (1, 2), 1e-2),
    ]
    circuit = layered_circuit(layers, num_inputs=6, num_outputs=1)
    rng = np.random.default_rng(0)
    params = {n: rng.uniform(1e-3, 1e-2, s) for n, s in circuit.parameter_shapes().items()}
    selection = choose(params, 10, rng)
    inputs, targets = rng.uniform(-3.0, 3.0, (2, 6)), np.full((2, 1), 0.5)
    network, rule = ResistiveNetwork(circuit, NgSpice()), EquilibriumPropagation()
    case = Case("test", network, rule, SquaredError(), params, inputs, targets, selection)
    point = operating_point(case, NgSpice())
    chosen, by_ngspice = case.chosen(exact_gradient(case, point)), sensitivities(case, point)
    assert by_ngspice is not None
    for found, tolerance in (
        (by_ngspice, BY_SENS),
        (finite_differences(case, NgSpice()), BY_NGSPICE),
    ):
        errors = compare_layers(found, chosen).values()
        assert max(c.largest_error for c in errors) < tolerance


def test_derivatives_are_exact_for_polynomials_of_fourth_degree():
    params = {"a": np.array([2e-3, 5e-3]), "b": np.array([[1e-9]])}
    selection = {"a": np.array([1]), "b": np.array([0])}

    def function(p):
        return np.array([(1e3 * p["a"][1]) ** 4, p["b"].sum(), 7.0])

    found = derivatives(function, params, selection)
    assert found["a"][0] == pytest.approx([4 * 1e3 * 5**3, 0.0, 0.0], rel=1e-9, abs=1e-9)
    # 625 is rounded to 1e-13; differences with a step of 2e-12 turn that into a tenth.
    assert found["b"][0] == pytest.approx([0.0, 1.0, 0.0], rel=1e-9, abs=0.1)


def test_choice_spreads_over_groups_and_leaves_switches_out():
    values = np.full(50, 1e-3)
    values[7] = 1e-3 * OPEN / 2
    params = {"big": values, "small": np.full(4, 1e-3)}
    assert not conducting(params)["big"][7]
    chosen = choose(params, 20, np.random.default_rng(0))
    assert len(chosen["small"]) == 4
    assert len(chosen["big"]) == 16
    assert 7 not in choose(params, 1000, np.random.default_rng(0))["big"]
    again = choose(params, 20, np.random.default_rng(0))
    assert all((again[name] == chosen[name]).all() for name in params)


def test_a_circuit_too_large_for_sensitivities_is_left_out(monkeypatch):
    monkeypatch.setattr("eqprop_spice.audit.references.MAX_SENSITIVITY_DEVICES", 3)
    case = case_of("case_1")
    assert sensitivities(case, operating_point(case, NgSpice())) is None


def test_a_case_without_operating_point_is_refused(monkeypatch):
    case = case_of("case_1", Native())
    (point,) = case.substrate.settle(case.params, case.inputs, [Free()])

    class Failing(Native):
        """Finds nothing."""

        def settle(self, circuit, params, inputs, phases):
            """Return points of which the second failed."""
            converged = np.array([True, False, True])
            return [dataclasses.replace(point, converged=converged)] * len(phases)

    with pytest.raises(ConvergenceError, match="Sample 1 of the audit has no operating point"):
        operating_point(case, Failing())
