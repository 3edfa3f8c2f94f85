"""Values of devices per instance: one group of unlike devices against a group for each of them."""

import dataclasses

import numpy as np
import pytest

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.groups import Group
from eqprop_spice.circuits.layouts import Pairs
from eqprop_spice.circuits.power import absorbed_powers, co_contents
from eqprop_spice.circuits.reciprocity import branch_weights
from eqprop_spice.devices.diode import PRESETS, Shockley
from eqprop_spice.devices.resistor import FixedResistor, Resistor
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.layered.plan import LayeredPlan
from eqprop_spice.engines.native import plan_for
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.nonidealities.diode_spread import SaturationSpread
from eqprop_spice.phases import Free
from eqprop_spice.spice.writer import device_cards, model_cards

SOLVERS = 1e-9
"""Voltage error [V] between engines; ngspice's Newton steps end at 1e-10 of the voltages."""

ROUNDING = 1e-13
"""Relative error of the same sums in another order."""


def unlike_diodes(**fields) -> Circuit:
    """Return two layers whose diodes differ, node by node, in the given fields."""
    layers = [Dense(5), AntiparallelDiodes(PRESETS["kiraz"]), Dense(2)]
    circuit = layered_circuit(layers, num_inputs=3, num_outputs=1)
    rng = np.random.default_rng(4)
    groups = []
    for group in circuit.groups:
        if not group.device.linear:
            values = {name: rng.uniform(low, high, 5) for name, (low, high) in fields.items()}
            group = dataclasses.replace(group, values=values)
        groups.append(group)
    return dataclasses.replace(circuit, groups=tuple(groups))


def apart(circuit: Circuit) -> Circuit:
    """Return the circuit with a group for every diode."""
    groups: list[Group] = []
    for group in circuit.groups:
        if group.device.linear:
            groups.append(group)
            continue
        one, two = group.layout.pairs()
        groups += [
            Group(f"{group.name}_{i}", device, Pairs(one[i : i + 1], two[i : i + 1]))
            for i, device in enumerate(group.instances({}))
        ]
    return dataclasses.replace(circuit, groups=tuple(groups))


FIELDS = {
    "saturation": {"saturation_current": (1e-7, 1e-5)},
    "emission": {"emission_coefficient": (1.0, 2.0)},
    "resistance": {"series_resistance": (0.0, 20.0), "saturation_current": (1e-7, 1e-5)},
}


def drawn(circuit: Circuit):
    rng = np.random.default_rng(5)
    params = {k: rng.uniform(1e-3, 1e-1, s) for k, s in circuit.parameter_shapes().items()}
    return params, rng.uniform(-3.0, 3.0, (4, 3))


@pytest.mark.ngspice
@pytest.mark.parametrize("which", FIELDS)
def test_engines_agree_on_diodes_that_differ(which: str) -> None:
    circuit = unlike_diodes(**FIELDS[which])
    assert isinstance(plan_for(circuit), LayeredPlan)
    params, inputs = drawn(circuit)
    expected = NgSpice().settle(circuit, params, inputs, [Free()])[0]
    assert expected.converged.all()
    for plan in (plan_for(circuit), GeneralPlan(circuit)):
        (point,) = plan.settle(params, inputs, [Free()])
        np.testing.assert_allclose(point.voltages, expected.voltages, rtol=0.0, atol=SOLVERS)
    (alone,) = GeneralPlan(apart(circuit)).settle(params, inputs, [Free()])
    np.testing.assert_allclose(alone.voltages, expected.voltages, rtol=0.0, atol=SOLVERS)


def test_sums_are_those_of_a_group_for_each_diode() -> None:
    circuit = unlike_diodes(**FIELDS["saturation"])
    other = apart(circuit)
    assert len(circuit.groups) == 4 and len(other.groups) == 12
    params, inputs = drawn(circuit)
    rng = np.random.default_rng(6)
    voltages = circuit.node_voltages(rng.normal(size=(4, len(circuit.free_nodes))), inputs)
    changes, nothing = rng.normal(size=voltages.shape), np.zeros((4, 1))
    for method, arguments in {
        "residual": (voltages, nothing),
        "linearized_residual": (voltages, changes, nothing),
        "balance": (voltages, nothing),
    }.items():
        ours, theirs = (getattr(c, method)(params, *arguments) for c in (circuit, other))
        np.testing.assert_allclose(ours, theirs, rtol=ROUNDING, atol=1e-18)
    for sums in (
        [absorbed_powers(c, params, voltages, nothing)["diodes"] for c in (circuit, other)],
        [
            co_contents(c, params, voltages, nothing, weights=branch_weights(c, c.groups))["diodes"]
            for c in (circuit, other)
        ],
    ):
        np.testing.assert_allclose(*sums, rtol=ROUNDING)


def test_every_set_of_values_has_one_model() -> None:
    builder = CircuitBuilder()
    source, nodes = builder.add_nodes("x", 1), builder.add_nodes("n", 3)
    builder.add_inputs("x", source, np.arange(1))
    builder.add_pairs("r", Resistor(), np.repeat(source, 3), nodes)
    spread = {"saturation_current": [1e-9, 2e-9, 1e-9]}
    builder.add_devices("d", Shockley("d", 1.0), [nodes, [0, 0, 0]], values=spread)
    builder.add_devices("f", FixedResistor(1.0), [nodes, [0, 0, 0]], values={"siemens": [1, 2, 4]})
    circuit = builder.build([(nodes[0], 0)], num_inputs=1)
    assert model_cards(circuit) == [
        ".model d_d_0 d(is=1e-09 n=1.0)",
        ".model d_d_1 d(is=2e-09 n=1.0)",
    ]
    cards = list(device_cards(circuit, {}, linear=False))
    assert cards == ["dd_0 n_0 0 d_d_0", "dd_1 n_1 0 d_d_1", "dd_2 n_2 0 d_d_0"]
    resistors = list(device_cards(circuit, {"r": np.full(3, 0.5)}, linear=True))
    assert resistors[3:] == ["rf_0 n_0 0 1.0", "rf_1 n_1 0 0.5", "rf_2 n_2 0 0.25"]


def test_a_spread_keeps_its_groups_and_heats_with_them() -> None:
    circuit = layered_circuit(
        [Dense(4), AntiparallelDiodes(PRESETS["kiraz"]), Dense(2)], num_inputs=2, num_outputs=1
    )
    spread = SaturationSpread(0.5, seed=3).on_circuit(circuit)
    assert [g.name for g in spread.groups] == [g.name for g in circuit.groups]
    group = spread.groups[1]
    one_by_one = [device.at_temperature(350.0) for device in group.instances({})]
    hot = group.at_temperature(350.0).instances({})
    for field in ("saturation_current", "emission_coefficient"):
        ours, theirs = ([getattr(d, field) for d in devices] for devices in (hot, one_by_one))
        np.testing.assert_allclose(ours, theirs, rtol=ROUNDING)


def test_values_that_are_no_use_are_refused_by_name() -> None:
    builder = CircuitBuilder()
    nodes = builder.add_nodes("n", 2)
    diode, ends = PRESETS["kiraz"], [nodes, [0, 0]]
    with pytest.raises(NetlistError, match="'area', which a Shockley does not have"):
        builder.add_devices("d", diode, ends, values={"area": [1.0, 2.0]})
    with pytest.raises(NetlistError, match="one number for each"):
        builder.add_devices("d", diode, ends, values={"saturation_current": [1e-9]})
    with pytest.raises(NetlistError, match="anode, cathode"):
        builder.add_devices("d", diode, [nodes])
    with pytest.raises(ConfigError, match=r"saturation_current -1\.0"):
        dataclasses.replace(diode, saturation_current=np.array([1.0, -1.0]))
