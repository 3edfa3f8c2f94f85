"""The exact gradient: against finite differences of another solver, reciprocal or not."""

import numpy as np
import pytest

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.phases import Free
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import Kind, Layered, central_difference

DIFFERENCE = 1e-6
"""Relative error of central differences with relative steps of 1e-5: truncation 1e-10 times the
third derivative, rounding 1e-13 / 1e-5 times the inverse of the elasticity."""

EQUAL = 1e-9
"""Relative difference of two ways to the same gradient at operating points 1e-13 V apart."""


@pytest.mark.parametrize("kind", ["transformer", "kendall", "published"])
@pytest.mark.parametrize("hidden", [(3,), (3, 2)])
def test_finite_differences(kind: Kind, hidden: tuple[int, ...]):
    net = Layered(hidden=hidden, reflection=kind)
    circuit, inputs = net.circuit(), net.inputs(1, 3)
    params = {
        name: values * (0.1**layer if kind == "published" else 1.0)
        for layer, (name, values) in enumerate(net.draw(0, 1e-3, 1e-2).items())
    }
    targets, cost = np.full((3, 1), 0.5), SquaredError()
    estimate = Adjoint()(ResistiveNetwork(circuit, Native()), params, inputs, targets, cost)
    assert np.asarray(estimate.converged).all()
    for name, values in params.items():

        def loss(moved: np.ndarray, name=name) -> float:
            outputs = net.read(net.solve({**params, name: moved}, inputs))
            return float((0.5 * (outputs - targets) ** 2).sum(1).mean())

        expected = central_difference(loss, values, 1e-5 * values)
        error = np.abs(estimate.gradient[name] - expected).max() / np.abs(expected).max()
        assert error < DIFFERENCE, name


@pytest.mark.ngspice
@pytest.mark.parametrize("engine", [NgSpice(), Native()])
def test_equals_small_signal_and_the_transposed_solution(engine):
    net = Layered(hidden=(3, 2))
    circuit, params, inputs = net.circuit(), net.draw(0), net.inputs(1, 3)
    targets, cost = np.full((3, 1), 0.5), SquaredError()
    network = ResistiveNetwork(circuit, engine)
    estimate = Adjoint()(network, params, inputs, targets, cost)
    (point,) = engine.settle(circuit, params, inputs, [Free()])
    slopes = cost.gradient(np.asarray(circuit.outputs(point.voltages)), targets)
    multipliers = GeneralPlan(circuit).adjoint(params, point.voltages, slopes)
    small_signal = SmallSignal()(network, params, inputs, targets, cost)
    for group in circuit.trainable_groups:
        found = np.asarray(estimate.gradient[group.name])
        voltages = np.asarray(point.voltages)
        transposed = -group.sides.voltage_drop_product(voltages, multipliers)
        scale = np.abs(found).max()
        assert np.abs(found - transposed).max() < EQUAL * scale
        assert np.abs(found - small_signal.gradient[group.name]).max() < EQUAL * scale
