"""Where the nodes and transistors of a netlist stand in a drawing: in layers from the inputs on."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from eqprop_spice.spice.deck import Deck, Element

GROUND = "0"

TRANSISTORS, CONTROLLED = frozenset("MQJ"), frozenset("EFGHB")

FEW, FIRST, LAST = 8, 5, 2
"""Things in a column that are drawn: all of a few, else some at its beginning and at its end."""

FEW_COLUMNS, FIRST_COLUMNS, LAST_COLUMNS = 17, 9, 6
"""The same for columns; every second one holds nodes."""

SWEEPS = 4
"""How often columns are sorted by what they are connected to."""

PART = "@"
"""Begins the name of an element among those of nodes."""

SUPPLIES = ("vcc", "vdd", "vee", "vss")
"""How names of supplies begin."""

Place = tuple[float, float]
"""Column and row; row 0 is the middle, rows count upwards."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """A drawing's plan.

    Attributes:
        places: Of nodes by our names, and of elements with more than two ends by `PART` and theirs.
        dots: Where things were left out.
        rails: Nodes that a source holds and that are drawn as symbols wherever they are needed.
        inputs: Nodes on the left.
        outputs: Nodes on the right.
    """

    places: Mapping[str, Place]
    dots: tuple[Place, ...]
    rails: frozenset[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def has_place(element: Element) -> bool:
    """Whether an element stands somewhere by itself, and not on the line between two nodes."""
    return element.kind in TRANSISTORS | CONTROLLED


def ends(element: Element) -> tuple[str, ...]:
    """Return the nodes that a drawing connects with an element; the bulk is left out."""
    return element.nodes[:3] if element.kind in TRANSISTORS else element.nodes


def _held(deck: Deck) -> dict[str, Element]:
    """Return the nodes that a voltage source holds against the ground."""
    return {
        node: element
        for element in deck.elements
        if element.kind == "V" and GROUND in element.nodes
        for node in element.nodes
        if node != GROUND
    }


def placement(deck: Deck, *, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Placement:
    """Place a netlist: inputs on the left, outputs on the right.

    Args:
        deck: The netlist.
        inputs: Elements that are inputs. If there are none, they are the sources that hold a node
            with few elements, or that controls a transistor; others are supplies.
        outputs: Nodes that are outputs. If there are none, they are those farthest from the inputs.
    """
    held = _held(deck)
    fed = {n for e in deck.elements if e.original in inputs for n in e.nodes} - {GROUND}
    if not inputs:
        fed = {node for node in held if not _supplies(deck, node)} or set(held)
    rails = frozenset({GROUND, *held} - fed)
    graph = _graph(deck, rails)
    starts = [node for node in graph if node in fed]
    depths = _depths(graph, starts or list(graph)[:1])
    nodes = [name for name in graph if _is_node(name)]
    last = max((depths[name] for name in nodes), default=0)
    given = [node for node in outputs if node in depths and node not in fed]
    found = given or [node for node in nodes if depths[node] == last and node not in fed]
    depths |= dict.fromkeys(given, last + last % 2)
    places, dots = _spread(graph, depths)
    return Placement(places, dots, rails, tuple(starts), tuple(found))


def _supplies(deck: Deck, node: str) -> bool:
    """Whether a node that a source holds is a supply: it feeds much, or controls nothing."""
    if node.startswith(SUPPLIES):
        return True
    used = [e for e in deck.elements if node in ends(e) and e.kind != "V"]
    controls = any(e.kind in TRANSISTORS and e.nodes[1] == node for e in used)
    return len(used) > 2 and not controls


def _graph(deck: Deck, rails: frozenset[str]) -> dict[str, list[str]]:
    """Return which nodes and elements hang together, supplies aside."""
    graph: dict[str, list[str]] = {}

    def join(one: str, two: str) -> None:
        graph.setdefault(one, []).append(two)
        graph.setdefault(two, []).append(one)

    for element in deck.elements:
        nodes = [node for node in dict.fromkeys(ends(element)) if node not in rails]
        for node in nodes:
            graph.setdefault(node, [])
        if has_place(element):
            graph.setdefault(PART + element.name, [])
            for node in nodes:
                join(PART + element.name, node)
        elif len(nodes) == 2:
            join(*nodes)
    return graph


def _depths(graph: Mapping[str, Sequence[str]], starts: Iterable[str]) -> dict[str, int]:
    """Return the columns: nodes in even ones, elements that stand by themselves in odd ones."""
    depths: dict[str, int] = {}
    waiting = {0: list(starts)}
    left = [name for name in graph if name not in waiting[0]]
    while waiting or left:
        if not waiting:
            # What only supplies feed begins beside the inputs.
            first = next((name for name in left if name not in depths), None)
            if first is None:
                break
            waiting = {2: [first]}
        depth = min(waiting)
        for name in waiting.pop(depth):
            if name in depths:
                continue
            even = depth + depth % 2 if _is_node(name) else depth + 1 - depth % 2
            depths[name] = even
            for other in graph[name]:
                if other not in depths:
                    step = 2 if _is_node(name) and _is_node(other) else 1
                    waiting.setdefault(even + step, []).append(other)
    return depths


def _is_node(name: str) -> bool:
    return not name.startswith(PART)


def _spread(
    graph: Mapping[str, Sequence[str]], depths: Mapping[str, int]
) -> tuple[dict[str, Place], tuple[Place, ...]]:
    """Return places in the columns: near to what a thing is connected with."""
    columns: dict[int, list[str]] = {}
    for name in graph:
        columns.setdefault(depths[name], []).append(name)
    numbers = sorted(columns)
    rows = {n: _centered(k, columns[d]) for d in numbers for k, n in enumerate(columns[d])}
    for _ in range(SWEEPS):
        for depth in numbers:
            means = {
                name: sum(rows[o] for o in graph[name]) / len(graph[name])
                if graph[name]
                else rows[name]
                for name in columns[depth]
            }
            columns[depth].sort(key=lambda name: -means[name])
            rows |= {name: _centered(k, columns[depth]) for k, name in enumerate(columns[depth])}
    if len(numbers) > FEW_COLUMNS:
        shown = [*numbers[:FIRST_COLUMNS], None, *numbers[-LAST_COLUMNS:]]
    else:
        shown = list(numbers)
    places: dict[str, Place] = {}
    dots: list[Place] = []
    base = numbers[0] if numbers else 0
    for position, depth in enumerate(shown):
        column = float(position if len(shown) < len(numbers) else (depth or 0) - base)
        if depth is None:
            dots.append((column, 0.0))
            continue
        names = columns[depth]
        rowed = names if len(names) <= FEW else [*names[:FIRST], None, *names[-LAST:]]
        for k, name in enumerate(rowed):
            place = column, _centered(k, rowed)
            if name is None:
                dots.append(place)
            else:
                places[name] = place
    return places, tuple(dots)


def _centered(k: int, things: Sequence[object]) -> float:
    return (len(things) - 1) / 2 - k
