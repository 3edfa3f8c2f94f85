"""The ngspice engine: against an independent Newton method, and where ngspice gives up."""

import dataclasses
import logging
import math
import re
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.diode import PRESETS, Shockley
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import LOOSEST, NgSpice
from eqprop_spice.engines.ngspice.ladder import RUNGS
from eqprop_spice.engines.ngspice.netlist import FoldedNetlist
from eqprop_spice.engines.ngspice.simulation import Simulation
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.phases import AbstractNudge, ConstantNudge, Force, Free, Spring
from eqprop_spice.spice.session import Session
from eqprop_spice.spice.writer import netlist
from tests.references import KIRAZ, Layered, bisect, branch_currents, diode_law

pytestmark = pytest.mark.ngspice

SOLVER = 1e-9
"""Largest voltage error [V]. Newton steps end below 1e-10 of the voltages, and converge
quadratically there; the largest error seen in these tests is 1e-11 V."""

KIRCHHOFF = 1e-8
"""Violation of Kirchhoff's law relative to the currents of a node; the engine accepts 1e-9 of a
bound on them."""

STEEP = Shockley("steep", 1e-14)
"""A junction diode whose current changes by e every 26 mV: what makes chains hard."""


def break_rungs(monkeypatch: pytest.MonkeyPatch, broken: slice) -> None:
    """Let rungs of the ladder find nothing."""
    rungs = list(RUNGS)
    rungs[broken] = [lambda *_: None] * len(rungs[broken])
    monkeypatch.setattr("eqprop_spice.engines.ngspice.ladder.RUNGS", rungs)


def well_posed(layered: Layered, seed: int) -> dict[str, np.ndarray]:
    """Return conductances with one operating point, for `published` amplifiers too.

    There, sum g_in - sum g_out > 0 at every hidden node is sufficient, so that conductances grow
    towards the inputs.
    """
    params = layered.draw(seed, 1e-3, 1e-2)
    if layered.reflection == "published":
        for depth, name in enumerate(reversed(params)):
            params[name] = params[name].mean() * (1 + params[name] / 1e-2) * 20.0**depth
    return params


def columns(layered: Layered, circuit: Circuit) -> list[int]:
    return [circuit.node_names.index(name) for name in layered.node_names()]


def compare(layered: Layered, params, inputs, phases, engine: NgSpice | None = None) -> None:
    """Settle, and compare every node in every phase with the independent solution."""
    circuit = layered.circuit()
    points = (engine or NgSpice()).settle(circuit, params, inputs, phases)
    assert len(points) == len(phases)
    for phase, point in zip(phases, points, strict=True):
        assert point.converged.all()
        assert (point.residual < NgSpice().residual_tolerance).all()
        currents = phase.source_currents(len(inputs), layered.num_outputs)
        expected = layered.solve(params, inputs, currents, phase.conductance)
        np.testing.assert_allclose(
            point.voltages[:, columns(layered, circuit)], expected, rtol=0.0, atol=SOLVER
        )
        np.testing.assert_allclose(
            circuit.outputs(point.voltages), layered.read(expected), rtol=0.0, atol=2 * SOLVER
        )


@pytest.mark.parametrize("hidden", [(2,), (3, 2), (2, 3, 2)], ids=len)
@pytest.mark.parametrize("diode", ["kiraz", "d1n4148", "almost_ideal"])
@pytest.mark.parametrize("kind", ["transformer", "kendall", "published"])
def test_operating_points_equal_those_of_an_independent_newton_method(hidden, diode, kind):
    layered = Layered(hidden, num_outputs=2, reflection=kind, diode=PRESETS[diode], gain=2.0)
    params, inputs = well_posed(layered, 0), layered.inputs(1, 2)
    force = Force(np.array([[1e-3, -1e-7], [0.0, -3e-3]]))
    targets = np.array([[1.0, -1.0], [0.3, 0.0]])
    compare(layered, params, inputs, [Free(), force])
    compare(layered, params, inputs, [Spring(-1e-4, targets), Spring(1e-4, targets)])


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("differential", [False, True])
def test_every_shape_of_a_layered_circuit(inverted, doubled, differential):
    layered = Layered(
        (2, 3),
        num_inputs=3,
        num_outputs=2,
        inverted=inverted,
        doubled_inputs=doubled,
        differential=differential,
        bias=(1.0, -1.0),
    )
    phases = [Free(), Force(np.full((4, 2), 1e-3)), Spring(1e-3, np.ones((4, 2)))]
    compare(layered, layered.draw(5), layered.inputs(6, 4), phases)


def test_gains_and_inputs_of_any_size():
    for gain, amplitude in ((1e4, 1.0), (0.1, 1e5), (-3.0, 2.0)):
        layered = Layered((3,), gain=gain)
        compare(layered, layered.draw(7, 1e-5, 1.0), layered.inputs(8, 4, amplitude), [Free()])


def test_a_nudge_sees_the_free_outputs_of_its_own_sample():
    layered = Layered((3,), num_outputs=2)
    circuit, params, inputs = layered.circuit(), layered.draw(1), layered.inputs(2, 5)
    targets, beta = np.random.default_rng(3).normal(size=(5, 2)), 1e-3
    nudge = ConstantNudge(SquaredError(), targets, beta)
    opposite = ConstantNudge(SquaredError(), targets, -beta)
    free, one, two = NgSpice().settle(circuit, params, inputs, [Free(), nudge, opposite])
    currents = beta * (targets - layered.read(layered.solve(params, inputs)))
    np.testing.assert_allclose(
        circuit.outputs(free.voltages), layered.read(layered.solve(params, inputs)), atol=SOLVER
    )
    for point, sign in ((one, 1.0), (two, -1.0)):
        expected = layered.read(layered.solve(params, inputs, sign * currents))
        np.testing.assert_allclose(circuit.outputs(point.voltages), expected, atol=2 * SOLVER)


@pytest.mark.parametrize("diode", PRESETS.values(), ids=PRESETS.keys())
def test_diodes_may_stand_at_inputs(diode):
    """A node between a resistor and a diode that both start at the input, by bisection."""
    builder = CircuitBuilder()
    source, node = builder.add_node("x"), builder.add_node("n")
    builder.add_inputs("x", [source], np.array([0]))
    builder.add_pairs("r", Resistor(), [source, node], [node, GROUND])
    builder.add_pairs("d", diode, [source], [node])
    circuit = builder.build([(node, GROUND)], num_inputs=1)
    g, inputs = np.array([1e-3, 4e-3]), np.array([[-3.0], [0.5], [2.0], [0.1]])
    (point,) = NgSpice().settle(circuit, {"r": g}, inputs, [Free()])
    assert point.converged.all()
    for x, v in zip(inputs[:, 0], point.voltages[:, node], strict=True):

        def leaving(n, x=x):
            return g[0] * (n - x) + g[1] * n - float(diode_law(diode, x - n)[0])

        exact = bisect(leaving, min(x, 0.0) - 1e-3, max(x, 0.0) + 1e-3)
        assert v == pytest.approx(exact, rel=0.0, abs=SOLVER)


def test_order_and_company_of_a_sample_do_not_matter():
    layered = Layered((3, 2))
    circuit, params, inputs = layered.circuit(), layered.draw(1), layered.inputs(2, 12)
    order = np.random.default_rng(3).permutation(12)
    phases = [Free(), ConstantNudge(SquaredError(), np.ones((12, 1)), 1e-4)]
    together = NgSpice().settle(circuit, params, inputs, phases)
    shuffled = NgSpice().settle(circuit, params, inputs[order], phases)
    for one, two in zip(together, shuffled, strict=True):
        np.testing.assert_allclose(two.voltages, one.voltages[order], rtol=0.0, atol=SOLVER)
    (alone,) = NgSpice().settle(circuit, params, inputs[4:5], [Free()])
    np.testing.assert_allclose(alone.voltages[0], together[0].voltages[4], rtol=0.0, atol=SOLVER)


@given(
    hidden=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    kind=st.sampled_from(["transformer", "kendall", "published"]),
    diode=st.sampled_from(sorted(PRESETS)),
    doubled=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_random_circuits_satisfy_kirchhoffs_law(hidden, kind, diode, doubled, seed):
    layered = Layered(
        tuple(hidden), reflection=kind, diode=PRESETS[diode], doubled_inputs=doubled, gain=2.0
    )
    circuit, params, inputs = layered.circuit(), well_posed(layered, seed), layered.inputs(seed, 2)
    (point,) = NgSpice().settle(circuit, params, inputs, [Free()])
    assert point.converged.all()
    for x, v in zip(inputs, point.voltages[:, columns(layered, circuit)], strict=True):
        residual = layered.kirchhoff(list(params.values()), x, v, np.zeros(layered.sizes[-1]))
        scale = max(g.max() for g in params.values()) * np.abs(v).max()
        assert np.abs(residual).max() <= KIRCHHOFF * scale


def chain(num_diodes: int, diode: Shockley = STEEP) -> Circuit:
    """Return source - R - D - ... - D - R - ground, read at the last resistor."""
    builder = CircuitBuilder()
    source, nodes = builder.add_node("x"), builder.add_nodes("n", num_diodes + 1)
    builder.add_inputs("x", [source], np.array([0]))
    builder.add_pairs("r", Resistor(), [source, nodes[-1]], [nodes[0], GROUND])
    builder.add_pairs("d", diode, nodes[:-1], nodes[1:])
    return builder.build([(int(nodes[-1]), GROUND)], num_inputs=1)


CHAIN_PARAMS = {"r": np.array([1e-3, 1e-3])}
CHAIN_INPUTS = np.array([[5.0], [-5.0], [0.3], [50.0], [1.0]])


def chain_current(num_diodes: int, x: float) -> float:
    """Return the current of a chain by bisection of the voltage across one of its diodes."""
    g = CHAIN_PARAMS["r"]

    def balance(u: float) -> float:
        current = float(diode_law(STEEP, u)[0])
        return num_diodes * u + current / g[0] + current / g[1] - x

    u = bisect(balance, min(x, 0.0) - 1e-6, min(max(x, 0.0), 1.0) + 1e-6)
    return float(diode_law(STEEP, u)[0])


@pytest.mark.parametrize("num_diodes", [1, 2, 3, 5, 10])
def test_chains_of_steep_diodes_are_solved(num_diodes):
    """No conductance but that of the junctions holds the nodes between them."""
    circuit = chain(num_diodes)
    (point,) = NgSpice().settle(circuit, CHAIN_PARAMS, CHAIN_INPUTS, [Free()])
    assert point.converged.all()
    expected = [1e3 * chain_current(num_diodes, x) for x in CHAIN_INPUTS[:, 0]]
    np.testing.assert_allclose(circuit.outputs(point.voltages)[:, 0], expected, atol=SOLVER)


@pytest.mark.parametrize("num_broken", range(len(RUNGS)))
def test_every_rung_of_the_ladder_solves_on_its_own(num_broken, monkeypatch):
    """Rungs below are made to fail; the shunt of one of them must leave no trace."""
    break_rungs(monkeypatch, slice(num_broken))
    circuit, inputs = chain(2), np.array([[5.0], [3.0], [50.0]])
    nudge = Force(np.full((3, 1), 1e-4))
    free, nudged = NgSpice(warm=False).settle(circuit, CHAIN_PARAMS, inputs, [Free(), nudge])
    assert free.converged.all() and nudged.converged.all()
    expected = [1e3 * chain_current(2, x) for x in inputs[:, 0]]
    np.testing.assert_allclose(circuit.outputs(free.voltages)[:, 0], expected, atol=SOLVER)
    # The output sees its own 1 mS and, through the chain, somewhat less than another.
    change = circuit.outputs(nudged.voltages - free.voltages)[:, 0]
    assert (change > 0.05).all() and (change < 0.06).all()


def test_a_circuit_at_rest_is_at_an_operating_point():
    """Without inputs there are no currents to compare a violation of Kirchhoff's law with."""
    layered = Layered((2,), bias=(0.0,))
    circuit, inputs = layered.circuit(), np.array([[1.0, -1.0], [0.0, 0.0], [2.0, 0.5]])
    (point,) = NgSpice().settle(circuit, layered.draw(0), inputs, [Free()])
    assert point.converged.all()
    np.testing.assert_allclose(point.voltages[1, circuit.free_nodes], 0.0, atol=SOLVER)


def test_a_source_with_a_diode_at_rest_is_at_an_operating_point():
    builder = CircuitBuilder()
    source, node = builder.add_node("x"), builder.add_node("n")
    builder.add_inputs("x", [source], np.array([0]))
    builder.add_pairs("r", Resistor(), [source, node], [node, GROUND])
    builder.add_pairs("d", KIRAZ, [source], [node])
    circuit = builder.build([(node, GROUND)], num_inputs=1)
    inputs = np.array([[1.0], [0.0], [-1.0]])
    (point,) = NgSpice().settle(circuit, {"r": np.array([1e-3, 4e-3])}, inputs, [Free()])
    assert point.converged.all()
    np.testing.assert_allclose(point.voltages[1], 0.0, atol=SOLVER)


def test_cold_points_pass_their_free_outputs_to_the_nudge():
    layered = Layered((2,))
    circuit, params, inputs = layered.circuit(), layered.draw(1), layered.inputs(2, 3)
    phases = [Free(), ConstantNudge(SquaredError(), np.ones((3, 1)), 1e-3)]
    swept = NgSpice().settle(circuit, params, inputs, phases)
    climbed = NgSpice(warm=False).settle(circuit, params, inputs, phases)
    for one, two in zip(swept, climbed, strict=True):
        np.testing.assert_allclose(two.voltages, one.voltages, rtol=0.0, atol=SOLVER)


def unsolvable() -> tuple[Circuit, dict[str, np.ndarray]]:
    """Return a circuit that has no operating point for large positive inputs.

    Its amplifier, of the `published` kind, acts as a negative conductance -G at node n; below, a
    rectifier conducts. The current that leaves n has a maximum, and an input may exceed it.
    """
    builder = CircuitBuilder()
    source, node, out, y = (builder.add_node(name) for name in ("x", "n", "a", "y"))
    builder.add_inputs("x", [source], np.array([0]))
    builder.add_amplifiers("amp", np.array([node]), np.array([out]), 2.0, -0.5)
    builder.add_pairs("r", Resistor(), [source, out, y], [node, y, GROUND])
    builder.add_pairs("d", KIRAZ, [GROUND], [node])
    circuit = builder.build([(y, GROUND)], num_inputs=1)
    # g_in = 1 mS, and 10 mS in series with 10 mS make -5 mS: together -4 mS at the node.
    return circuit, {"r": np.array([1e-3, 1e-2, 1e-2])}


def test_a_sample_without_operating_point_is_marked_and_spares_the_others(caplog):
    circuit, params = unsolvable()
    inputs = np.array([[-0.5], [-1.0], [8.0], [-2.0], [-0.1]])
    phases = [Free(), ConstantNudge(SquaredError(), np.zeros((5, 1)), 1e-5)]
    with caplog.at_level(logging.WARNING):
        free, nudged = NgSpice().settle(circuit, params, inputs, phases)
    assert "Sample 2 did not converge" in caplog.text
    for point in (free, nudged):
        np.testing.assert_array_equal(point.converged, [True, True, False, True, True])
        assert point.num_unconverged == 1
        assert np.isnan(point.voltages[2]).all()
        assert np.isfinite(point.voltages[[0, 1, 3, 4]]).all()
        assert point.residual[2] > NgSpice().residual_tolerance
        assert int(point.worst_node[2]) in circuit.free_nodes
    good = [0, 1, 3, 4]
    (alone,) = NgSpice().settle(circuit, params, inputs[good], [Free()])
    np.testing.assert_allclose(free.voltages[good], alone.voltages, rtol=0.0, atol=SOLVER)
    for v in free.voltages[good]:
        leaving = {n: 0.0 for n in range(circuit.num_nodes)}
        for _, a, b, current in branch_currents(circuit, params, v):
            leaving[a] += current
            leaving[b] -= current
        assert abs(leaving[2] - 0.5 * leaving[3]) < 1e-9
        assert abs(leaving[4]) < 1e-9


def test_several_failures_in_one_batch_are_all_named(caplog):
    circuit, params = unsolvable()
    inputs = np.array([[8.0], [-1.0], [9.0], [-0.1], [8.0]])
    with caplog.at_level(logging.WARNING):
        (point,) = NgSpice().settle(circuit, params, inputs, [Free()])
    np.testing.assert_array_equal(point.converged, [False, True, False, True, False])
    assert [f"Sample {k} " in caplog.text for k in range(5)] == (~point.converged).tolist()


def test_the_engine_decides_by_kirchhoffs_law_and_not_by_what_ngspice_says(monkeypatch):
    """A voltage off by a microvolt is no operating point, though ngspice reports success."""
    layered = Layered((2,))
    circuit, params, inputs = layered.circuit(), layered.draw(1), layered.inputs(2, 3)
    read = Simulation.read

    def disturbed(self, num_points, *, at_least=False):
        values = read(self, num_points, at_least=at_least)
        if values is not None:
            values[:, 0] += 1e-6
        return values

    monkeypatch.setattr(Simulation, "read", disturbed)
    break_rungs(monkeypatch, slice(1, None))
    (point,) = NgSpice().settle(circuit, params, inputs, [Free()])
    assert not point.converged.any()
    assert np.isnan(point.voltages).all()


@pytest.mark.parametrize(
    ("options", "note"),
    [("noopiter", "gmin stepping"), ("noopiter gminsteps=0", "source stepping")],
)
def test_notes_of_stepping_are_no_errors(options, note, monkeypatch):
    """ngspice writes them to stderr, as it does errors, while stepping succeeds."""
    lines = FoldedNetlist.lines
    monkeypatch.setattr(
        FoldedNetlist, "lines", lambda self, tight, *more: lines(self, f"{tight} {options}", *more)
    )
    break_rungs(monkeypatch, slice(1, None))
    layered = Layered((2,))
    circuit, params, inputs = layered.circuit(), layered.draw(1), layered.inputs(2, 3)
    (point,) = NgSpice(warm=False).settle(circuit, params, inputs, [Free()])
    notes = [m for m in Session.do(Session.messages) if note in m.lower()]
    assert notes and all(m.startswith("stderr") for m in notes)
    assert point.converged.all()
    expected = layered.solve(params, inputs)
    np.testing.assert_allclose(
        point.voltages[:, columns(layered, circuit)], expected, rtol=0.0, atol=SOLVER
    )


def test_repeated_settling_gives_the_same_bits():
    layered = Layered((2,))
    circuit, params, inputs = layered.circuit(), layered.draw(1), layered.inputs(2, 3)
    one, two = (NgSpice().settle(circuit, params, inputs, [Free()])[0] for _ in range(2))
    np.testing.assert_array_equal(one.voltages, two.voltages)


def test_a_new_circuit_replaces_the_last_one():
    """The decks of circuits are cached by identity; their netlists are not mixed up."""
    for seed in range(3):
        for layered in (Layered((2,)), Layered((3,)), Layered((2,), bias=(2.0,))):
            compare(layered, layered.draw(seed), layered.inputs(seed, 2), [Free()])


def test_bad_arguments_are_refused_before_ngspice_sees_them():
    layered = Layered((2,))
    circuit, params, inputs = layered.circuit(), layered.draw(1), layered.inputs(2, 3)
    params["dense_0"][1, 0] = -1.0
    with pytest.raises(NetlistError, match=r"'dense_0\[1, 0\]'"):
        NgSpice().settle(circuit, params, inputs, [Free()])
    with pytest.raises(NetlistError, match="not a finite voltage"):
        NgSpice().settle(circuit, layered.draw(1), np.full((1, 2), np.nan), [Free()])
    with pytest.raises(NetlistError, match=r"\(batch, 2\)"):
        NgSpice().settle(circuit, layered.draw(1), np.zeros((1, 3)), [Free()])


@pytest.mark.parametrize("kind", ["transformer", "kendall", "published"])
@pytest.mark.parametrize("differential", [True, False])
def test_small_signal_response_solves_the_linearized_equations(kind, differential):
    layered = Layered((3, 2), num_outputs=2, reflection=kind, gain=2.0, differential=differential)
    circuit, params, inputs = layered.circuit(), well_posed(layered, 1), layered.inputs(2, 3)
    currents = np.random.default_rng(4).normal(size=(3, 2))
    (point,) = NgSpice().settle(circuit, params, inputs, [Free()])
    changes = NgSpice().respond(circuit, params, inputs, point.voltages, currents)
    for u, current, change in zip(
        layered.solve(params, inputs), currents, changes[:, columns(layered, circuit)], strict=True
    ):
        matrix = layered.jacobian(list(params.values()), u, 0.0)
        injected = np.zeros(len(u))
        last = np.concatenate([current, -current]) if differential else current
        injected[-layered.sizes[-1] :] = last
        expected = np.linalg.solve(matrix, injected)
        # ngspice linearizes at its own solution, within 1e-9 V of this one: 2e-8 of a slope.
        np.testing.assert_allclose(change, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


def test_small_signal_response_of_a_failed_sample_is_not_a_number():
    circuit, params = unsolvable()
    inputs = np.array([[-0.5], [8.0], [-1.0]])
    (point,) = NgSpice().settle(circuit, params, inputs, [Free()])
    changes = NgSpice().respond(circuit, params, inputs, point.voltages, np.ones((3, 1)))
    np.testing.assert_array_equal(np.isnan(changes).any(1), [False, True, False])


def test_readout_digits_are_those_of_text_that_ngspice_prints(tmp_path):
    """Against plain ngspice, which prints 6 digits after the point unless told otherwise."""
    layered = Layered((2,))
    circuit, params, inputs = layered.circuit(), layered.draw(3), layered.inputs(3, 1)
    engine = NgSpice(readout_digits=6)
    free, forced = engine.settle(
        circuit, params, inputs, [Free(), Force(np.full((1, circuit.num_outputs), 1e-4))]
    )
    for point, phase in ((free, Free()), (forced, Force(np.full((1, circuit.num_outputs), 1e-4)))):
        text = netlist(circuit, params, inputs[0], phase).replace("set numdgt=16\n", "")
        file = tmp_path / "printed.cir"
        file.write_text(text)
        done = subprocess.run(
            ["ngspice", "-b", str(file)], capture_output=True, text=True, check=True, timeout=60
        )
        printed = dict(re.findall(r"v\((\w+)\) = (\S+)", done.stdout))
        assert printed
        for name, value in printed.items():
            assert point.voltages[0, circuit.node_names.index(name)] == float(value)


@pytest.mark.parametrize("warm", [True, False])
def test_a_nudge_is_computed_from_the_digits_that_are_read(warm):
    layered = Layered((2,))
    circuit, params, inputs = layered.circuit(), layered.draw(3), layered.inputs(3, 2)
    seen = []

    class Watching(AbstractNudge):
        def __call__(self, outputs, samples):
            seen.append(np.array(outputs))
            return Force(np.zeros_like(outputs))

    engine = NgSpice(readout_digits=3, warm=warm)
    points = engine.settle(circuit, params, inputs, [Free(), Watching()])
    used = np.concatenate(seen)[-2:] if not warm else np.concatenate(seen)
    for outputs in circuit.outputs(points[0].voltages):
        assert (np.abs(used - outputs) <= np.finfo(float).eps).any()


LOOSE_ERROR = 1e-6
"""Error [V] of points that pass the check, whatever the solver's tolerances: its own, 1e-9 of the
currents that meet, times some volts, divided by the smallest share of a conductance in a node."""


def test_loose_tolerances_do_not_loosen_the_check():
    """With vntol = 1 V the check's scale was 1e9 V, and 8 V beside the solution converged."""
    layered = Layered((4,))
    circuit = layered.circuit()
    inputs = np.array([[2.0, -1.0], [-1.5, 2.0], [0.3, 0.7], [0.0, 0.0]])
    loose = dataclasses.replace(NgSpice(), **LOOSEST | {"residual_tolerance": 1e-9})
    (point,) = loose.settle(circuit, layered.draw(3), inputs, [Free()])
    (exact,) = Native().settle(circuit, layered.draw(3), inputs, [Free()])
    error = np.abs(point.voltages - np.asarray(exact.voltages)).max(1)
    assert (error[point.converged] < LOOSE_ERROR).all()


@pytest.mark.parametrize("name", LOOSEST)
@pytest.mark.parametrize("factor", [0.0, -1.0, 1.01, math.nan, math.inf])
def test_tolerances_without_sense_are_refused(name, factor):
    with pytest.raises(ConfigError, match=f"^{name} is .*must be above 0 and at most"):
        dataclasses.replace(NgSpice(), **{name: factor * LOOSEST[name]})
