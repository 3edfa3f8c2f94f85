"""Linear networks at one frequency as SPICE netlists, and their solution by `.ac`."""

import cmath
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Complex, Float

from eqprop_spice.arrays import Array
from eqprop_spice.lagrangian.network import Network
from eqprop_spice.spice.session import Session
from eqprop_spice.spice.writer import ACCURATE_OPTIONS, number


def passive_cards(
    network: Network, params: Mapping[str, Array], resistance: float, frequency: float
) -> list[str]:
    """Return the elements in SPICE's units.

    Args:
        network: The network.
        params: Capacitances, inverse inductances and conductances in units of the scales.
        resistance: What 1 ohm of the network is [ohm].
        frequency: What 1 rad/s is [rad/s].
    """
    scales = {
        "c": lambda c: c / (resistance * frequency),
        "l": lambda gamma: resistance / (frequency * gamma),
        "r": lambda g: resistance / g,
    }
    cards = []
    for kind, scale in scales.items():
        values = np.asarray(network.values(kind, params)).tolist()
        for element, value in zip(network.of_kind(kind), values, strict=True):
            first, second = (_node(node) for node in element.nodes)
            cards.append(f"{element.name} {first} {second} {number(scale(value))}")
    for i, (first, second, value) in enumerate(network.couplings):
        cards.append(f"k{i} {first} {second} {number(value)}")
    return cards


def _node(name: str) -> str:
    """Return a node's name in netlists: one of ours may be a word of SPICE's, such as `gnd`."""
    return name if name == "0" else f"n_{name}"


def _source_cards(nodes: Sequence[str], currents: Complex[np.ndarray, " node"]) -> Iterator[str]:
    for node, current in zip(nodes, currents.tolist(), strict=True):
        size, angle = abs(current), math.degrees(cmath.phase(current))
        yield f"i_{node} 0 {_node(node)} dc 0 ac {number(size)} {number(angle)}"


def framed(
    cards: Sequence[str],
    nodes: Sequence[str],
    omega: float,
    currents: Complex[np.ndarray, " node"],
    title: str,
) -> str:
    """Return a netlist that prints the phasors of all nodes in `ngspice -b`.

    Args:
        cards: Elements written by this package.
        nodes: Names of the nodes.
        omega: Angular frequency [rad/s].
        currents: Phasors of the currents into the nodes [A].
        title: What it is; other characters than letters, digits and blanks become blanks.
    """
    harmless = "".join(c if c.isascii() and c.isalnum() else " " for c in title)
    hertz = number(omega / (2.0 * math.pi))
    lines = [
        f"* eqprop_spice {' '.join(harmless.split())}",
        ACCURATE_OPTIONS,
        *cards,
        "* drives and nudge",
        *_source_cards(nodes, currents),
        ".control",
        "set numdgt=16",
        f"ac lin 1 {hertz} {hertz}",
        *(f"print v({_node(name)})" for name in nodes),
        "quit 0",
        ".endc",
        ".end",
    ]
    return "\n".join(lines) + "\n"


def phasors(
    cards: Sequence[str],
    nodes: Sequence[str],
    omegas: Float[np.ndarray, " batch"],
    currents: Complex[np.ndarray, "batch node"],
) -> Complex[np.ndarray, "batch node"]:
    """Return the phasors that ngspice finds [V]; NaN where it finds none.

    Args:
        cards: Elements written by this package.
        nodes: Names of the nodes.
        omegas: Angular frequencies [rad/s].
        currents: Phasors of the currents into the nodes [A].
    """
    found = np.full(currents.shape, np.nan, complex)

    def work(session: Session) -> None:
        sources = _source_cards(nodes, np.zeros(len(nodes), complex))
        session.load(["* eqprop_spice ac circuit", ACCURATE_OPTIONS, *cards, *sources, ".end"])
        for row, (omega, injected) in enumerate(zip(omegas.tolist(), currents, strict=True)):
            for node, current in zip(nodes, injected.tolist(), strict=True):
                session.command(f"alter i_{node} acmag={number(abs(current))}")
                degrees = math.degrees(cmath.phase(current))
                session.command(f"alter i_{node} acphase={number(degrees)}")
            hertz = number(omega / (2.0 * math.pi))
            session.command(f"ac lin 1 {hertz} {hertz}")
            for column, node in enumerate(nodes):
                vector = session.complex_vector(_node(node))
                if vector is not None:
                    found[row, column] = vector[0]
            session.command("destroy all")
        session.unload()

    Session.do(work)
    return found
