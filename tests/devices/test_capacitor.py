"""Capacitors change no operating point, whatever finds it."""

import numpy as np
import pytest

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.circuits.power import absorbed_powers
from eqprop_spice.circuits.reciprocity import reciprocity_weights
from eqprop_spice.devices.capacitor import Capacitor
from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.layered.chain import recognize
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.phases import Force, Free
from eqprop_spice.spice.writer import netlist
from tests.references import run_ngspice


def network(*, capacitors: bool) -> Circuit:
    """Return inputs, a hidden layer with diodes and amplifiers, and outputs."""
    builder = CircuitBuilder()
    x, h, o, y = (builder.add_nodes(name, count) for name, count in (("x", 2), *NODES))
    builder.add_inputs("x", x, np.arange(2))
    builder.add_dense("first", Resistor(), x, h)
    builder.add_pairs("limit", PRESETS["kiraz"], h, np.full(3, GROUND))
    builder.add_amplifiers("amp", h, o, 4.0, 0.25)
    builder.add_dense("second", Resistor(), o, y)
    if capacitors:
        grounds = np.full(3, GROUND)
        builder.add_devices("store", Capacitor(1e-12), [h, grounds], values={"farads": FARADS})
        builder.add_dense("stray", Capacitor(1e-13), h, y)
    return builder.build([(y[0], y[1])], num_inputs=2)


NODES = (("h", 3), ("o", 3), ("y", 2))

FARADS = np.array([1e-12, 2e-12, 5e-13])


@pytest.mark.ngspice
def test_capacitors_change_no_operating_point(tmp_path) -> None:
    plain, loaded = network(capacitors=False), network(capacitors=True)
    rng = np.random.default_rng(0)
    params = {k: rng.uniform(1e-3, 1e-2, s) for k, s in plain.parameter_shapes().items()}
    inputs, push = rng.uniform(-1.0, 1.0, (3, 2)), rng.normal(size=(3, 1))
    # The layered plan is not lost to them.
    assert recognize(plain) is not None and recognize(loaded) is not None
    for engine in (Native(), NgSpice()):
        points = [
            engine.settle(circuit, params, inputs, [Free(), Force(1e-5 * push)])
            for circuit in (plain, loaded)
        ]
        for one, other in zip(*points, strict=True):
            np.testing.assert_array_equal(one.voltages, other.voltages)
        responses = [
            np.asarray(engine.respond(circuit, params, inputs, points[0][0].voltages, push))
            for circuit in (plain, loaded)
        ]
        np.testing.assert_array_equal(responses[0], responses[1])
    weights = [reciprocity_weights(circuit) for circuit in (plain, loaded)]
    assert all(np.array_equal(weights[0][k], weights[1][k]) for k in params)
    voltages = np.asarray(points[0][0].voltages)
    powers = [absorbed_powers(c, params, voltages, np.zeros((3, 1))) for c in (plain, loaded)]
    assert all(np.array_equal(powers[0][k], powers[1][k]) for k in powers[0])
    text = netlist(loaded, params, inputs[0], Free())
    assert "cstore_1 h_1 0 2e-12" in text and "cstray_2_1 h_2 y_1 1e-13" in text
    printed = run_ngspice(text, tmp_path)
    for node in loaded.free_nodes:
        assert printed[f"v({loaded.node_names[node]})"] == pytest.approx(
            voltages[0, node], abs=1e-9
        )


@pytest.mark.parametrize("dense", [False, True])
def test_a_node_that_only_capacitors_reach_floats(dense: bool) -> None:
    builder = CircuitBuilder()
    x, n = builder.add_nodes("x", 1), builder.add_nodes("n", 2)
    builder.add_inputs("x", x, np.arange(1))
    builder.add_pairs("r", Resistor(), x, n[:1])
    add = builder.add_dense if dense else builder.add_pairs
    add("c", Capacitor(1e-12), n[:1], n[1:])
    with pytest.raises(NetlistError, match="'n_1' floats"):
        builder.build([(n[0], GROUND)], num_inputs=1)


@pytest.mark.parametrize("farads", [0.0, -1e-12, np.inf, np.array([1e-12, np.nan])])
def test_what_is_no_capacitance_is_refused(farads) -> None:
    with pytest.raises(ConfigError, match="finite and positive"):
        Capacitor(farads)
