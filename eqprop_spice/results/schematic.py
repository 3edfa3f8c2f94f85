"""Schematics of circuits: inputs on the left, outputs on the right, trained conductances as width.

Of a large layer only the first devices and the last are drawn, with dots between them.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.groups import Group
from eqprop_spice.errors import ConfigError

FEW, FIRST, LAST = 4, 2, 1
"""Nodes of a column that are drawn: all of a few, else some at its beginning and at its end."""

NEAR = 0.42
"""Where along a line its symbol ends. Its middle lies at a fifth of the line: there the lines of
one node have parted, and those of other nodes cross farther to the right."""

SMALL = 0.6
"""Size of symbols relative to schemdraw's: those of neighboring lines have to lie apart."""

COLUMN, ROW = 6.5, 2.6
"""Distances of nodes in a drawing, in lengths of schemdraw."""

THIN, THICK = 0.4, 3.0
"""Line widths of the smallest and of the largest conductance of a group [points]."""

HINT = "A schematic needs schemdraw. Install it: pip install 'eqprop_spice[schematic]'"


def tools(form: Literal["svg", "png"]) -> tuple[Any, Any]:
    """Return schemdraw, set to draw in a file's format, and its elements.

    Raises:
        ConfigError: If schemdraw is not installed.
    """
    try:
        import schemdraw
        import schemdraw.elements as elements
    except ImportError:
        raise ConfigError(HINT) from None
    schemdraw.use("svg" if form == "svg" else "matplotlib")
    return schemdraw, elements


def schematic(
    circuit: Circuit,
    params: Mapping[str, Array] | None = None,
    *,
    title: str = "",
    form: Literal["svg", "png"] = "svg",
) -> bytes:
    """Return the drawing of a circuit.

    Args:
        circuit: The circuit, in layers or not.
        params: Conductances [S], which are drawn as line width; all alike if None.
        title: What is written above.
        form: The file's format.

    Raises:
        ConfigError: If schemdraw is not installed.
    """
    schemdraw, elements = tools(form)
    with schemdraw.Drawing(show=False) as drawing:
        drawing.config(fontsize=10, unit=2.0)
        _Drawn(drawing, elements, circuit, params).all(title)
    return drawing.get_imagedata(form)


def _prefix(name: str) -> str:
    return name.split("_")[0]


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """A drawing under construction."""

    drawing: Any
    elements: Any
    circuit: Circuit
    params: Mapping[str, Array] | None

    @functools.cached_property
    def columns(self) -> list[list[int]]:
        """The nodes from left to right: sources, then the others as they were built."""
        circuit = self.circuit
        used = {
            int(node)
            for group in circuit.groups
            for ends in group.paths
            for e in ends
            for node in e
        }
        carried = [node for a in circuit.amplifiers for node in (*a.inputs, *a.outputs)]
        used |= set(map(int, carried))
        shifts = {
            int(node)
            for group in circuit.groups
            if not group.device.trainable
            for ends in group.paths
            for nodes in ends
            for node in nodes
            if circuit.is_fixed[node]
        }
        by_prefix: dict[str, list[int]] = {}
        for node in sorted(used - shifts - {0}):
            fixed = bool(circuit.is_fixed[node])
            key = "" if fixed else _prefix(circuit.node_names[node])
            by_prefix.setdefault(key, []).append(node)
        return [
            by_prefix[key] for key in sorted(by_prefix, key=lambda k: (k != "", by_prefix[k][0]))
        ]

    @functools.cached_property
    def places(self) -> dict[int, tuple[float, float]]:
        """Where each node that is drawn stands."""
        places = {}
        for number, nodes in enumerate(self.columns):
            few = len(nodes) <= FEW
            shown = nodes if few else [*nodes[:FIRST], None, *nodes[-LAST:]]
            for row, node in enumerate(shown):
                at = number * COLUMN, -ROW * (row - (len(shown) - 1) / 2)
                if node is None:
                    self._say("...", at, rotated=True)
                else:
                    places[int(node)] = at
        return places

    def _say(self, text: str, at: tuple[float, float], *, rotated: bool = False) -> None:
        label = self.elements.Label().at(at).label(text, rotate=90 if rotated else 0)
        self.drawing.add(label)

    def all(self, title: str) -> None:
        """Draw everything."""
        elements, circuit, places = self.elements, self.circuit, self.places
        for group in circuit.groups:
            self._group(group)
        for amplifiers in circuit.amplifiers:
            for one, two, gain in zip(
                amplifiers.inputs, amplifiers.outputs, amplifiers.gains, strict=True
            ):
                if int(one) in places and int(two) in places:
                    box = elements.RBox().at(places[int(one)]).to(places[int(two)])
                    self.drawing.add(box.label(f"x{gain:g}"))
        outputs = set(map(int, circuit.output_nodes.ravel()))
        for node, at in places.items():
            name = circuit.node_names[node]
            side = "left" if circuit.is_fixed[node] else "right" if node in outputs else "top"
            self.drawing.add(elements.Dot(open=side != "top").at(at).label(name, loc=side))
        if title:
            top = max((y for _, y in places.values()), default=0.0)
            middle = COLUMN * (len(self.columns) - 1) / 2
            self._say(title, (middle, top + ROW))

    def _group(self, group: Group) -> None:
        """Draw the devices of a group whose ends are both drawn, or one of which is a source."""
        widths, shown = self._widths(group), list(self.places)
        for ends in group.ports if group.device.supplies else group.paths:
            # A large layer has far more devices than are drawn.
            for number in np.flatnonzero(np.isin(ends, shown).any(0)):
                one, two = ends[0][number], ends[1][number]
                self._device(group, int(one), int(two), float(widths[number]))

    def _device(self, group: Group, one: int, two: int, width: float) -> None:
        elements, places = self.elements, self.places
        resistive = group.device.trainable or group.device.linear
        element = elements.Resistor if resistive else elements.Diode
        if group.device.supplies:
            element = elements.SourceI
        if one in places and two in places:
            start, stop = np.array(places[one]), np.array(places[two])
            bend = tuple(start + NEAR * (stop - start))
            self.drawing.add(element(lw=width).at(places[one]).to(bend).scale(SMALL))
            self.drawing.add(elements.Line(lw=width).at(bend).to(places[two]))
            return
        held = two if one in places else one
        node = one if one in places else two
        alone = group.device.trainable and not group.device.supplies
        if node not in places or not self.circuit.is_fixed[held] or alone:
            # Its other end is behind the dots.
            return
        x, y = places[node]
        # The upper diode to the right of its node, the lower to the left.
        end = x + (0.8 if held == two else -0.8), y - 0.75 * ROW
        start, stop = ((x, y), end) if held == two else (end, (x, y))
        self.drawing.add(element(lw=width).at(start).to(stop).scale(SMALL))
        if held == 0:
            self.drawing.add(elements.Ground().at(end))
        else:
            self._say(self.circuit.node_names[held], (end[0], end[1] - 0.3))

    def _widths(self, group: Group) -> np.ndarray:
        """Return the line width of every device of a group [points]."""
        count = group.num_instances
        if self.params is None or not group.device.linear or group.key not in self.params:
            return np.full(count, 1.0)
        values = np.ravel(np.asarray(group.conductances(self.params)))
        order = np.log(np.maximum(values, np.finfo(float).tiny))
        low, high = order.min(), order.max()
        share = (order - low) / (high - low) if high > low else np.full(count, 0.5)
        return THIN + (THICK - THIN) * share
