"""Bidirectional amplifiers: gain, reflection and the inverted output."""

import numpy as np
import pytest

from eqprop_spice.circuits.power import absorbed_powers
from eqprop_spice.circuits.reciprocity import reciprocity_weights
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.layered.plan import LayeredPlan
from eqprop_spice.engines.native import Native, plan_for
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.phases import Force, Free
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.spice.plain import plain_operating_point
from eqprop_spice.spice.portable import in_dialect
from eqprop_spice.spice.writer import netlist
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import KIRAZ, Kind

LINEAR = 1e-10
"""Relative error of a linear circuit's voltages: rounding."""


AGREEMENT = 1e-9
"""Volts between engines that both solve to rounding."""

TELLEGEN = 1e-12
"""Power left over, relative to what the inputs deliver."""

SLOPE = 0.05
"""Of the order of C-EP's bias, from three nudges."""


def build(kind: Kind = "kendall", gain=4.0, inverted=False):
    return layered_circuit(
        [Dense(1), BidirectionalAmplifier(gain, kind, inverted), Dense(1)],
        num_inputs=1,
        num_outputs=1,
        differential=False,
    )


@pytest.mark.parametrize(
    ("kind", "kappa"), [("transformer", 5.0), ("kendall", 0.2), ("published", -0.2)]
)
def test_reflections_are_those_of_the_published_netlists(kind, kappa):
    (amplifiers,) = build(kind, 5.0).amplifiers
    assert amplifiers.gains.tolist() == [5.0]
    assert amplifiers.reflections.tolist() == [pytest.approx(kappa)]


@pytest.mark.ngspice
@pytest.mark.parametrize("kind", ["transformer", "kendall", "published"])
def test_load_at_the_output_is_seen_at_the_input(kind: Kind):
    r"""A load G at the output draws $\kappa A G v$ at the input: in closed form."""
    gain = 3.0
    kappa = {"transformer": gain, "kendall": 1 / gain, "published": -1 / gain}[kind]
    circuit = layered_circuit(
        # A bias source of zero volts loads the output node.
        [Dense(1), BidirectionalAmplifier(gain, kind), Dense(1, bias=(0.0,))],
        num_inputs=1,
        num_outputs=1,
        differential=False,
    )
    front, through, load = 2e-3, 1e-3, 5e-4
    params = {"dense_0": np.array([[front]]), "dense_2": np.array([[through], [load]])}
    (point,) = NgSpice().settle(circuit, params, np.array([[1.5]]), [Free()])
    series = through * load / (through + load)
    hidden = front * 1.5 / (front + kappa * gain * series)
    names = circuit.node_names
    assert point.voltages[0, names.index("n0_0")] == pytest.approx(hidden, rel=LINEAR)
    assert point.voltages[0, names.index("a1_0")] == pytest.approx(gain * hidden, rel=LINEAR)
    output = gain * hidden * through / (through + load)
    assert circuit.outputs(point.voltages)[0, 0] == pytest.approx(output, rel=LINEAR)


def test_inverted_outputs_follow_the_positive_ones():
    circuit = build(inverted=True)
    positive, negative = circuit.amplifiers
    assert negative.gains.tolist() == [-4.0]
    # A/kappa, and with it the weight, is the same for both.
    assert negative.gains / negative.reflections == positive.gains / positive.reflections
    assert circuit.parameter_shapes()["dense_2"] == (2, 1)
    (group,) = (g for g in circuit.groups if g.name == "dense_2")
    assert [circuit.node_names[n] for n in group.sides.first] == ["a1_0", "i1_0"]


@pytest.mark.parametrize("gain", [np.inf, np.nan])
def test_gain_must_be_finite(gain):
    with pytest.raises(NetlistError, match="gain"):
        build(gain=gain)


def test_gain_of_zero_is_refused():
    with pytest.raises(NetlistError, match="gain"):
        build(gain=0.0)


def test_amplifiers_need_a_free_node_in_front():
    with pytest.raises(NetlistError, match="resistive layer before"):
        layered_circuit([BidirectionalAmplifier(), Dense(2)], num_inputs=1, num_outputs=1)


def test_amplifiers_cannot_end_a_circuit():
    with pytest.raises(NetlistError, match="End the circuit with a resistive layer"):
        layered_circuit([Dense(2), BidirectionalAmplifier()], num_inputs=1, num_outputs=1)


def test_published_inversion_is_not_reciprocal():
    """It inverts the VCVS alone, so that the two outputs have opposite weights."""
    _, negative = build("published", inverted=True).amplifiers
    assert (negative.gains.tolist(), negative.reflections.tolist()) == ([-4.0], [-0.25])
    with pytest.raises(NetlistError, match="not reciprocal"):
        reciprocity_weights(build("published", inverted=True))


def two_hidden(reflection=1.0, offset=0.02, inverted=False):
    """Return a circuit of two hidden layers, and conductances and inputs for it."""
    layers = []
    for size in (3, 2):
        layers += [
            Dense(size, bias=(1.0,)),
            AntiparallelDiodes(KIRAZ, 0.1),
            BidirectionalAmplifier(4.0, reflection, inverted, offset),
        ]
    circuit = layered_circuit([*layers, Dense(4)], num_inputs=2, num_outputs=2)
    rng = np.random.default_rng(5)
    shapes = circuit.parameter_shapes()
    params = {name: rng.uniform(1e-3, 1e-2, shape) for name, shape in shapes.items()}
    return circuit, params, rng.uniform(-2.0, 2.0, (4, 2)), rng.uniform(-0.5, 0.5, (4, 2))


@pytest.mark.ngspice
@pytest.mark.parametrize("inverted", [False, True])
def test_any_factor_and_offset_give_the_voltages_of_ngspice(inverted):
    circuit, params, inputs, targets = two_hidden(inverted=inverted)
    phases = [Free(), Force(1e-4 * targets)]
    assert isinstance(plan_for(circuit), LayeredPlan)
    general = GeneralPlan(circuit).settle(params, inputs, phases)
    native = Native().settle(circuit, params, inputs, phases)
    for ours, others, theirs in zip(
        native, general, NgSpice().settle(circuit, params, inputs, phases), strict=True
    ):
        assert ours.converged.all() and theirs.converged.all()
        np.testing.assert_allclose(ours.voltages, theirs.voltages, rtol=0, atol=AGREEMENT)
        np.testing.assert_allclose(others.voltages, theirs.voltages, rtol=0, atol=AGREEMENT)
    follower = circuit.node_names.index("a2_1")
    hidden = circuit.node_names.index("n0_1")
    volts = np.asarray(native[0].voltages)
    np.testing.assert_allclose(volts[:, follower], 4.0 * (volts[:, hidden] + 0.02), rtol=LINEAR)


def test_the_factor_enters_the_weights_and_power_balances():
    circuit, params, inputs, _ = two_hidden(reflection=0.5)
    weights = reciprocity_weights(circuit)
    assert [float(np.unique(w).item()) for w in weights.values()] == [64.0, 8.0, 1.0]
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    powers = absorbed_powers(circuit, params, np.asarray(point.voltages), np.zeros((4, 2)))
    scale = np.abs(powers["input sources"]) + np.abs(powers["resistors"])
    assert (np.abs(sum(powers.values())) <= TELLEGEN * scale).all()


def test_centered_ep_has_order_two_against_the_adjoint():
    circuit, params, inputs, targets = two_hidden()
    network, cost = ResistiveNetwork(circuit, Native()), SquaredError()
    exact = Adjoint()(network, params, inputs, targets, cost).gradient
    betas, errors = [2e-4, 4e-4, 8e-4], []
    for beta in betas:
        rule = EquilibriumPropagation("centered", beta)
        found = rule(network, params, inputs, targets, cost).gradient
        errors.append([np.linalg.norm(found[name] - exact[name]) for name in exact])
    slopes = np.polyfit(np.log(betas), np.log(errors), 1)[0]
    np.testing.assert_allclose(slopes, 2.0, atol=SLOPE)


@pytest.mark.ngspice
def test_netlists_are_read_back_with_factor_and_offset():
    circuit, params, inputs, _ = two_hidden(reflection=1.5, offset=-0.03)
    text = in_dialect(netlist(circuit, params, inputs[0], Free()), "ngspice")
    (point,) = Native().settle(circuit, params, inputs[:1], [Free()])
    found = plain_operating_point(text)
    for node in circuit.free_nodes:
        name = circuit.node_names[node]
        assert found[name] == pytest.approx(float(point.voltages[0, node]), abs=AGREEMENT)


def test_the_table_takes_a_name_or_a_number():
    assignment = "circuit.layers.2.reflection="
    loaded = Experiment.load("xor", [f"{assignment}1", "circuit.layers.2.offset=0.01"])
    (amplifiers,) = loaded.circuit.amplifiers
    assert (amplifiers.reflections == 1.0).all() and np.all(amplifiers.offsets == 0.01)
    with pytest.raises(ConfigError, match=r"reflection: .*Did you mean 'kendall'"):
        Experiment.load("xor", [f"{assignment}kendal"])
    with pytest.raises(NetlistError, match="offset nan"):
        two_hidden(offset=float("nan"))
