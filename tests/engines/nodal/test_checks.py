"""Circuits without a direct solution are refused before they are solved."""

import pytest

from eqprop_spice.engines.nodal.checks import check
from eqprop_spice.engines.nodal.parts import parts_of
from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.reader import read_text
from tests.engines.nodal.circuits import text_of

SUPPLY = ("V1 a 0 1", "R1 a 0 1k")

REFUSED = {
    ("C1 a b 1u", "R2 b c 1"): "'b', 'c' have no path",
    ("R2 b c 1",): "'b', 'c' have no path",
    ("R2 a d 1", "M1 d g 0 0 m", ".model m nmos"): "'g' have no path",
    ("I1 0 b 1m",): r"'b' are reached by current sources alone \('i1'\)",
    ("G1 0 b a 0 1m", "R2 b c 1"): r"'b', 'c' are reached by current sources alone \('g1'\)",
    ("V2 a 0 1",): "netlist:4: 'v2', 'v1' fix voltages in a loop",
    ("V2 b a 1", "L1 b 0 1m"): "netlist:5: 'l1', 'v1', 'v2' fix",
    ("V2 b a 1", "V3 c b 1", "E1 d c a 0 2", "V4 0 d 1", "R2 c 0 1"): "'v4', .*'e1'.* fix",
    ("V2 b b 1", "R2 b 0 1"): "'v2' fix",
}


@pytest.mark.parametrize("cards", REFUSED)
def test_circuits_without_a_solution_are_refused(cards):
    deck = read_text(text_of(*SUPPLY, *cards))
    with pytest.raises(NetlistError, match=REFUSED[cards]):
        check(deck, parts_of(deck))


@pytest.mark.parametrize(
    "cards",
    [
        ("G1 b 0 b 0 1m", "I1 0 b 1m"),
        ("D1 a b m", ".model m d"),
        ("Q1 b a 0 m", ".model m npn"),
        ("L1 a b 1m", "R2 b 0 1"),
        ("V2 b 0 1", "V3 c b 1", "V4 d 0 1", "R2 c d 1"),
    ],
)
def test_circuits_with_a_solution_are_not(cards):
    deck = read_text(text_of(*SUPPLY, *cards))
    check(deck, parts_of(deck))
