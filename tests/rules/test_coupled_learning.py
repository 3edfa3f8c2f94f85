"""Held outputs: coupled and contrastive learning do what their theory says, on both engines."""

from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.circuits.power import co_contents
from eqprop_spice.circuits.reciprocity import branch_weights
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Force, Free, Hold
from eqprop_spice.results.netlists import trained_netlists
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.base import AbstractRule
from eqprop_spice.rules.contrastive_learning import ContrastiveLearning
from eqprop_spice.rules.coupled_learning import CoupledLearning
from eqprop_spice.settled import OperatingPoint
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import Kind, Layered, central_difference, run_ngspice

pytestmark = pytest.mark.ngspice

XOR = Path(__file__).parents[2] / "experiments" / "xor.toml"

VOLTS = 1e-9
"""Difference of two engines' voltages [V]."""

DIFFERENCE = 1e-5
"""Relative error of central differences of an energy with relative steps of 1e-3."""

FIRST_ORDER = 1e-3
"""Relative size of the second order in a displacement of 1e-4."""

engines = pytest.mark.parametrize("engine", [NgSpice(), Native()], ids=["ngspice", "native"])


def single_ended(**changes) -> Layered:
    return Layered(hidden=(3,), differential=False, shift=0.1, **changes)


def estimate_of(rule: AbstractRule, net: Layered, params, *, samples=3, engine=None) -> dict:
    """Return the estimate of a rule on seeded samples."""
    network = ResistiveNetwork(net.circuit(), engine or Native())
    targets = np.linspace(-1.0, 1.0, samples * net.num_outputs).reshape(samples, -1)
    found = rule(network, params, net.inputs(1, samples), targets, SquaredError())
    assert np.asarray(found.converged).all()
    return {name: np.asarray(value) for name, value in found.gradient.items()}


def hold(network: ResistiveNetwork, params, inputs, displacement) -> OperatingPoint:
    """Return where a network settles with its outputs displaced from where they are free."""
    (free,) = network.settle(params, inputs, [Free()])
    outputs = np.asarray(network.outputs(free.state)) + displacement
    return network.settle(params, inputs, [Free(), Hold(outputs)])[1]


@engines
def test_a_held_output_settles_where_the_current_that_brings_it_there_does(engine: AbstractEngine):
    net = single_ended()
    network, params, inputs = ResistiveNetwork(net.circuit(), engine), net.draw(0), net.inputs(1, 3)
    (free,) = network.settle(params, inputs, [Free()])
    (forced,) = network.settle(params, inputs, [Force(np.full((3, 1), 1e-3))])
    displacement = np.asarray(network.outputs(forced.state)) - np.asarray(
        network.outputs(free.state)
    )
    held = hold(network, params, inputs, displacement)
    assert np.asarray(held.converged).all()
    assert np.abs(np.asarray(held.voltages) - np.asarray(forced.voltages)).max() < VOLTS


@engines
@pytest.mark.parametrize("hidden", [(), (3,)])
def test_differential_outputs_move_by_half_on_both_sides(engine: AbstractEngine, hidden):
    net = Layered(hidden=hidden, num_outputs=2)
    circuit = net.circuit()
    network, params, inputs = ResistiveNetwork(circuit, engine), net.draw(0), net.inputs(1, 2)
    (free,) = network.settle(params, inputs, [Free()])
    displacement = np.array([[0.1, -0.2], [0.0, 0.3]])
    held = hold(network, params, inputs, displacement)
    moved = np.asarray(held.voltages) - np.asarray(free.voltages)
    for sign, nodes in ((0.5, circuit.output_nodes[:, 0]), (-0.5, circuit.output_nodes[:, 1])):
        assert np.abs(moved[:, nodes] - sign * displacement).max() < VOLTS
    if hidden:
        inner = np.setdiff1d(circuit.free_nodes, circuit.output_nodes)
        assert np.abs(moved[0, inner]).max() > 1e-4


@pytest.mark.parametrize("kind", ["transformer", "kendall"])
def test_contrastive_learning_descends_the_contrast_of_energies(kind: Kind):
    net = single_ended(reflection=kind)
    circuit, inputs, params = net.circuit(), net.inputs(1, 3), net.draw(0, 1e-3, 1e-2)
    network, weights = ResistiveNetwork(circuit, Native()), branch_weights(circuit, circuit.groups)
    targets = np.linspace(-1.0, 1.0, 3).reshape(3, 1)
    nothing = np.zeros((3, 1))

    def contrast(moved) -> float:
        (free,) = network.settle(moved, inputs, [Free()])
        (held,) = network.settle(moved, inputs, [Free(), Hold(targets)])[1:]
        energies = []
        for point in (free, held):
            parts = co_contents(
                circuit, moved, np.asarray(point.voltages), nothing, weights=weights
            )
            energies.append(sum(p.mean() for p in parts.values()))
        assert energies[1] >= energies[0]  # the free state is the minimum
        return energies[1] - energies[0]

    estimate = estimate_of(ContrastiveLearning(), net, params)
    for name, values in params.items():
        expected = central_difference(
            lambda v, name=name: contrast({**params, name: v}), values, 1e-3 * values
        )
        assert np.abs(estimate[name] - expected).max() < DIFFERENCE * np.abs(expected).max()


@pytest.mark.parametrize("variant", ["positive", "negative", "centered"])
def test_small_displacements_give_the_gradient_times_the_stiffness_of_the_output(variant):
    """For one output and one sample; with more of either, nothing parallel is left."""
    net = single_ended()
    params = net.draw(0, 1e-3, 1e-2)
    network, inputs = ResistiveNetwork(net.circuit(), Native()), net.inputs(1, 1)
    (free,) = network.settle(params, inputs, [Free()])
    changes, _ = network.respond(params, inputs, free.voltages, np.ones((1, 1)))
    stiffness = 1.0 / float(np.asarray(network.circuit.outputs(changes))[0, 0])
    exact = estimate_of(Adjoint(), net, params, samples=1)
    estimate = estimate_of(CoupledLearning(variant, 1e-4), net, params, samples=1)
    for name, gradient in exact.items():
        difference = np.abs(estimate[name] - stiffness * gradient).max()
        assert difference < FIRST_ORDER * stiffness * np.abs(gradient).max()


def test_it_is_not_gradient_descent():
    net = Layered(hidden=(3,), num_outputs=2, shift=0.1)
    params = net.draw(0, 1e-3, 1e-2)
    exact = estimate_of(Adjoint(), net, params)
    cosines = []
    for eta in (1e-3, 1e-5):
        estimate = estimate_of(CoupledLearning("centered", eta), net, params)
        a, b = (np.concatenate([g[k].ravel() for k in exact]) for g in (estimate, exact))
        cosines.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    assert cosines[0] == pytest.approx(cosines[1], abs=1e-4)
    assert 0.5 < cosines[1] < 0.999


def test_held_at_the_target_it_is_contrastive_learning():
    net = Layered(hidden=(3,), num_outputs=2, shift=0.1)
    params = net.draw(0, 1e-3, 1e-2)
    coupled = estimate_of(CoupledLearning("positive", 1.0), net, params)
    contrastive = estimate_of(ContrastiveLearning(), net, params)
    for name in params:
        np.testing.assert_allclose(coupled[name], contrastive[name], rtol=1e-9)


@pytest.mark.parametrize("rule", [CoupledLearning(), ContrastiveLearning()])
def test_engines_agree(rule: AbstractRule):
    net = Layered(hidden=(3, 2), num_outputs=2, shift=0.1)
    params = net.draw(0, 1e-3, 1e-2)
    one, two = (estimate_of(rule, net, params, engine=e) for e in (NgSpice(), Native()))
    for name in params:
        assert np.abs(one[name] - two[name]).max() < 1e-8 * np.abs(one[name]).max()


def test_refuses_no_displacement():
    with pytest.raises(ConfigError, match="eta is 0"):
        CoupledLearning(eta=0.0)


@pytest.mark.parametrize(
    "rule", ["coupled_learning.CoupledLearning", "contrastive_learning.ContrastiveLearning"]
)
def test_netlists_hold_the_outputs_with_voltage_sources(rule: str, tmp_path):
    experiment = Experiment.load(XOR, [f"rule={{kind='{rule}'}}"])
    params, data = experiment.initial_params(), experiment.data
    texts = trained_netlists(experiment, params, sample=1)
    assert "v_clamp_0 n3_0 0" in texts["nudged"] and "_clamp" not in texts["free"]
    network, rows = experiment.network, slice(1, 2)
    (free,) = network.settle(params, data.train_inputs[rows], [Free()])
    outputs = network.outputs(free.state)
    phase = experiment.rule.shown_phase(outputs, data.train_targets[rows], experiment.cost)
    _, held = network.settle(params, data.train_inputs[rows], [Free(), phase])
    printed = run_ngspice(texts["nudged"], tmp_path)
    voltages = dict(zip(experiment.circuit.node_names, held.voltages[0], strict=True))
    assert len(printed) == 8
    for name, value in printed.items():
        assert abs(voltages[name.removeprefix("v(").rstrip(")")] - value) < VOLTS
    shown = printed["v(n3_0)"] - printed["v(n3_1)"]
    assert shown == pytest.approx(float(phase.outputs[0, 0]), abs=VOLTS)
