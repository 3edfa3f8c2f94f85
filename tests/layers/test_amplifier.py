"""Bidirectional amplifiers: gain, reflection and the inverted output."""

import numpy as np
import pytest

from eqprop_spice.circuits.reciprocity import reciprocity_weights
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.phases import Free
from tests.references import Kind

LINEAR = 1e-10
"""Relative error of a linear circuit's voltages: rounding."""


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
