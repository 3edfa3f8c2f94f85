"""Netlists of users as cards: values, names, sources, phases of junctions, and what is refused."""

import math

import numpy as np
import pytest

from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.lagrangian.from_netlist import cards_of, self_contained
from eqprop_spice.phases import Free
from eqprop_spice.results.run import Run, train
from eqprop_spice.spice.reader import read_text
from eqprop_spice.substrates.ac_circuit import AcCircuit
from eqprop_spice.substrates.trajectory import Trajectory

FILTER = """A filter behind 50 ohms, its inductors coupled
Vs in 0 dc 0 ac 1
Rs in 1 50
C1 1 0 2n
L1 1 2 5u
X1 2 0 half
Rl 2 0 {load}
.param load=75
.subckt half a b
C1 a b 1n
L1 a m 3u
C2 m b 4n
.ends
K1 L1 X1.L1 0.2
.ac lin 1 1meg 1meg
.end
"""

JUNCTIONS = """Two junctions, of which one has its phase in a subcircuit
I1 0 a pwl(0 0 1 1)
C1 a 0 1.0
C2 b 0 1.2
L1 a b 2
B1 0 a i = 1.1*sin(-v(fa))
G1 0 fa a 0 1
Cf fa 0 1 ic=0
Xj b a jj
.subckt jj p m
Gp 0 f p m 3
Cp f 0 3
Bj p m i={0.8}*sin(v(f))
.ends
.tran 1 10 uic
.end
"""


def cards(text, **wanted):
    return cards_of(read_text(text), **{"trainable": ("c*",), **wanted})


def swapped(text, *pairs):
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def test_a_filter_has_the_phasors_of_the_netlist():
    text = FILTER.replace("X1.L1", "L9").replace("X1 2 0 half", "L9 2 4 3u\nC9 4 0 4n\nC8 2 0 1n")
    omega, ohm = 1e7, 50.0
    found = cards(text, drives=("VS",), resistance=ohm, frequency=omega)
    assert found.drives == ("n1",)
    circuit = AcCircuit(found.elements, found.drives, ("n2",), ohm, omega)
    params = {"capacitance": np.ones(3)}
    # 1 V behind 50 ohm is a current of 20 mA, 1 in units of 1 V / 50 ohm.
    (settled,) = circuit.settle(params, np.array([[0.7, 1.0, 0.0]]), [Free()])
    jw = 0.7j * omega
    inductances = np.array([[5e-6, 0.2 * math.sqrt(15e-12)], [0.2 * math.sqrt(15e-12), 3e-6]])
    across = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
    y = across.T @ np.linalg.inv(jw * inductances) @ across
    y += np.diag([1 / 50 + jw * 2e-9, 1 / 75 + jw * 1e-9, jw * 4e-9])
    wanted = np.linalg.solve(y, [1 / 50, 0.0, 0.0])
    state = np.asarray(settled.state)[0]
    np.testing.assert_allclose(state[0] + 1j * state[1], wanted, rtol=1e-12)


def test_subcircuits_have_names_that_cards_can_have():
    text = swapped(FILTER, ("K1 L1 X1.L1 0.2\n", ""))
    found = cards(text, trainable=("x1.*", "L1"), drives=("vs",))
    AcCircuit(found.elements, found.drives, ("n2",)).check()
    assert "c1_x1 n2 0 *1e-09" in found.elements
    assert "rl n2 0 75.0" in found.elements
    assert "c1 n1 0 2e-09" in found.elements
    assert "rs 0 n1 50.0" in found.elements


def test_junctions_have_the_phase_of_their_flux():
    found = cards(JUNCTIONS, trainable=("*",), drives=("i1",))
    assert found.elements == (
        "c1 a 0 *1.0",
        "c2 b 0 *1.2",
        "l1 a b *2.0",
        "j1 0 a *1.1",
        "j_xj b a *0.8",
    )
    assert found.drives == ("a",)


def test_scales_leave_the_motion_as_it_is():
    k, ohm, omega = 2.0 * math.pi / 2.067833848e-15, 7.0, 3e11
    text = swapped(
        JUNCTIONS,
        ("C1 a 0 1.0", f"C1 a 0 {1.0 / (ohm * omega)!r}"),
        ("C2 b 0 1.2", f"C2 b 0 {1.2 / (ohm * omega)!r}"),
        ("L1 a b 2", f"L1 a b {2.0 * ohm / omega!r}"),
        ("1.1*sin", f"{1.1 * omega / (k * ohm)!r}*sin"),
        ("{0.8}*", f"{0.8 * omega / (k * ohm)!r}*"),
        ("G1 0 fa a 0 1", f"G1 0 fa a 0 {k!r}"),
        ("Gp 0 f p m 3", f"Gp f 0 m p {3 * k!r}"),
    )
    found = cards(text, trainable=("*",), drives=("i1",), resistance=ohm, frequency=omega)
    wanted = cards(JUNCTIONS, trainable=("*",), drives=("i1",))
    for one, two in zip(found.elements, wanted.elements, strict=True):
        *places, value = one.split()
        *expected, exact = two.split()
        assert places == expected
        assert float(value[1:]) == pytest.approx(float(exact[1:]), rel=1e-12)


def test_the_netlist_of_an_orbit_is_read_back_to_the_same_orbit():
    system = Trajectory(
        (
            "c1 a 0 1",
            "c2 b 0 1.2",
            "j1 a 0 1.1",
            "j2 b a 0.8",
            "l1 a b 2",
            "l2 a 0 3",
            "k1 l1 l2 .3",
        ),
        ("b",),
        ("a",),
        period=5.0,
        steps=50,
    )
    drive = 0.3 * np.cos(2.0 * np.pi * system.midpoints / 5.0)[None]
    text = system.netlist({}, drive, Free(), "orbit")
    found = cards(text, drives=("i_a",))
    again = Trajectory(found.elements, ("n_b",), found.drives, period=5.0, steps=50)
    params = {"capacitance": np.ones(2)}
    (one,), (two,) = system.settle({}, drive, [Free()]), again.settle(params, drive, [Free()])
    np.testing.assert_allclose(again.outputs(two.state), system.outputs(one.state), atol=1e-12)


@pytest.mark.parametrize(
    ("text", "changes", "told"),
    [
        (FILTER, {}, "netlist:2: 'vs': every source must be in drives"),
        (FILTER, {"drives": ("vs", "vs")}, "must be in drives once"),
        (FILTER, {"drives": ("v",)}, "drives names 'v', which is no source; did you mean 'vs'"),
        (FILTER, {"trainable": ()}, "trainable is empty"),
        (FILTER, {"trainable": ("q*",), "drives": ("vs",)}, r"trainable 'q\*' matches no element"),
        (FILTER, {"trainable": ("rs",), "drives": ("vs",)}, "'rs': the resistor of a source"),
        (swapped(FILTER, ("Rs in 1", "Rx in 0 50\nRs in 1")), {"drives": ("vs",)}, "one resistor"),
        (swapped(FILTER, ("Vs in 0", "Vs 0 in")), {"drives": ("vs",)}, "one resistor"),
        (swapped(JUNCTIONS, ("I1 0 a", "I1 a 0")), {"drives": ("i1",)}, "come from the ground"),
        (swapped(JUNCTIONS, ("Cf fa 0 1", "Cf fa 0 2")), {"drives": ("i1",)}, "must have the same"),
        (
            swapped(JUNCTIONS, ("G1 0 fa", "G1 fa 0")),
            {"drives": ("i1",)},
            "not that of the voltage",
        ),
        (swapped(JUNCTIONS, ("fa a 0 1", "fa b 0 1")), {"drives": ("i1",)}, "not that of the volt"),
        (swapped(JUNCTIONS, ("G1 0 fa a 0 1\n", "")), {"drives": ("i1",)}, "no integral"),
        (
            swapped(JUNCTIONS, ("Cf fa 0", "Rf fa 0 1\nCf fa 0")),
            {"drives": ("i1",)},
            "networks are",
        ),
        (
            swapped(FILTER, ("Rl 2 0 {load}", "D1 2 0 m\n.model m d")),
            {},
            "'d1': these networks are",
        ),
    ],
)
def test_other_netlists_are_refused(text, changes, told):
    text = text.replace("K1 L1 X1.L1 0.2\n", "")
    with pytest.raises((ConfigError, NetlistError), match=told):
        cards(text, **changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"elements": ("c1 a 0",)}, "two systems"),
        ({"path": 3}, "name of a file"),
        ({"path": "none.cir"}, "not a file"),
        ({"trainable": "c*"}, "list of names"),
        ({"resistance": 0.0}, "must be positive"),
        ({"output_nodes": ("c",)}, "no node 'c'"),
    ],
)
def test_bad_arguments_are_refused(changes, told, tmp_path):
    (tmp_path / "x.cir").write_text(JUNCTIONS)
    given = {"path": "x.cir", "trainable": ("c*",), "drives": ("i1",), "output_nodes": ("B",)}
    found = self_contained(given | {"steps": 50}, tmp_path)
    assert found["output_nodes"] == ("b",)
    assert set(found) == {"elements", "drives", "output_nodes", "steps"}
    with pytest.raises((ConfigError, NetlistError), match=told):
        self_contained(given | changes, tmp_path)


FILTER_EXPERIMENT = """
name = "filter"

[dataset]
kind = "responses.Ladder"
order = 3

[substrate]
kind = "ac_circuit.AcCircuit"
path = "filter.cir"
trainable = ["c*", "l*"]
drives = ["vs"]
output_nodes = ["2"]
resistance = 50.0
frequency = 1e7

[initializer]
kind = "uniform.Uniform"
lower = 1.0
upper = 1.0

[rule]
kind = "equilibrium_propagation.EquilibriumPropagation"

[cost]
kind = "magnitude.MagnitudeError"

[optimizer]
kind = "adam"
learning_rate = 0.05

[training]
epochs = 60
"""

PAIR_EXPERIMENT = """
name = "pair"

[dataset]
kind = "waveforms.Waveforms"
drives = [[[0.2, 0.0]]]
targets = [[[0.1, 0.0]]]
steps = 40

[substrate]
kind = "trajectory.Trajectory"
path = "pair.cir"
trainable = ["*"]
drives = ["i1"]
output_nodes = ["b"]
period = 5.0
steps = 40

[initializer]
kind = "uniform.Uniform"
lower = 1.0
upper = 1.0

[rule]
kind = "equilibrium_propagation.EquilibriumPropagation"
beta = 0.01

[cost]
kind = "mean_squared_error.MeanSquaredError"

[optimizer]
kind = "adam"
learning_rate = 0.03

[training]
epochs = 20
"""


def learned(content, tmp_path):
    """Return a finished run and the losses at its start and end."""
    (tmp_path / "filter.cir").write_text(swapped(FILTER, ("X1.L1 0.2", "X1.L1 0.05")))
    (tmp_path / "pair.cir").write_text(JUNCTIONS)
    (tmp_path / "experiment.toml").write_text(content)
    experiment = Experiment.load(tmp_path / "experiment.toml")
    before = experiment.trainer.evaluate(experiment.initial_params(), test=False)["train_loss"]
    for name in ("filter.cir", "pair.cir"):
        (tmp_path / name).unlink()
    run = train(experiment, tmp_path / "run")
    return run, before, experiment.trainer.evaluate(run.params, test=False)["train_loss"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(FILTER_EXPERIMENT, id="ac", marks=pytest.mark.slow),
        pytest.param(PAIR_EXPERIMENT, id="trajectory"),
    ],
)
def test_a_netlist_trains_from_its_own_values_and_the_run_needs_it_no_more(
    content, tmp_path, monkeypatch
):
    monkeypatch.setattr("eqprop_spice.results.plots.save_figures", lambda *_, **__: [])
    run, before, after = learned(content, tmp_path)
    assert after < 0.8 * before
    assert "path" not in (Run.open(run.path).experiment.table.substrate or {})
    assert (run.path / "nudged.cir").is_file()
