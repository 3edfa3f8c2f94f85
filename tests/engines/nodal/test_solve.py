"""Operating points of any circuit against ngspice on the original text, and closed forms."""

import random

import numpy as np
import pytest

from eqprop_spice.engines.nodal.circuit import NodalCircuit
from eqprop_spice.engines.nodal.parts import parts_of
from eqprop_spice.engines.nodal.solve import RESIDUAL_TOLERANCE, residual, solve, solved
from eqprop_spice.errors import ConvergenceError, NetlistError
from eqprop_spice.spice.plain import plain_operating_point
from eqprop_spice.spice.reader import read, read_text
from tests.engines.nodal.circuits import NETLISTS, circuit_of, text_of

VOLTS = 1e-9
"""ngspice stops where its steps fall below 1e-13 V and 1e-10 of a voltage, a Newton step before
its error does."""

NUM_DEVICES = 1000


def voltages(circuit: NodalCircuit, point) -> dict[str, float]:
    return dict(zip(circuit.nodes, point.state[0], strict=False))


def compare(text: str) -> NodalCircuit:
    """Compare all voltages with those of plain ngspice on the same text."""
    deck = read_text(text)
    circuit = circuit_of(deck)
    ours, theirs = voltages(circuit, solved(circuit, deck.guesses)), plain_operating_point(text)
    for original, name in deck.nodes.items():
        assert ours[name] == pytest.approx(theirs[original], rel=VOLTS, abs=VOLTS), original
    return circuit


@pytest.mark.ngspice
@pytest.mark.parametrize("path", NETLISTS, ids=lambda path: path.stem)
def test_operating_points_are_those_of_ngspice_on_the_original(path):
    compare(path.read_text())


@pytest.mark.ngspice
def test_a_thousand_unlike_devices_are_a_few_groups():
    draw = random.Random(3)
    cards = ["V1 vdd 0 3"]
    for k in range(NUM_DEVICES // 4):
        cards += [
            f"R{k} vdd n{k} {draw.uniform(1, 50)}k",
            f"D{k} n{k} n{(k + 1) % 7} d{k}",
            f".model d{k} d(is={draw.uniform(1, 9)}f n={draw.uniform(1, 1.5)})",
            f"Q{k} n{k} n{draw.randrange(250)} 0 q{k}",
            f".model q{k} {draw.choice(['npn', 'pnp'])}(bf={draw.uniform(20, 200)} vaf=50)",
            f"M{k} n{k} n{draw.randrange(250)} n{draw.randrange(250)} 0 m{k} w=2u l=2u",
            f".model m{k} {draw.choice(['nmos', 'pmos'])}(vto={draw.uniform(-1, 1)} kp=20u)",
        ]
    circuit = compare(text_of(*cards))
    assert len(circuit.devices) == 5
    assert len(circuit.elements) + sum(len(g.names) for g in circuit.devices) == NUM_DEVICES + 1


def test_closed_forms():
    cards = ["V1 a b 3", "R1 a 0 1k", "R2 b 0 2k", "I1 0 c 2m", "L1 c d 1m", "R3 d 0 1k"]
    cards += ["E1 e 0 a b 2", "H1 h 0 V1 1k", "F1 0 f V1 2", "R4 f 0 1k", "G1 0 g a 0 1m"]
    cards += ["R5 g 0 3k", "C1 f g 1u", "R6 e h 1k"]
    circuit = circuit_of(text_of(*cards))
    found = voltages(circuit, solved(circuit))
    # 3 V over 3 kohm, grounded between: a at 1 V, b at -2 V; 1 mA flows into b's end of V1.
    expected = {"a": 1.0, "b": -2.0, "c": 2.0, "d": 2.0, "e": 6.0, "h": -1.0, "f": -2.0, "g": 3.0}
    assert found == pytest.approx(expected, abs=1e-14)


def test_a_batch_of_source_values_is_solved_like_each_alone():
    circuit = circuit_of(text_of("V1 a 0 1", "R1 a b 1k", "D1 b 0 m", "I1 0 b 1m", ".model m d"))
    values = np.repeat(circuit.values[None], 4, axis=0)
    values[:, circuit.element("v1")] = [-5.0, 0.0, 0.6, 30.0]
    point = solve(circuit, values)
    assert point.converged.all() and (point.residual <= RESIDUAL_TOLERANCE).all()
    for k, row in enumerate(values):
        alone = solve(circuit.with_values({"v1": row[circuit.element("v1")]}))
        np.testing.assert_allclose(point.state[k], alone.state[0], rtol=1e-13, atol=1e-15)


def test_sparse_and_dense_circuits_are_solved_alike(monkeypatch):
    circuit = circuit_of(read(NETLISTS[0]))
    dense = solve(circuit)
    monkeypatch.setattr("eqprop_spice.engines.nodal.solve.DENSE_LIMIT", 0)
    sparse = solve(circuit)
    np.testing.assert_allclose(sparse.state, dense.state, rtol=1e-11, atol=1e-13)


def test_a_latch_needs_more_than_the_first_attempt():
    # Two inverters in a ring: from zero, Newton's plain steps go back and forth.
    cards = ["Vdd v 0 5", ".model n nmos(vto=0.7 kp=100u)", ".model p pmos(vto=-0.7 kp=40u)"]
    for k, (a, b) in enumerate(("xy", "yx")):
        cards += [f"MP{k} {b} {a} v v p w=5u l=1u", f"MN{k} {b} {a} 0 0 n w=2u l=1u"]
    circuit = circuit_of(text_of(*cards))
    point = solved(circuit)
    right = circuit.right(circuit.values[None])
    excess, scale = residual(circuit, point.state, right)
    assert (np.abs(excess) <= RESIDUAL_TOLERANCE * scale).all()


def test_what_has_no_solution_is_not_returned_as_one():
    # A current that a diode lets through in one direction only: gmin would take 1e9 V.
    circuit = circuit_of(text_of("R1 a 0 1k", "G1 a 0 a 0 -1m", "I1 0 a 1m"))
    point = solve(circuit)
    assert not point.converged.any() and np.isnan(point.state).all()
    with pytest.raises(ConvergenceError, match="'a'"):
        solved(circuit)


def test_breakdown_is_refused_where_it_happens():
    cards = ["R1 a b 1k", "D1 0 b m", ".model m d(bv=5)"]
    circuit = circuit_of(text_of("V1 a 0 3", *cards))
    assert voltages(circuit, solved(circuit))["b"] == pytest.approx(3.0, abs=1e-6)
    with pytest.raises(ConvergenceError, match=r"'d1' is in breakdown"):
        solved(circuit.with_values({"v1": 12.0}))


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        (("J1 1 2 0 m", ".model m njf(bex=-1)"), "bex"),
        (("D1 1 0 m", ".model m d(ikf=1m)"), "ikf = 0.001 is not solved"),
        (("Q1 1 2 0 m", ".model m npn(rb=100 rbm=10)"), "base resistance"),
        (("Q1 1 2 0 m", ".model m npn(subs=-1)"), "subs"),
        (("M1 1 2 0 0 m l=1u", ".model m nmos(ld=1u)"), "effective length"),
        (("M1 1 2 0 0 m", ".model m nmos(tnom=50)"), "27 degC"),
        (("R1 1 0 1", ".options gmin=1e-9"), "gmin"),
    ],
)
def test_what_the_engine_does_not_solve_is_refused_with_place_and_reason(cards, reason):
    with pytest.raises(NetlistError, match=reason):
        parts_of(read_text(text_of("R9 1 0 1", "R8 2 0 1", *cards)))
