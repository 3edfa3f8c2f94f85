"""Truncated and recurrent backpropagation: against differences of a written-out relaxation."""

import numpy as np
import pytest

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConfigError
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import SplitRectifiers
from eqprop_spice.phases import Free
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.recurrent_backpropagation import RecurrentBackpropagation
from eqprop_spice.rules.truncated_backpropagation import TruncatedBackpropagation
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import Layered, central_difference

DIFFERENCE = 1e-5
"""Relative error of central differences with relative steps of 1e-4."""

EQUAL = 1e-9
"""Relative difference to the exact gradient after so many iterations that nothing moves."""

RULES = [RecurrentBackpropagation, TruncatedBackpropagation]
rules = pytest.mark.parametrize("rule", RULES, ids=["rbp", "tbp"])


def relaxed(circuit: Circuit, params, inputs, start, sees, groups, num_iterations) -> np.ndarray:
    """Return the outputs after some visits of every node; each takes its neighbors' voltage."""
    free = circuit.free_nodes
    u = start[:, free].copy()
    for _ in range(num_iterations):
        for members in groups:
            voltages = circuit.node_voltages(u, inputs)
            nothing = np.zeros((len(inputs), circuit.num_outputs))
            excess = circuit.residual(params, voltages, nothing)
            u[:, members] -= excess[:, members] / sees[:, members]
    return np.asarray(circuit.outputs(circuit.node_voltages(u, inputs)))


@rules
@pytest.mark.parametrize("engine", [Native(), NgSpice()], ids=["native", "ngspice"])
@pytest.mark.parametrize("hidden", [(3,), (3, 2)])
def test_it_is_the_gradient_through_a_relaxation(
    rule: type[Adjoint], hidden: tuple[int, ...], engine: AbstractEngine
) -> None:
    net = Layered(hidden=hidden, inverted=True)
    circuit, inputs, params = net.circuit(), net.inputs(1, 3), net.draw(0, 1e-3, 1e-2)
    targets, cost = np.full((3, 1), 0.5), SquaredError()
    count = 3
    found = rule(count)(ResistiveNetwork(circuit, engine), params, inputs, targets, cost)  # type: ignore[call-arg]
    assert np.asarray(found.converged).all()
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    start = np.asarray(point.voltages)
    plan = GeneralPlan(circuit)
    sees = np.stack([np.diag(plan.jacobian(params, v)) for v in start])
    depth = [int(circuit.node_names[n].split("_")[0][1:]) // 3 for n in circuit.free_nodes]
    even = (len(hidden) - np.array(depth)) % 2 == 0
    everything = np.ones(len(even), bool)
    groups = [everything] if rule is RecurrentBackpropagation else [~even, even]
    for name, values in params.items():

        def loss(moved: np.ndarray, name=name) -> float:
            outputs = relaxed(circuit, {**params, name: moved}, inputs, start, sees, groups, count)
            return float((0.5 * (outputs - targets) ** 2).sum(1).mean())

        expected = central_difference(loss, values, 1e-4 * values)
        error = np.abs(np.asarray(found.gradient[name]) - expected).max()
        assert error < DIFFERENCE * np.abs(expected).max(), name


@rules
def test_many_iterations_give_the_exact_gradient(rule: type[Adjoint]) -> None:
    net = Layered(hidden=(3, 2), num_outputs=2)
    inputs, params = net.inputs(1, 3), net.draw(0, 1e-3, 1e-2)
    arguments = (
        ResistiveNetwork(net.circuit(), Native()),
        params,
        inputs,
        np.zeros((3, 2)),
        SquaredError(),
    )
    exact = Adjoint()(*arguments).gradient
    errors = []
    for count in (1, 4, 400):
        estimate = rule(count)(*arguments).gradient  # type: ignore[call-arg]
        errors.append(
            max(np.abs(estimate[k] - exact[k]).max() / np.abs(exact[k]).max() for k in exact)
        )
    assert errors[0] > errors[1] > EQUAL > errors[2]


@rules
def test_ideal_diodes_that_conduct_pass_nothing_back(rule: type[Adjoint]) -> None:
    layers = [Dense(6), SplitRectifiers(), Dense(5), SplitRectifiers(), Dense(2)]
    circuit = layered_circuit(
        layers, num_inputs=3, num_outputs=2, doubled_inputs=True, differential=False
    )
    rng = np.random.default_rng(0)
    params = {k: rng.uniform(0.01, 1.0, s) for k, s in circuit.parameter_shapes().items()}
    inputs = rng.uniform(-10.0, 10.0, (4, 3))
    network, targets, cost = (
        ResistiveNetwork(circuit, Native()),
        rng.uniform(-1, 1, (4, 2)),
        SquaredError(),
    )
    estimate = rule(400)(network, params, inputs, targets, cost).gradient  # type: ignore[call-arg]
    exact = Adjoint()(network, params, inputs, targets, cost).gradient
    for name, values in params.items():

        def loss(moved: np.ndarray, name=name) -> float:
            (point,) = network.settle({**params, name: moved}, inputs, [Free()])
            return float(cost.value(np.asarray(network.outputs(point.state)), targets).mean())

        expected = central_difference(loss, values, 1e-5 * values)
        scale = np.abs(expected).max()
        assert np.abs(np.asarray(exact[name]) - expected).max() < DIFFERENCE * scale, name
        assert np.abs(np.asarray(estimate[name]) - exact[name]).max() < EQUAL * scale, name


@rules
def test_no_iteration_is_refused(rule: type[Adjoint]) -> None:
    with pytest.raises(ConfigError, match="num_iterations is 0"):
        rule(0)  # type: ignore[call-arg]
