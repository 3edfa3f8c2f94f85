"""The power-computation method: what the theory of dissipated power says of it."""

import numpy as np
import pytest

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.native import Native
from eqprop_spice.errors import ConfigError
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.power_computation import PowerComputation
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import Layered, absorbed_powers

TRUNCATION = 1e-3
"""Relative error of one-sided differences with relative steps of 1e-5, a nudge of 1e-6 S, and
rounding of powers of 1e-2 W relative to their second differences."""


def test_is_the_second_difference_of_the_dissipated_power():
    net = Layered(hidden=(2,))
    circuit, params, inputs = net.circuit(), net.draw(3, 1e-3, 1e-2), net.inputs(1, 2)
    targets, beta, step = np.full((2, 1), 0.5), 1e-4, 1e-4
    network = ResistiveNetwork(circuit, Native())
    estimate = PowerComputation(beta, step)(network, params, inputs, targets, SquaredError())

    def difference(moved: dict[str, np.ndarray]) -> float:
        total = 0.0
        free = net.solve(moved, inputs)
        currents = beta * (targets - net.read(free))
        nudged = net.solve(moved, inputs, currents)
        for x, u0, u1 in zip(inputs, free, nudged, strict=True):
            powers = []
            for u in (u0, u1):
                names = [circuit.node_names[n] for n in circuit.free_nodes]
                order = [net.node_names().index(name) for name in names]
                v = np.asarray(circuit.node_voltages(u[None, order], x[None]))[0]
                by_class = absorbed_powers(circuit, moved, v, np.zeros(1))
                powers.append(sum(by_class[k] for k in ("resistors", "diodes", "amplifiers")))
            total += powers[1] - powers[0]
        return total / len(inputs)

    base = difference(params)
    for name, values in params.items():
        expected = np.zeros(values.shape)
        for index in np.ndindex(values.shape):
            moved = {k: v.copy() for k, v in params.items()}
            moved[name][index] *= 1 + step
            slope = (difference(moved) - base) / (step * values[index])
            expected[index] = -slope / (2 * beta)
        error = np.abs(estimate.gradient[name] - expected).max() / np.abs(expected).max()
        assert error < TRUNCATION


def test_vanishes_in_a_network_of_resistors():
    """By reciprocity, dissipated power has no term that is linear in the nudge."""
    builder = CircuitBuilder()
    nodes = builder.add_nodes("x", 2)
    builder.add_inputs("x", nodes, np.arange(2))
    hidden, out = builder.add_nodes("h", 2), builder.add_nodes("y", 1)
    builder.add_dense("first", Resistor(), nodes, hidden)
    builder.add_dense("second", Resistor(), hidden, out)
    circuit = builder.build([(int(out[0]), GROUND)], num_inputs=2)
    rng = np.random.default_rng(0)
    params = {n: rng.uniform(1e-3, 1e-2, s) for n, s in circuit.parameter_shapes().items()}
    inputs, targets = np.array([[1.0, -2.0]]), np.array([[3.0]])
    network = ResistiveNetwork(circuit, Native())
    arguments = (network, params, inputs, targets, SquaredError())
    exact = Adjoint()(*arguments).gradient
    sizes = []
    for beta in (1e-6, 1e-5):
        estimate = PowerComputation(beta, 1e-5)(*arguments).gradient
        sizes.append(max(np.abs(estimate[n]).max() / np.abs(exact[n]).max() for n in exact))
    assert sizes[1] < 0.1
    assert sizes[1] / sizes[0] == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize("name", ["beta", "step"])
def test_refuses_nothing_to_compare(name):
    with pytest.raises(ConfigError, match=name):
        PowerComputation(**{name: 0.0})
