"""A deck as the text of a netlist that many simulators read.

The common subset: upper-case letters of elements, numbers with all their digits, names that match
[a-z][a-z0-9_]*, a voltage source of 0 V wherever a current controls, `.op`, and no commands. No
text of the netlist that was read is in it.
"""

import re
from collections.abc import Iterator
from typing import Literal, get_args

from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.spice.deck import Coupling, Deck, Element
from eqprop_spice.spice.reader import read_text
from eqprop_spice.spice.writer import ACCURATE_TOLERANCES, number

Dialect = Literal["ngspice", "ltspice", "xyce"]

NAME = re.compile(r"[a-z][a-z0-9_]*")

SENSE = "sense_"
"""Prefix of the sources of 0 V and of their nodes, for currents of other elements than V."""


def _checked(name: str) -> str:
    """Return a name that is safe in a netlist; decks that were read have no other."""
    if name != "0" and not NAME.fullmatch(name):
        raise NetlistError(f"The name {name!r} is not allowed; names match {NAME.pattern}.")
    return name


def _letter_first(name: str) -> str:
    name = _checked(name)
    return f"{name[0].upper()}{name[1:]}"


def _assigned(parameters) -> str:
    return "".join(f" {_checked(name)}={number(value)}" for name, value in parameters.items())


def _sine(element: Element, nodes: list[str], dialect: Dialect) -> str:
    """Return the current of a Josephson element as a simulator reads it."""
    signs = zip(nodes[2:], ("", "-"), strict=True)
    drop = "".join(f"{sign}V({node})" for node, sign in signs if node != "0")
    rate = number(element.parameters["rate"])
    current = f"{number(element.value)}*sin({rate}*({drop}))"
    return f"I={{{current}}}" if dialect == "xyce" else f"I={current}"


def _cards(
    element: Element, sensed: frozenset[str], names: dict[str, str], dialect: Dialect
) -> Iterator[str]:
    """Yield the cards of an element.

    Args:
        element: It.
        sensed: Elements other than V whose current controls another.
        names: For these, the source of 0 V in series.
        dialect: Whose expressions are written.
    """
    name = _letter_first(element.name)
    nodes = [_checked(node) for node in element.nodes]
    if element.name in sensed:
        source = names[element.name]
        # The source's current is that into the first node of the element behind it.
        yield f"{_letter_first(source)} {nodes[0]} {source} 0.0"
        nodes[0] = source
    if element.kind == "B":
        yield " ".join([name, *nodes[:2], _sine(element, nodes, dialect)])
        return
    words = [name, *nodes]
    if element.control is not None:
        words.append(_letter_first(names.get(element.control, element.control)))
    if element.model is not None:
        yield " ".join([*words, _checked(element.model)]) + _assigned(element.parameters)
    else:
        yield " ".join([*words, number(element.value)])


def _coupled(coupling: Coupling) -> str:
    """Return the card of coupled inductors."""
    names = (coupling.name, *coupling.inductors)
    return " ".join([*map(_letter_first, names), number(coupling.coefficient)])


def _sense_names(deck: Deck) -> dict[str, str]:
    """Return a name of a source for each element other than V whose current controls."""
    taken = {element.name for element in deck.elements} | {*deck.nodes.values()}
    controls = [element.control for element in deck.elements if element.control is not None]
    names: dict[str, str] = {}
    for control in controls:
        if control[:1] != "v" and control not in names:
            name = f"v{SENSE}{control}"
            while name in taken:
                name += "_"
            taken.add(name)
            names[control] = name
    return names


def _options(deck: Deck, dialect: Dialect) -> list[str]:
    """Return tolerances and temperatures in the words of a simulator."""
    gmin = f"gmin={number(deck.junction_conductance)}"
    celsius = f"temp={number(deck.temperature)} tnom={number(deck.nominal_temperature)}"
    if dialect == "xyce":
        return [
            f".OPTIONS DEVICE {celsius} {gmin}",
            ".OPTIONS NONLIN reltol=1e-10 abstol=1e-15 rhstol=1e-13",
            ".PRINT DC V(*)",
        ]
    return [f".OPTIONS {ACCURATE_TOLERANCES} {gmin}", f".OPTIONS {celsius}"]


def portable_netlist(
    deck: Deck, *, title: str = "operating point", dialect: Dialect = "ngspice"
) -> str:
    """Return the text of a netlist with the deck's operating point.

    Args:
        deck: The netlist.
        title: What the circuit is; other characters than letters, digits and blanks become blanks.

        dialect: Whose options are written; elements and models are the same.

    Raises:
        NetlistError: If the deck holds a name or number that does not belong in a netlist.
    """
    harmless = "".join(c if c.isascii() and c.isalnum() else " " for c in title)
    names = _sense_names(deck)
    sensed = frozenset(names)
    lines = [
        f"* {harmless}",
        *(card for e in deck.elements for card in _cards(e, sensed, names, dialect)),
        *(_coupled(coupling) for coupling in deck.couplings),
        *(
            f".MODEL {_checked(model.name)} {model.kind.upper()}({_assigned(model.parameters)[1:]})"
            for model in deck.models.values()
        ),
        *_options(deck, dialect),
        *(f".NODESET V({_checked(n)})={number(value)}" for n, value in deck.guesses.items()),
        ".OP",
        ".END",
    ]
    return "\n".join(lines) + "\n"


def in_dialect(text: str, dialect: str) -> str:
    """Return a netlist of this package in the portable form, for one simulator.

    Args:
        text: The netlist; it is read, and written anew without its commands.
        dialect: "ngspice", "ltspice" or "xyce".

    Raises:
        ConfigError: If there is no such dialect.
        NetlistError: If it holds what the portable form does not have, such as most behavioral
            sources.
    """
    if dialect not in get_args(Dialect):
        raise ConfigError(
            f"The dialect is '{dialect}'; it must be one of {', '.join(get_args(Dialect))}."
        )
    deck = read_text(text, skip_commands=True)
    return portable_netlist(deck, title=deck.title, dialect=dialect)  # pyright: ignore[reportArgumentType]
