"""Schematics of netlists: inputs on the left, outputs on the right, supplies as symbols."""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.placement import (
    CONTROLLED,
    GROUND,
    PART,
    Placement,
    ends,
    has_place,
    placement,
)
from eqprop_spice.results.schematic import THICK, THIN, schematic, tools
from eqprop_spice.spice.deck import Deck, Element
from eqprop_spice.substrates.netlist import Netlist

COLUMN, ROW = 3.2, 5.8
"""Distances of columns and rows, in lengths of schemdraw."""

STUB, SPACING = 1.7, 1.0
"""Length of an element between a node and a supply, and distance of two beside each other."""

NEAR = 0.38
"""Where along a line its symbol stands: left of the middle, where most lines cross."""

MOST_LABELS = 60
"""Elements up to which each is called by name and value."""

UNITS = {"R": "Ω", "C": "F", "L": "H", "V": "V", "I": "A"}

PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}

SYMBOLS = {
    "R": "Resistor",
    "C": "Capacitor",
    "L": "Inductor2",
    "D": "Diode",
    "V": "SourceV",
    "I": "SourceI",
    "npn": "BjtNpn",
    "pnp": "BjtPnp",
    "nmos": "NFet",
    "pmos": "PFet",
    "njf": "JFetN",
    "pjf": "JFetP",
    "E": "SourceControlledV",
    "H": "SourceControlledV",
    "F": "SourceControlledI",
    "G": "SourceControlledI",
    "B": "Josephson",
}
"""What schemdraw calls the symbols, by the letter of an element or the kind of its model."""

VOLTAGES = frozenset("VEH")
"""Elements whose symbol has a plus."""

ANCHORS = {
    "M": ("drain", "gate", "source"),
    "Q": ("collector", "base", "emitter"),
    "J": ("drain", "gate", "source"),
}


def with_prefix(value: float, unit: str) -> str:
    """Return a value with its unit and a prefix: 4700 and Ω are 4.7 kΩ."""
    if value == 0.0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    # Rounded first: 999.9 is shown as 1000, which has another prefix.
    rounded = f"{value:.2e}"
    power = min(max(3 * (int(rounded.partition("e")[2]) // 3), -15), 9)
    return f"{float(rounded) / 10.0**power:.3g} {PREFIXES[power]}{unit}"


def plain(text: str) -> str:
    """Return a stranger's name without the signs that drawings take for orders."""
    return re.sub(r"[^\w .,:;+\-/()#=*\n]", "?", text)


def deck_schematic(
    deck: Deck,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    trained: Sequence[str] = (),
    title: str = "",
    form: Literal["svg", "png"] = "svg",
) -> bytes:
    """Return the drawing of a netlist.

    Args:
        deck: The netlist.
        inputs: Names of the elements that are inputs; see `placement`.
        outputs: Names of the nodes that are outputs.
        trained: Names of resistors whose conductances are drawn as line width.
        title: What is written above.
        form: The file's format.

    Raises:
        ConfigError: If schemdraw is not installed, or the netlist has no such output.
    """
    schemdraw, elements = tools(form)
    known = dict(deck.nodes) | {GROUND: GROUND}
    for node in outputs:
        if node not in known:
            raise ConfigError(f"The netlist has no node '{node}'. It has {', '.join(deck.nodes)}.")
    originals = [element.original for element in deck.elements]
    for name in inputs:
        if name not in originals:
            raise ConfigError(f"The netlist has no element '{name}'.")
    plan = placement(deck, inputs=inputs, outputs=[known[node] for node in outputs])
    with schemdraw.Drawing(show=False) as drawing:
        drawing.config(fontsize=9, unit=STUB)
        _Drawn(drawing, elements, deck, plan, _widths(deck, trained)).all(title)
    return drawing.get_imagedata(form)


def _widths(deck: Deck, trained: Sequence[str]) -> dict[str, float]:
    """Return line widths [points] by our names: the larger a trained conductance, the thicker."""
    chosen = {e.name: e.value for e in deck.elements if e.kind == "R" and e.original in trained}
    orders = {name: -math.log(max(abs(ohms), 1e-300)) for name, ohms in chosen.items()}
    low, high = min(orders.values(), default=0.0), max(orders.values(), default=0.0)
    scale = (THICK - THIN) / (high - low) if high > low else 0.0
    return {name: THIN + scale * (order - low) for name, order in orders.items()}


def drawn(
    experiment: Experiment,
    params: Mapping[str, Any],
    *,
    title: str = "",
    form: Literal["svg", "png"] = "svg",
) -> bytes:
    """Return the drawing of an experiment's circuit, be it made of layers or of a netlist.

    Args:
        experiment: The experiment.
        params: Its parameters, of which conductances are drawn as line width.
        title: What is written above.
        form: The file's format.

    Raises:
        ConfigError: If its system is neither, or schemdraw is not installed.
    """
    substrate = experiment.substrate
    if not isinstance(substrate, Netlist):
        return schematic(experiment.circuit, params, title=title, form=form)
    pairs = [(nodes,) if isinstance(nodes, str) else nodes for nodes in substrate.output_nodes]
    return deck_schematic(
        substrate.trained_deck(params),
        inputs=[name.lower() for name in substrate.inputs],
        outputs=[node.lower() for pair in pairs for node in pair if node != GROUND],
        trained=substrate.learnable.names,
        title=title,
        form=form,
    )


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """A drawing under construction."""

    drawing: Any
    elements: Any
    deck: Deck
    plan: Placement
    widths: Mapping[str, float]

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """What the netlist calls the nodes."""
        return {ours: theirs for theirs, ours in self.deck.nodes.items()}

    @functools.cached_property
    def at(self) -> dict[str, tuple[float, float]]:
        """Where things stand, in lengths of schemdraw."""
        return {name: (x * COLUMN, y * ROW) for name, (x, y) in self.plan.places.items()}

    def add(self, element: Any) -> None:
        self.drawing.add(element)

    def line(self, one: Any, two: Any, **style: Any) -> None:
        self.add(self.elements.Line(**style).at(one).to(two))

    def say(self, text: str, at: tuple[float, float], rotation: int = 0) -> None:
        self.add(self.elements.Label().at(at).label(plain(text), rotate=rotation))

    def text(self, element: Element) -> str:
        """Return what stands beside an element, while they are few."""
        if len(self.deck.elements) > MOST_LABELS:
            return ""
        if element.control:
            return f"{element.original}\nby {element.control}"
        unit = UNITS.get(element.kind)
        return element.original + ("" if unit is None else f"\n{with_prefix(element.value, unit)}")

    def all(self, title: str) -> None:
        """Draw everything."""
        stubs: dict[str, list[tuple[Element, str]]] = {}
        pairs: dict[frozenset[str], list[Element]] = {}
        supplies: list[str] = []
        for element in self.deck.elements:
            if has_place(element):
                self.part(element)
                continue
            one, two = element.nodes
            outside = [node for node in (one, two) if node in self.plan.rails]
            if len(outside) == 2:
                supplies.append(self.text(element).replace("\n", " "))
            elif outside:
                node = two if one in outside else one
                stubs.setdefault(node, []).append((element, outside[0]))
            else:
                pairs.setdefault(frozenset((one, two)), []).append(element)
        for parallel in pairs.values():
            for k, element in enumerate(parallel):
                self.between(element, k - (len(parallel) - 1) / 2)
        for node, found in stubs.items():
            if node in self.at:
                self.stubs(node, found)
        for node, at in self.at.items():
            if not node.startswith(PART):
                self.node(node, at)
        for x, y in self.plan.dots:
            self.say("...", (x * COLUMN, y * ROW), 90)
        rows = [y for _, y in self.at.values()] or [0.0]
        middle = max((x for x, _ in self.at.values()), default=0.0) / 2
        if title:
            self.say(title, (middle, max(rows) + 0.8 * ROW))
        if any(supplies):
            self.say("supplies: " + ", ".join(supplies), (middle, min(rows) - 0.8 * ROW))

    def node(self, node: str, at: tuple[float, float]) -> None:
        """Draw a node and its name."""
        side = "left" if node in self.plan.inputs else "right"
        edge = node in self.plan.inputs or node in self.plan.outputs
        dot = self.elements.Dot(open=edge).at(at)
        self.add(dot.label(plain(self.names[node]), loc=side if edge else "top", color="tab:blue"))

    def symbol(self, element: Element, first: Any, second: Any, side: str | None = None) -> None:
        """Draw the symbol of an element between its first node and its second."""
        drawn = getattr(self.elements, SYMBOLS[element.kind])(lw=self.widths.get(element.name, 1.0))
        # schemdraw has the plus of a source at the end, SPICE at the first node.
        places = (second, first) if element.kind in VOLTAGES else (first, second)
        if side is not None and element.kind in VOLTAGES:
            side = "bottom" if side == "top" else "top"
        self.add(drawn.endpoints(*places).label(plain(self.text(element)), loc=side, fontsize=7))

    def between(self, element: Element, shift: float) -> None:
        """Draw an element on the line between two nodes, beside others that are parallel to it."""
        one, two = element.nodes
        if one not in self.at or two not in self.at:
            # An end of it is behind the dots.
            return
        left, right = sorted((self.at[one], self.at[two]))
        (x0, y0), (x1, y1) = left, right
        far = abs(x1 - x0) > 2.5 * COLUMN
        if x0 == x1:
            dx, dy = 0.7 * COLUMN * (1 + shift), 0.0
        else:
            dx, dy = 0.0, 1.2 * shift + (0.45 * ROW if far else 0.0)
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        share = STUB / (2 * length)
        near = 0.5 if x0 == x1 else NEAR
        middle = x0 + near * (x1 - x0) + dx, y0 + near * (y1 - y0) + dy
        along = ((x1 - x0) * share, (y1 - y0) * share)
        start = middle[0] - along[0], middle[1] - along[1]
        stop = middle[0] + along[0], middle[1] + along[1]
        width = self.widths.get(element.name, 1.0)
        self.line(left, start, lw=width)
        self.symbol(element, *((start, stop) if left == self.at[one] else (stop, start)))
        self.line(stop, right, lw=width)

    def stubs(self, node: str, found: Sequence[tuple[Element, str]]) -> None:
        """Draw the elements between a node and supplies: down to the ground, up to others."""
        x, y = self.at[node]
        for down in (True, False):
            chosen = [(e, rail) for e, rail in found if (rail == GROUND) == down]
            for k, (element, rail) in enumerate(chosen):
                shift = SPACING * (k - (len(chosen) - 1) / 2)
                sign = -1 if down else 1
                near, far = (x + shift, y + 0.4 * sign), (x + shift, y + (0.4 + STUB) * sign)
                width = self.widths.get(element.name, 1.0)
                self.line((x, y), near, lw=width)
                start, stop = (near, far) if element.nodes[0] == node else (far, near)
                side = "bottom" if (start == near) == down else "top"
                self.symbol(element, start, stop, side)
                self.rail(rail, far)

    def rail(self, rail: str, at: Any) -> None:
        """Draw the symbol of a supply."""
        if rail == GROUND:
            self.add(self.elements.Ground().at(at))
        else:
            self.add(self.elements.Vdd().at(at).label(plain(self.names[rail])))

    def part(self, element: Element) -> None:
        """Draw a transistor or a controlled source, with lines to its nodes."""
        at = self.at.get(PART + element.name)
        if at is None:
            return
        if element.kind in CONTROLLED:
            top, bottom = (at[0], at[1] + STUB / 2), (at[0], at[1] - STUB / 2)
            self.symbol(element, top, bottom)
            places = [top, bottom, *[(at[0] - 0.5, at[1])] * 2]
        else:
            assert element.model is not None
            symbol = getattr(self.elements, SYMBOLS[self.deck.models[element.model].kind])()
            if element.kind != "Q":
                symbol = symbol.reverse()
            drawn = self.drawing.add(symbol.theta(0).at(at).anchor("center"))
            if len(self.deck.elements) <= MOST_LABELS:
                self.say(element.original, (at[0] + 0.9, at[1]))
            places = [getattr(drawn, name) for name in ANCHORS[element.kind]]
        for number, (node, place) in enumerate(zip(ends(element), places, strict=False)):
            controls = number >= 2 if element.kind in CONTROLLED else False
            if node in self.plan.rails:
                self.rail(node, place)
            elif node in self.at:
                self.line(place, self.at[node], ls="--" if controls else "-", lw=1.0)
