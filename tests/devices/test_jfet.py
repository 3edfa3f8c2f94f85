"""The junction field-effect transistor: slopes, closed forms, netlists, and what is refused."""

import dataclasses

import numpy as np
import pytest

from benchmarks.transistor_devices import jfet
from eqprop_spice.devices.jfet import Jfet
from eqprop_spice.engines.nodal.solve import solved
from eqprop_spice.engines.nodal.written import with_values
from eqprop_spice.errors import ConfigError
from eqprop_spice.spice.plain import plain_operating_point
from eqprop_spice.spice.portable import portable_netlist
from eqprop_spice.spice.reader import read_text
from tests.contracts import check_device
from tests.engines.nodal.circuits import circuit_of, text_of

VOLTS = 1e-9
"""As between the engines' networks of other devices."""

CARDS = [
    "V1 vdd 0 10",
    "R1 vdd d 2k",
    "J1 d g s m area=2 m=1.5",
    "R2 s 0 500",
    "R3 g 0 1meg",
    ".model m njf(vto=-2 beta=1m lambda=0.02 rd=20 rs=10 tcv=1m b=0.7 pb=0.8)",
    ".temp 60",
]


@pytest.mark.parametrize("channel", ["njf", "pjf"])
def test_what_every_device_keeps(channel):
    sign = 1.0 if channel == "njf" else -1.0
    rng = np.random.default_rng(0)
    device = Jfet("some", channel, -2.0, 1e-3, 0.02, doping_tail=0.7)
    for low, high in ((1.0, 3.0), (-0.9, -0.2)):
        drops = sign * rng.uniform(low, high, 9), sign * rng.uniform(-1.5, -1.0, 9)
        check_device(device, drops)


def test_source_and_drain_are_exchanged_where_current_flows_back():
    device = Jfet("m", channel_modulation=0.05)
    into, gate = device.currents(np.float64(1.0), np.float64(-0.5))
    back, same = device.currents(np.float64(-1.0), np.float64(-1.5))
    assert back == pytest.approx(-into - gate, rel=1e-12) and same == pytest.approx(gate, rel=1e-9)
    # Saturated, with the gate half way to where the channel closes.
    saturated, _ = Jfet("m").currents(np.float64(5.0), np.float64(-1.0))
    assert saturated == pytest.approx(1e-4, rel=1e-6)


@pytest.mark.ngspice
def test_netlists_with_it_are_solved_and_written_with_other_values():
    deck = read_text(text_of(*CARDS))
    circuit = circuit_of(deck)
    point = solved(circuit)
    theirs = plain_operating_point(text_of(*CARDS))
    for original, name in deck.nodes.items():
        ours = dict(zip(circuit.nodes, point.state[0], strict=False))[name]
        assert ours == pytest.approx(theirs[original], abs=VOLTS), original
    (group,) = circuit.devices
    for field in ("threshold", "area", "saturation_current"):
        law = dataclasses.replace(group.device, **{field: 1.1 * getattr(group.device, field)})
        devices = (dataclasses.replace(group, device=law),)
        changed = dataclasses.replace(circuit, devices=devices)
        written = portable_netlist(with_values(deck, changed, [f"j1:{field}"]))
        again = plain_operating_point(written)
        for name, ours in zip(circuit.nodes, solved(changed).state[0], strict=False):
            if name in deck.nodes.values():
                assert ours == pytest.approx(again[name], abs=VOLTS), (field, name)


@pytest.mark.parametrize(
    ("field", "value"),
    [("transconductance", 0.0), ("channel_modulation", -0.1), ("threshold", np.nan)],
)
def test_values_that_are_no_transistor_are_refused(field, value):
    with pytest.raises(ConfigError, match=f"has {field}"):
        Jfet("m", **{field: value})
    with pytest.raises(ConfigError, match="njf, pjf"):
        Jfet("m", "npn")
    assert isinstance(jfet(np.random.default_rng(0), "m", "pjf", 300.0), Jfet)
