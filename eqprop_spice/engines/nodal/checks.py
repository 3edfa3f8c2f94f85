"""What makes a circuit's equations singular whatever its values are, found before it is solved.

A simulator answers such circuits with a number: through gmin, or by a shunt it adds of its own.
"""

from collections.abc import Iterable, Iterator

from eqprop_spice.engines.nodal.parts import Parts
from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.deck import Deck, Element

SHOWN = 5
"""How many names an error lists."""


class _Forest:
    """Which nodes are joined, and by which elements."""

    def __init__(self) -> None:
        self.above: dict[str, tuple[str, str]] = {}

    def root(self, node: str) -> str:
        """Return the node that stands for all that are joined with this one."""
        while node in self.above:
            node = self.above[node][0]
        return node

    def path(self, node: str) -> list[tuple[str, str]]:
        """Return the nodes from this one to its root, each with the element that leads there."""
        steps = [(node, "")]
        while node in self.above:
            node, element = self.above[node]
            steps.append((node, element))
        return steps

    def join(self, first: str, second: str, element: str) -> list[str] | None:
        """Join two nodes; returns the elements of the loop that this closes, if it does."""
        ours, theirs = self.path(first), self.path(second)
        if ours[-1][0] != theirs[-1][0]:
            # The path from `second` to its root is turned round, so that `second` is a root.
            nodes = [node for node, _ in theirs]
            elements = [name for _, name in theirs[1:]]
            for node in nodes[:-1]:
                del self.above[node]
            for below, node, name in zip(nodes, nodes[1:], elements, strict=False):
                self.above[node] = (below, name)
            self.above[second] = (first, element)
            return None
        lines = [[node for node, _ in steps] for steps in (ours, theirs)]
        meeting = next(node for node in lines[0] if node in set(lines[1]))
        loop = [element]
        for steps, line in zip((ours, theirs), lines, strict=True):
            loop += [name for _, name in steps[1 : line.index(meeting) + 1]]
        return loop


def _conducting(parts: Parts) -> Iterator[tuple[str, str]]:
    """Yield the pairs of nodes whose voltages a direct current or a source ties."""
    for element in parts.linear:
        first, second, *control = element.nodes
        if element.name[0] in "rvleh" or (element.name[0] == "g" and {*control} == {first, second}):
            yield first, second
    for part in parts.devices:
        for one, two in part.device.paths:
            yield part.nodes[one], part.nodes[two]


def _listed(names: Iterable[str]) -> str:
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more


def _loops(linear: tuple[Element, ...]) -> None:
    """Refuse loops of elements that fix a voltage."""
    forest = _Forest()
    originals = {element.name: element.original for element in linear}
    sensed = {element.control for element in linear}
    for element in linear:
        # The current of a loop through an element that controls another is not free.
        if element.name[0] not in "vehl" or element.name in sensed:
            continue
        loop = forest.join(element.nodes[0], element.nodes[1], element.name)
        if loop is not None:
            raise NetlistError(
                f"{element.place}: {_listed(originals[name] for name in loop)} fix voltages in a "
                "loop, so that no current in it follows (inductors are shorts at direct current). "
                "Put a small resistor into the loop."
            )


def check(deck: Deck, parts: Parts) -> None:
    """Refuse circuits without a direct solution.

    Raises:
        NetlistError: If voltage sources form a loop, or nodes have no path for a direct current to
            the ground: nothing leads there, or current sources alone do.
    """
    _loops(parts.linear)
    joined = _Forest()
    for one, two in _conducting(parts):
        joined.join(one, two, "")
    ground = joined.root("0")
    floating = [node for node in deck.nodes.values() if joined.root(node) != ground]
    if not floating:
        return
    originals = {ours: theirs for theirs, ours in deck.nodes.items()}
    apart = set(floating)
    feeding = [
        element.original
        for element in parts.linear
        if element.name[0] in "ifg" and apart & {*element.nodes[:2]}
    ]
    names = _listed(originals[node] for node in floating)
    if feeding:
        raise NetlistError(
            f"The nodes {names} are reached by current sources alone ({_listed(feeding)}): their "
            "currents cut the circuit in two, and no voltage follows. Add a resistor to the ground."
        )
    raise NetlistError(
        f"The nodes {names} have no path for a direct current to the ground (a capacitor or a gate "
        "is none). Add a resistor to the ground, such as 1e12 ohm, or remove them."
    )
