"""Networks of capacitors, inductors, Josephson junctions and resistors, written as short cards."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.spice.expressions import number

GROUND = "0"

GROUPS = {
    "c": "capacitance",
    "l": "inverse_inductance",
    "j": "josephson_energy",
    "r": "conductance",
}
"""What is learned of an element, by the letter that its name begins with."""

INVERSE = {"l", "r"}
"""Elements whose cards have the inverse of what is learned: henry and ohm."""

FACTOR = "*"
"""Before the value of an element whose parameter is a factor of it."""

NAME = re.compile(r"[a-z][a-z0-9_]*")

USAGE = (
    "a card is 'c1 a b' for an element that learns, 'c1 a b *2.5' for one that learns a factor of "
    "2.5, 'c1 a b 2.5' for one of a fixed value, 'c2 b 0 c1' for one that equals another, or "
    "'k1 l1 l2 0.5' for two coupled inductors; its first letter is c, l, j, r or k, and 0 is the "
    "ground"
)


@dataclasses.dataclass(frozen=True)
class Element:
    """An element with two terminals.

    Attributes:
        name: Its name; the first letter is its kind.
        nodes: The nodes that it joins.
        value: Its fixed value: C, 1/L, E or G; None if it learns, or equals another.
        like: The element that it equals, if any.
        scale: What it is where its parameter is 1; the parameter itself by default.
    """

    name: str
    nodes: tuple[str, str]
    value: float | None = None
    like: str | None = None
    scale: float = 1.0

    @property
    def kind(self) -> str:
        """The letter of its kind."""
        return self.name[0]


@dataclasses.dataclass(frozen=True)
class Network:
    """Elements on named nodes.

    Attributes:
        elements: The elements with two terminals, in the order of their cards.
        couplings: Names of two inductors and the coefficient of their coupling.
    """

    elements: tuple[Element, ...]
    couplings: tuple[tuple[str, str, float], ...] = ()

    @classmethod
    def of(cls, cards: Sequence[str]) -> "Network":
        """Read cards.

        Raises:
            ConfigError: If one is none, or names what is not there.
        """
        elements: dict[str, Element] = {}
        couplings = []
        for card in cards:
            name, first, second, *rest = _words(card)
            if name in elements:
                raise ConfigError(f"Card '{card}': there are two elements named '{name}'.")
            if name[0] == "k":
                couplings.append(_coupling(card, (first, second), rest, elements))
            else:
                elements[name] = _element(card, elements)
        network = cls(tuple(elements.values()), tuple(couplings))
        if not elements:
            raise ConfigError(f"There are no elements: {USAGE}.")
        if network.couplings and np.linalg.eigvalsh(network.coupling_matrix)[0] <= 0.0:
            raise ConfigError(
                "The couplings of inductors are too tight together: some current would store "
                "negative energy. Lower their coefficients."
            )
        return network

    @functools.cached_property
    def nodes(self) -> tuple[str, ...]:
        """The nodes above ground, in the order in which cards name them."""
        named = (node for element in self.elements for node in element.nodes)
        return tuple(dict.fromkeys(node for node in named if node != GROUND))

    @property
    def size(self) -> int:
        """Number of nodes above ground."""
        return len(self.nodes)

    def of_kind(self, kind: str) -> list[Element]:
        """Return the elements of a kind."""
        return [element for element in self.elements if element.kind == kind]

    def learned(self, kind: str) -> list[Element]:
        """Return the elements of a kind that learn."""
        return [e for e in self.of_kind(kind) if e.value is None and e.like is None]

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return how many parameters each group has; groups without any are left out."""
        counts = {GROUPS[kind]: len(self.learned(kind)) for kind in GROUPS}
        return {name: (count,) for name, count in counts.items() if count}

    @functools.cached_property
    def _incidences(self) -> dict[str, np.ndarray]:
        found = {}
        for kind in GROUPS:
            members = self.of_kind(kind)
            matrix = np.zeros((len(members), self.size))
            for row, element in zip(matrix, members, strict=True):
                for node, sign in zip(element.nodes, (1.0, -1.0), strict=True):
                    if node != GROUND:
                        row[self.nodes.index(node)] += sign
            found[kind] = matrix
        return found

    def incidence(self, kind: str) -> Float[np.ndarray, "element node"]:
        """Return 1 at the first and -1 at the second node of every element of a kind."""
        return self._incidences[kind]

    @functools.cached_property
    def _selections(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By kind, the fixed values, and which parameter each element takes."""
        found = {}
        for kind in GROUPS:
            members, learned = self.of_kind(kind), [e.name for e in self.learned(kind)]
            fixed = np.array([e.value or 0.0 for e in members])
            chosen = np.zeros((len(members), len(learned)))
            for row, element in zip(chosen, members, strict=True):
                if element.value is None:
                    row[learned.index(element.like or element.name)] = element.scale
            found[kind] = fixed, chosen
        return found

    def values(self, kind: str, params: Mapping[str, Array]) -> Float[Array, " element"]:
        """Return C, 1/L, E or G of every element of a kind."""
        fixed, chosen = self._selections[kind]
        return fixed + chosen @ params[GROUPS[kind]] if chosen.size else fixed

    def gradient(
        self, slopes: Mapping[str, Float[np.ndarray, " element"]]
    ) -> dict[str, Float[np.ndarray, " parameter"]]:
        """Return slopes by parameters from those by the values of elements, by kind."""
        return {
            GROUPS[kind]: self._selections[kind][1].T @ slopes[kind]
            for kind in GROUPS
            if self.learned(kind)
        }

    @functools.cached_property
    def coupling_matrix(self) -> Float[np.ndarray, "element element"]:
        """Coefficients of coupling between all inductors, 1 on the diagonal."""
        names = [element.name for element in self.of_kind("l")]
        matrix = np.eye(len(names))
        for first, second, value in self.couplings:
            i, j = names.index(first), names.index(second)
            matrix[i, j] = matrix[j, i] = value
        return matrix

    @functools.cached_property
    def inverse_coupling(self) -> Float[np.ndarray, "element element"]:
        r"""The inverse of `coupling_matrix`: with $u = \sqrt{1/L}\,\Phi$, $E = u^T K^{-1} u/2$."""
        return np.linalg.inv(self.coupling_matrix)

    def index(self, node: str, what: str) -> int:
        """Return the number of a node.

        Raises:
            ConfigError: If there is none of that name.
        """
        if node not in self.nodes:
            raise ConfigError(f"{what} names '{node}'; the nodes are {', '.join(self.nodes)}.")
        return self.nodes.index(node)

    def reached(self, starts: Sequence[str], kinds: str) -> set[str]:
        """Return what elements of some kinds connect to some nodes; coupled inductors connect."""
        pairs = [set(e.nodes) for e in self.elements if e.kind in kinds]
        ends = {e.name: set(e.nodes) for e in self.elements}
        pairs += [ends[a] | ends[b] for a, b, _ in self.couplings if "l" in kinds]
        found = set(starts)
        while more := {n for pair in pairs if pair & found - {GROUND} for n in pair} - found:
            found |= more
        return found

    def check_paths(self, outputs: Sequence[str]) -> None:
        """Refuse a node that no output can feel.

        Raises:
            ConfigError: If there is one, by name.
        """
        for node in self.nodes:
            if node not in self.reached(outputs, "cljr"):
                raise ConfigError(
                    f"Node '{node}' has no path to an output ({', '.join(outputs)}) but through "
                    "the ground: what is there can neither help nor learn. Couple it, or leave it "
                    "out."
                )

    def check_grounded(self, kinds: str, remedy: str) -> None:
        """Refuse a node that elements of some kinds do not lead to ground.

        Raises:
            ConfigError: If there is one, by name, with the remedy.
        """
        held = {GROUND}
        pairs = [set(e.nodes) for e in self.elements if e.kind in kinds]
        while more := {n for pair in pairs if pair & held for n in pair} - held:
            held |= more
        for node in self.nodes:
            if node not in held:
                raise ConfigError(f"Node '{node}' {remedy}")


def _words(card: str) -> list[str]:
    """Return the words of a card, of which there are three or four."""
    words = card.lower().split()
    if len(words) not in (3, 4) or not NAME.fullmatch(words[0]):
        raise ConfigError(f"'{card}' is no card: {USAGE}.")
    if words[0][0] not in (*GROUPS, "k"):
        raise ConfigError(f"'{card}' is no element of these systems: {USAGE}.")
    return words


def _positive(card: str, text: str) -> float:
    try:
        value = number(text)
    except NetlistError as error:
        raise ConfigError(f"Card '{card}': {error}") from error
    if not 0.0 < value < float("inf"):
        raise ConfigError(f"Card '{card}': the value is {text}; it must be finite and positive.")
    return value


def _element(card: str, known: Mapping[str, Element]) -> Element:
    """Return the element of a card that has the right number of words."""
    name, first, second, *rest = _words(card)
    for node in (first, second):
        if node != GROUND and not NAME.fullmatch(node):
            raise ConfigError(f"Card '{card}': '{node}' is no name of a node: {USAGE}.")
    if first == second:
        raise ConfigError(f"Card '{card}': both ends are at '{first}'; it would do nothing.")
    if not rest:
        return Element(name, (first, second))
    if rest[0][0].isalpha():
        twin = known.get(rest[0])
        if twin is None or twin.kind != name[0] or twin.value is not None or twin.like:
            raise ConfigError(
                f"Card '{card}': '{rest[0]}' is no element of the same kind that learns and stands "
                "before it."
            )
        return Element(name, (first, second), like=twin.name, scale=twin.scale)
    value = _positive(card, rest[0].removeprefix(FACTOR))
    value = 1.0 / value if name[0] in INVERSE else value
    if rest[0].startswith(FACTOR):
        return Element(name, (first, second), scale=value)
    return Element(name, (first, second), value)


def _coupling(
    card: str, pair: tuple[str, str], rest: list[str], known: Mapping[str, Element]
) -> tuple[str, str, float]:
    """Return a coupling of two inductors."""
    for name in pair:
        if name not in known or known[name].kind != "l":
            raise ConfigError(f"Card '{card}': '{name}' is no inductor that stands before it.")
    if len(rest) != 1 or pair[0] == pair[1]:
        raise ConfigError(f"'{card}' is no card: {USAGE}.")
    try:
        value = number(rest[0])
    except NetlistError as error:
        raise ConfigError(f"Card '{card}': {error}") from error
    if not -1.0 < value < 1.0:
        raise ConfigError(f"Card '{card}': the coupling is {rest[0]}; it must be between -1 and 1.")
    return (*pair, value)
