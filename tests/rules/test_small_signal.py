"""The small-signal rule: the limit of a vanishing nudge, equal to the exact gradient."""

import dataclasses

import numpy as np
import pytest

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.costs.cross_entropy import CrossEntropy
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.phases import Force, Free
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import KIRAZ, Kind, Layered, central_difference

pytestmark = pytest.mark.ngspice

DIFFERENCE = 1e-5
"""Relative error of central differences with relative steps of 1e-4: truncation 1e-8 times the
curvature, rounding of the loss 1e-13 / 1e-4."""

LIMIT = 2e-5
"""Relative distance of C-EP at beta = 1e-4 S from the limit: its bias is below 1e-7; the solver's
error is 1e-11 V, and the first of three `published` layers moves by microvolts only."""

CLOSED = 1e-9
"""Relative error of a linear circuit's gradient: rounding."""

KINDS = ["transformer", "kendall", "published"]


def settings(kind: Kind, hidden: tuple[int, ...]):
    """Return network, conductances, inputs and targets; the operating point is unique."""
    layered = Layered(hidden, num_outputs=2, reflection=kind, gain=2.0)
    params = layered.draw(21, 5e-3, 2e-2)
    if kind == "published":
        for depth, name in enumerate(reversed(params)):
            params[name] = params[name] * 12.0**depth
    targets = np.random.default_rng(22).uniform(-0.5, 0.5, (3, 2))
    return ResistiveNetwork(layered.circuit(), NgSpice()), params, layered.inputs(23, 3), targets


def relative(actual: Array, expected: Array) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("hidden", [(3,), (3, 2)], ids=len)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cost", [SquaredError(), CrossEntropy(0.5)], ids=["squared", "entropy"])
def test_gradient_equals_finite_differences_of_every_layer(kind, hidden, cost: AbstractCost):
    network, params, inputs, targets = settings(kind, hidden)
    if isinstance(cost, CrossEntropy):
        targets = np.eye(2)[[0, 1, 1]]
    estimate = SmallSignal()(network, params, inputs, targets, cost)
    assert estimate.converged.all()

    def loss(name, g):
        (free,) = network.settle(params | {name: g}, inputs, [Free()])
        return float(cost.value(network.outputs(free.state), targets).mean())

    for name, value in params.items():
        expected = central_difference(lambda g, name=name: loss(name, g), value, 1e-4 * value)
        assert relative(estimate.gradient[name], expected) < DIFFERENCE, name


@pytest.mark.parametrize("kind", KINDS)
def test_centered_ep_approaches_it(kind):
    network, params, inputs, targets = settings(kind, (3, 2))
    limit = SmallSignal()(network, params, inputs, targets, SquaredError())
    estimate = EquilibriumPropagation("centered", 1e-4)(
        network, params, inputs, targets, SquaredError()
    )
    for name, value in limit.gradient.items():
        assert relative(estimate.gradient[name], value) < LIMIT, name
    np.testing.assert_allclose(limit.outputs, estimate.outputs, rtol=0.0, atol=1e-9)


def test_gradient_of_a_divider_in_closed_form():
    r"""$y = g_1 x / (g_1 + g_2)$, so $\partial C/\partial g_1 = (y-t)\,x\,g_2/(g_1+g_2)^2$."""
    builder = CircuitBuilder()
    source, node = builder.add_node("x"), builder.add_node("y")
    builder.add_inputs("x", [source], np.array([0]))
    builder.add_pairs("r", Resistor(), [source, node], [node, GROUND])
    network = ResistiveNetwork(builder.build([(node, GROUND)], num_inputs=1), NgSpice())
    g1, g2, x, t = 2e-3, 3e-3, 1.5, 0.25
    estimate = SmallSignal()(
        network, {"r": np.array([g1, g2])}, np.array([[x]]), np.array([[t]]), SquaredError()
    )
    y, total = g1 * x / (g1 + g2), (g1 + g2) ** 2
    expected = (y - t) * np.array([x * g2, -x * g1]) / total
    np.testing.assert_allclose(estimate.gradient["r"], expected, rtol=CLOSED)


def test_weights_apply_here_too():
    network, params, inputs, targets = settings("kendall", (3, 2))
    weighted = SmallSignal()(network, params, inputs, targets, SquaredError()).gradient
    bare = SmallSignal()(
        dataclasses.replace(network, weights="none"), params, inputs, targets, SquaredError()
    ).gradient
    for depth, name in enumerate(reversed(list(weighted))):
        np.testing.assert_allclose(weighted[name], 4.0**depth * bare[name], rtol=1e-12)


def test_samples_without_operating_point_are_left_out():
    """The circuit of a negative conductance and a rectifier: large inputs have no solution."""
    builder = CircuitBuilder()
    source, node, out, y = (builder.add_node(name) for name in ("x", "n", "a", "y"))
    builder.add_inputs("x", [source], np.array([0]))
    builder.add_amplifiers("amp", np.array([node]), np.array([out]), 2.0, -0.5)
    builder.add_pairs("r", Resistor(), [source, out, y], [node, y, GROUND])
    builder.add_pairs("d", KIRAZ, [GROUND], [node])
    network = ResistiveNetwork(builder.build([(y, GROUND)], num_inputs=1), NgSpice())
    params = {"r": np.array([1e-3, 1e-2, 1e-2])}
    inputs, targets = np.array([[-0.5], [8.0], [-1.0]]), np.zeros((3, 1))
    estimate = SmallSignal()(network, params, inputs, targets, SquaredError())
    np.testing.assert_array_equal(estimate.converged, [True, False, True])
    keep = [0, 2]
    expected = SmallSignal()(network, params, inputs[keep], targets[keep], SquaredError())
    assert relative(estimate.gradient["r"], expected.gradient["r"]) < LIMIT
    assert np.isnan(estimate.outputs[1]).all()


def test_a_shown_phase_is_shown_although_there_is_none():
    outputs, targets = np.array([[0.5]]), np.array([[1.0]])
    phase = SmallSignal().shown_phase(outputs, targets, SquaredError())
    assert isinstance(phase, Force)
    np.testing.assert_allclose(phase.currents, [[0.5e-4]], rtol=1e-12)
