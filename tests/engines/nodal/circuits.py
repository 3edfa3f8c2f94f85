"""Circuits for the tests of the nodal engine."""

from pathlib import Path

from eqprop_spice.engines.nodal.checks import check
from eqprop_spice.engines.nodal.circuit import NodalCircuit
from eqprop_spice.engines.nodal.parts import parts_of
from eqprop_spice.spice.deck import Deck
from eqprop_spice.spice.reader import read_text

NETLISTS = sorted((Path(__file__).parents[2] / "spice" / "netlists").glob("*.cir"))


def text_of(*cards: str) -> str:
    return "\n".join(["title", *cards, ".end", ""])


def circuit_of(deck: Deck | str) -> NodalCircuit:
    """Return the equations of a netlist, checked."""
    deck = read_text(deck) if isinstance(deck, str) else deck
    parts = parts_of(deck)
    check(deck, parts)
    return NodalCircuit.of(parts)
