"""Trained bias currents: both engines, gradients, netlists, and what leaves them alone."""

import numpy as np
import pytest

from eqprop_spice.audit.case import Case
from eqprop_spice.audit.references import (
    exact_gradient,
    finite_differences,
    operating_point,
    sensitivities,
)
from eqprop_spice.circuits.power import absorbed_powers
from eqprop_spice.devices.ideal import Ideal
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.layered.plan import LayeredPlan
from eqprop_spice.engines.native import Native, plan_for
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConfigError, ParameterError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.bias_currents import BiasCurrents
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes, SplitRectifiers
from eqprop_spice.phases import Free, Spring
from eqprop_spice.spice.plain import plain_operating_point
from eqprop_spice.spice.portable import in_dialect
from eqprop_spice.spice.writer import netlist
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.contracts import check_substrate
from tests.references import KIRAZ

AGREEMENT = 1e-9
"""Volts between engines that both solve to rounding."""

IDEAL = 1e-8
"""Volts: an ideal diode drops some nanovolts in SPICE."""

GRADIENT = 1e-7
"""Relative error of finite differences of fourth order, and of ngspice's .sens."""


def network(hidden, *, ends=True):
    """Return a circuit with bias currents at every node, parameters, inputs and targets."""
    layers = [Dense(4), BiasCurrents(), *hidden, Dense(2)]
    layers += [BiasCurrents()] if ends else []
    circuit = layered_circuit(layers, num_inputs=2, num_outputs=1, doubled_inputs=True)
    rng = np.random.default_rng(3)
    params = {
        name: rng.normal(0.0, 1e-3, shape)
        if name.startswith("bias_current")
        else rng.uniform(1e-3, 1e-2, shape)
        for name, shape in circuit.parameter_shapes().items()
    }
    return circuit, params, rng.uniform(-2.0, 2.0, (3, 2)), rng.uniform(-0.5, 0.5, (3, 1))


AMPLIFIED = [AntiparallelDiodes(KIRAZ, 0.1), BidirectionalAmplifier(2.0)]
RECTIFIED = [SplitRectifiers()]


@pytest.mark.slow
def test_what_every_substrate_keeps():
    circuit, params, inputs, targets = network(AMPLIFIED)
    assert circuit.supplied_parameters == {"bias_current_1", "bias_current_5"}
    check_substrate(ResistiveNetwork(circuit, Native()), params, inputs, targets)


@pytest.mark.ngspice
@pytest.mark.parametrize(("hidden", "volts"), [(AMPLIFIED, AGREEMENT), (RECTIFIED, IDEAL)])
def test_engines_agree(hidden, volts):
    circuit, params, inputs, targets = network(hidden)
    assert isinstance(plan_for(circuit), LayeredPlan)
    phases = [Free(), Spring(1e-4, targets)]
    theirs = NgSpice().settle(circuit, params, inputs, phases)
    ways = [Native().settle(circuit, params, inputs, phases)]
    if hidden is AMPLIFIED:
        ways.append(GeneralPlan(circuit).settle(params, inputs, phases))
    for ours in ways:
        for one, other in zip(ours, theirs, strict=True):
            assert one.converged.all() and other.converged.all()
            np.testing.assert_allclose(one.voltages, other.voltages, rtol=0.0, atol=volts)
    still = {k: 0.0 * v if "bias" in k else v for k, v in params.items()}
    (without,) = Native().settle(circuit, still, inputs, [Free()])
    assert np.abs(without.voltages - ways[0][0].voltages).max() > 1e-2


def test_deep_resistive_networks_learn_them_by_the_published_rule():
    circuit, params, inputs, targets = network(RECTIFIED)
    drn = ResistiveNetwork(circuit, Native())
    (point,) = drn.settle(params, inputs, [Free()])
    hidden = np.asarray(point.voltages)[:, circuit.free_nodes[:4]]
    assert {group.device for group in circuit.nonlinear_groups} == {Ideal()}
    assert (np.abs(hidden) < 1e-12).any() and (np.abs(hidden) > 1e-2).any()
    check_substrate(drn, params, inputs, targets)


def test_powers_sum_to_zero():
    circuit, params, inputs, _ = network(AMPLIFIED)
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    powers = absorbed_powers(circuit, params, np.asarray(point.voltages), np.zeros((3, 1)))
    assert (np.abs(powers["bias currents"]) > 0.0).all()
    assert (np.abs(sum(powers.values())) <= 1e-12 * np.abs(powers["resistors"])).all()


@pytest.mark.ngspice
def test_the_netlist_is_read_back():
    circuit, params, inputs, _ = network(AMPLIFIED)
    text = netlist(circuit, params, inputs[0], Free())
    assert "ibias_current_1_0 0 n0_0 " in text
    (point,) = Native().settle(circuit, params, inputs[:1], [Free()])
    found = plain_operating_point(in_dialect(text, "ltspice"))
    for node in circuit.free_nodes:
        expected = float(point.voltages[0, node])
        assert found[circuit.node_names[node]] == pytest.approx(expected, abs=AGREEMENT)


def biased_xor() -> str:
    text = Experiment.load("xor", ["engine=native", "optimizer.scale=absolute"]).to_toml()
    mark = '[[circuit.layers]]\nkind = "diodes.AntiparallelDiodes"'
    assert mark in text
    return text.replace(mark, f'[[circuit.layers]]\nkind = "bias_currents.BiasCurrents"\n\n{mark}')


@pytest.mark.ngspice
def test_the_audit_finds_their_gradient():
    case = Case.from_experiment(Experiment.parse(biased_xor()), num_conductances=12)
    assert len(case.selection["bias_current_1"])
    point = operating_point(case, Native())
    exact = case.chosen(exact_gradient(case, point))
    differences, theirs = finite_differences(case, Native()), sensitivities(case, point)
    assert theirs is not None
    for name, values in exact.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(differences[name], values, rtol=0.0, atol=GRADIENT * scale)
        np.testing.assert_allclose(theirs[name], values, rtol=0.0, atol=1e-4 * scale)


def test_they_start_at_zero_and_only_bounds_of_their_own_hold_them():
    text = biased_xor()
    experiment = Experiment.parse(text)
    start = experiment.trainer.init(experiment.initial_params()).params
    assert not np.asarray(start["bias_current_1"]).any()
    assert all(np.asarray(v).all() for k, v in start.items() if k != "bias_current_1")
    moved = {k: np.full(np.shape(v), -1.0) for k, v in start.items()}
    assert experiment.constraint is not None
    free = experiment.constraint(moved)
    assert (np.asarray(free["bias_current_1"]) == -1.0).all()
    assert (np.asarray(free["dense_0"]) > 0.0).all()
    bounds = "constraint.groups.bias_current_1=[-1e-3, 1e-3]"
    bounded = Experiment.parse(text, overrides=[bounds]).constraint
    assert bounded is not None
    held = bounded(moved)
    assert (np.asarray(held["bias_current_1"]) == -1e-3).all()
    with pytest.raises(ConfigError, match="groups names 'bias_current_9'"):
        Experiment.parse(text, overrides=[bounds.replace("_1=", "_9=")])
    with pytest.raises(ConfigError, match="ascending order"):
        Experiment.parse(text, overrides=[bounds.replace("-1e-3, 1e-3", "1e-3, -1e-3")])
    with pytest.raises(ConfigError, match="bias currents may be zero"):
        kind = "power_computation.PowerComputation"
        Experiment.parse(text, overrides=[f"rule={{kind='{kind}'}}"])
    with pytest.raises(ConfigError, match="no mean conductance"):
        Experiment.parse(text, overrides=["optimizer.scale=mean_conductance"])


def test_a_current_that_is_not_finite_is_refused():
    circuit, params, inputs, _ = network(AMPLIFIED)
    params["bias_current_1"][0] = np.nan
    with pytest.raises(ParameterError, match="'bias_current_1' has a current"):
        Native().settle(circuit, params, inputs, [Free()])
