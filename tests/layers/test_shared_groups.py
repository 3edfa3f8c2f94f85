"""Conductances that layers share by name: one parameter, the sum of the gradients."""

import numpy as np
import pytest

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.bias_currents import BiasCurrents
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.phases import Free
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.spice.writer import netlist
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.contracts import check_substrate
from tests.references import KIRAZ

AGREEMENT = 1e-9
"""Volts between engines that both solve to rounding."""


def tied(shared="tied", biases="shared_bias"):
    layers = []
    for _ in range(2):
        layers += [
            Dense(3, group=shared),
            BiasCurrents(biases),
            AntiparallelDiodes(KIRAZ, 0.1),
            BidirectionalAmplifier(2.0),
        ]
    return layered_circuit([*layers, Dense(2)], num_inputs=3, num_outputs=1)


def drawn(circuit):
    rng = np.random.default_rng(8)
    params = {
        name: rng.uniform(1e-3, 1e-2, shape) * (0.1 if "bias" in name else 1.0)
        for name, shape in circuit.parameter_shapes().items()
    }
    return params, rng.uniform(-1.0, 1.0, (3, 3)), rng.uniform(-0.5, 0.5, (3, 1))


@pytest.mark.slow
def test_shared_parameters_are_there_once_and_have_their_derivatives():
    circuit = tied()
    params, inputs, targets = drawn(circuit)
    assert {k: v.shape for k, v in params.items()} == {
        "tied": (3, 3),
        "shared_bias": (3,),
        "dense_8": (3, 2),
    }
    check_substrate(ResistiveNetwork(circuit, Native()), params, inputs, targets)


@pytest.mark.ngspice
def test_their_gradient_is_the_sum_over_the_layers():
    circuit, apart = tied(), tied("", "")
    params, inputs, targets = drawn(circuit)
    names = {"tied": ("dense_0", "dense_4"), "shared_bias": ("bias_current_1", "bias_current_5")}
    separate = {part: params[name] for name, parts in names.items() for part in parts}
    separate["dense_8"] = params["dense_8"]
    (one,), (two,), (other,) = (
        engine.settle(*network, inputs, [Free()])
        for engine, network in (
            (Native(), (circuit, params)),
            (NgSpice(), (circuit, params)),
            (NgSpice(), (apart, separate)),
        )
    )
    np.testing.assert_allclose(one.voltages, two.voltages, rtol=0.0, atol=AGREEMENT)
    np.testing.assert_array_equal(two.voltages, other.voltages)
    text = netlist(circuit, params, inputs[0], Free(), title="t")
    assert text == netlist(apart, separate, inputs[0], Free(), title="t")
    cost = SquaredError()
    found = Adjoint()(ResistiveNetwork(circuit, Native()), params, inputs, targets, cost).gradient
    parts = Adjoint()(ResistiveNetwork(apart, Native()), separate, inputs, targets, cost).gradient
    for name, (first, second) in names.items():
        np.testing.assert_allclose(found[name], parts[first] + parts[second], rtol=1e-10)


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(NetlistError, match=r"shapes \(3, 3\) and \(3, 2\)"):
        layered_circuit([Dense(3, group="g"), Dense(2, group="g")], num_inputs=3, num_outputs=1)
    with pytest.raises(NetlistError, match="which is that of a group"):
        layered_circuit([Dense(3, group="dense_1"), Dense(2)], num_inputs=3, num_outputs=1)
    with pytest.raises(NetlistError, match="shared group name"):
        layered_circuit([Dense(2, group="g\n.control")], num_inputs=3, num_outputs=1)
