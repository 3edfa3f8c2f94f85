"""Users' netlists as cards of a network: capacitors, inductors, couplings, resistors, junctions.

The netlist is read into plain values (`spice/reader.py`); the cards are written from these, so that
none of its text goes on. SPICE has no flux: a junction is a B source, the sine of the voltage of a
node that integrates, a capacitor to ground which a G source charges.
"""

import dataclasses
import fnmatch
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.lagrangian.network import FACTOR, GROUND
from eqprop_spice.spice.deck import Deck, Element
from eqprop_spice.spice.reader import read
from eqprop_spice.spice.scopes import nearest
from eqprop_spice.spice.writer import number

SAME = 1e-9
"""Relative difference of numbers that count as equal."""

PASSIVE = frozenset("clrb")
"""Letters of the elements that cards are written for."""


@dataclasses.dataclass(frozen=True)
class Cards:
    """A netlist as the arguments of a substrate.

    Attributes:
        elements: The cards, in units of the scales.
        drives: The nodes that the sources feed.
        nodes: Names of nodes in the cards, by those in the netlist.
    """

    elements: tuple[str, ...]
    drives: tuple[str, ...]
    nodes: Mapping[str, str]


def cards_of(
    deck: Deck,
    *,
    trainable: Sequence[str],
    drives: Sequence[str] = (),
    resistance: float = 1.0,
    frequency: float = 1.0,
) -> Cards:
    r"""Return a netlist as cards.

    What learns is a factor of a value: 1 is the netlist as it is. With a phase of $k\int v\,dt$ in
    the netlist, its energies $E = I k R/\omega$, capacitances $C R\omega$ and inductances
    $L\omega/R$ leave a phase of 1 for a flux of 1.

    Args:
        deck: The netlist.
        trainable: Patterns of names of elements that learn; all others are fixed.
        drives: Names of sources in the order of the inputs: currents from the ground, or voltages
            behind a resistor, of which current source and parallel resistor are made.
        resistance: R, what 1 ohm of the cards is [ohm].
        frequency: $\omega$, what 1 rad/s of the cards is [rad/s].

    Raises:
        NetlistError: If an element is none of these networks.
        ConfigError: If a pattern or a name is not there.
    """
    return _Reading(deck, tuple(trainable), tuple(drives), resistance, frequency).cards()


@dataclasses.dataclass(frozen=True)
class _Reading:
    """A netlist, and what is wanted of it."""

    deck: Deck
    trainable: tuple[str, ...]
    drives: tuple[str, ...]
    resistance: float
    frequency: float

    def cards(self) -> Cards:
        """Return the cards."""
        learned, feeds = self._learned, self._feeds
        held = {source.nodes[0] for source, _ in feeds if source.kind == "V"}
        written = []
        for element in self._passive:
            # The resistor behind a voltage source stands beside the current source.
            name, ends = element.name, [GROUND if n in held else n for n in element.nodes[:2]]
            if element.kind == "B":
                name = name[1:] if name[1:2] == "j" else f"j{name[1:]}"
            sign = FACTOR if element.original in learned else ""
            written.append(f"{name} {' '.join(ends)} {sign}{number(self._scaled(element))}")
        for coupling in self.deck.couplings:
            pair = " ".join(coupling.inductors)
            written.append(f"{coupling.name} {pair} {number(coupling.coefficient)}")
        return Cards(tuple(written), tuple(node for _, node in feeds), self.deck.nodes)

    @functools.cached_property
    def _passive(self) -> list[Element]:
        """The elements that cards are written for; all others but the sources are refused."""
        integrating = {e.name for pair in self._integrators.values() for e in pair}
        found = []
        for element in self.deck.elements:
            if element.name in integrating:
                continue
            if element.name[0] in PASSIVE:
                found.append(element)
            elif element.kind not in "VI":
                _refuse(
                    element,
                    "these networks are of capacitors, inductors, K cards, resistors, Josephson "
                    "elements, and sources that drive them",
                )
        return found

    @functools.cached_property
    def _integrators(self) -> dict[str, tuple[Element, Element]]:
        """The nodes that integrate a voltage, with the capacitor and the G source that do it."""
        found = {}
        for source in self.deck.elements:
            above = [node for node in source.nodes[:2] if node != GROUND]
            if source.kind != "G" or len(above) != 1:
                continue
            (node,) = above
            others = [e for e in self.deck.elements if node in e.nodes[:2] and e is not source]
            if len(others) == 1 and others[0].kind == "C" and GROUND in others[0].nodes:
                found[node] = others[0], source
        return found

    def _flux(self, node: str) -> dict[str, float]:
        """Return the rate of the voltage of an integrating node, by the voltages of others."""
        if node == GROUND:
            return {}
        capacitor, source = self._integrators[node]
        into = 1.0 if source.nodes[1] == node else -1.0
        rate = into * source.value / capacitor.value
        return _drop(source.nodes[2], source.nodes[3], rate)

    @functools.cached_property
    def _rate(self) -> float:
        """The phase of a unit of flux, k; that of all junctions."""
        junctions = [element for element in self.deck.elements if element.kind == "B"]
        rates = {element.original: self._junction_rate(element) for element in junctions}
        values = [*rates.values()]
        if values and max(values) - min(values) > SAME * max(values):
            raise NetlistError(
                f"The junctions {', '.join(rates)} have phases of {values} for a flux of 1; all "
                "must have the same."
            )
        return values[0] if values else 1.0

    def _junction_rate(self, element: Element) -> float:
        """Return the phase of a junction for a unit of flux across it."""
        first, second, *controls = element.nodes
        for node in controls:
            if node != GROUND and node not in self._integrators:
                _refuse(
                    element,
                    "its phase is no integral of a voltage; let a G source charge a capacitor to "
                    "ground at a node of its own",
                )
        ahead, behind = (self._flux(node) for node in controls)
        phase = {
            node: element.parameters["rate"] * (ahead.get(node, 0.0) - behind.get(node, 0.0))
            for node in (*ahead, *behind)
        }
        # The sign is that of the end above ground.
        rate = phase.get(first, 0.0) if first != GROUND else -phase.get(second, 0.0)
        wanted = _drop(first, second, rate)
        off = [phase.get(node, 0.0) - wanted.get(node, 0.0) for node in {*phase, *wanted}]
        if rate <= 0.0 or max(map(abs, off)) > SAME * rate:
            _refuse(element, "its phase is not that of the voltage across it")
        return rate

    def _scaled(self, element: Element) -> float:
        """Return a value in units of the scales."""
        scales = {
            "C": self.resistance * self.frequency,
            "L": self.frequency / self.resistance,
            "R": 1.0 / self.resistance,
            "B": self._rate * self.resistance / self.frequency,
        }
        return element.value * scales[element.kind]

    @functools.cached_property
    def _learned(self) -> set[str]:
        """The names of the elements that learn."""
        names, found = [element.original for element in self._passive], set()
        if not self.trainable:
            raise ConfigError("trainable is empty; name what learns, such as c*.")
        for pattern in map(str.lower, self.trainable):
            matched = fnmatch.filter(names, pattern)
            if not matched:
                raise ConfigError(
                    f"trainable '{pattern}' matches no element of the netlist"
                    f"{nearest(pattern, names)}."
                )
            found |= {*matched}
        return found

    @functools.cached_property
    def _feeds(self) -> list[tuple[Element, str]]:
        """The sources, in the order of the inputs, and the nodes that they feed."""
        sources = {e.original: e for e in self.deck.elements if e.kind in "VI"}
        chosen = [name.lower() for name in self.drives]
        for name in chosen:
            if name not in sources:
                hint = nearest(name, sources)
                raise ConfigError(f"drives names '{name}', which is no source{hint}.")
        for name, source in sources.items():
            if chosen.count(name) != 1:
                _refuse(source, "every source must be in drives once; name it, or remove it")
        return [(sources[name], self._fed(sources[name])) for name in chosen]

    def _fed(self, source: Element) -> str:
        """Return the node that a source feeds."""
        first, second = source.nodes
        if source.kind == "I":
            if first != GROUND or second == GROUND:
                _refuse(source, "a current must come from the ground: I 0 NODE")
            return second
        others = [e for e in self.deck.elements if first in e.nodes and e is not source]
        if second != GROUND or [e.kind for e in others] != ["R"]:
            _refuse(
                source, "a voltage must be that of a node that one resistor alone leads on from"
            )
        resistor = others[0]
        if resistor.original in self._learned:
            _refuse(resistor, "the resistor of a source is part of its current and cannot learn")
        return next(node for node in resistor.nodes if node != first)


def _drop(first: str, second: str, value: float) -> dict[str, float]:
    """Return a difference of voltages as what it counts of each; the ground counts nothing."""
    return {node: v for node, v in ((first, value), (second, -value)) if node != GROUND}


def _refuse(element: Element, reason: str) -> NoReturn:
    raise NetlistError(f"{element.place}: '{element.original}': {reason}.")


def self_contained(
    arguments: dict[str, Any], folder: Path, *, keep: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the arguments of a substrate with the cards of the netlist at their `path`.

    Args:
        arguments: By name, not checked yet: `path`, `trainable`, `drives`, `output_nodes`,
            `include`, `resistance`, `frequency`, and others.
        folder: That of the experiment's file.
        keep: Scales that the substrate itself has.

    Raises:
        NetlistError: If the netlist is refused.
        ConfigError: If an argument is.
    """
    if "path" not in arguments:
        return arguments
    if "elements" in arguments:
        raise ConfigError("elements and path are two systems; give one of them.")
    path, include = arguments["path"], arguments.get("include", False)
    if not isinstance(path, str) or not isinstance(include, bool):
        raise ConfigError("path must be the name of a file, and include true or false.")
    lists = {name: _names(arguments, name) for name in ("trainable", "drives")}
    scales = {name: _scale(arguments, name) for name in ("resistance", "frequency")}
    cards = cards_of(
        read(folder / path, include=include),
        trainable=lists["trainable"],
        drives=lists["drives"],
        resistance=scales["resistance"],
        frequency=scales["frequency"],
    )
    outputs = arguments.get("output_nodes", ())
    if not isinstance(outputs, tuple):
        raise ConfigError("output_nodes must be a list of nodes.")
    used = {"path", "include", "trainable", *(scales.keys() - keep)}
    rest = {name: value for name, value in arguments.items() if name not in used}
    return rest | {
        "elements": cards.elements,
        "drives": cards.drives,
        "output_nodes": tuple(_renamed(node, cards.nodes) for node in outputs),
    }


def _names(arguments: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = arguments.get(name, ())
    if not isinstance(found, tuple) or not all(isinstance(word, str) for word in found):
        raise ConfigError(f"{name} must be a list of names.")
    return found


def _scale(arguments: Mapping[str, Any], name: str) -> float:
    value = arguments.get(name, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < 1e300:
        raise ConfigError(f"{name} is {value}; it must be positive.")
    return float(value)


def _renamed(node: Any, nodes: Mapping[str, str]) -> Any:
    """Return the name in the cards of a node, or of a pair of nodes."""
    if isinstance(node, tuple):
        return tuple(_renamed(one, nodes) for one in node)
    if node in (GROUND, "gnd"):
        return GROUND
    if not isinstance(node, str) or node.lower() not in nodes:
        raise ConfigError(f"There is no node '{node}'{nearest(str(node), nodes)}.")
    return nodes[node.lower()]
