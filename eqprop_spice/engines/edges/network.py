r"""A graph whose edges are transistors: drain and source at nodes, the gate at a voltage.

Nodes are numbered sources first, which hold their voltages, then free ones. With the currents
$i_d, i_s$ into drain and source of every edge, Kirchhoff's law at free node n reads

$f_n(v) = \sum_{e: d(e) = n} i_d + \sum_{e: s(e) = n} i_s + g_{leak} v_n - I_n = 0$.

Gates draw no current, and all bulks are at one voltage, so an edge is a function of its two node
voltages and its gate. All laws are evaluated on the array namespace of their arguments.
"""

import dataclasses
import functools
import operator
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.devices.mosfet import Mosfet

VOLTAGE_FLOOR = 1e-6
"""Drop [V] that every slope counts with at least in the currents that meet in a node."""


def _incidence(ends: np.ndarray, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for every free node the positions in `ends` where it stands, padded by their number.

    Args:
        ends: Nodes.
        first: Number of the first free node.
        count: Number of free nodes.

    Returns:
        The positions, `free degree`, and the degrees.
    """
    order = np.argsort(ends, kind="stable")
    sorted_ends = ends[order]
    starts = np.searchsorted(sorted_ends, np.arange(first, first + count))
    stops = np.searchsorted(sorted_ends, np.arange(first, first + count), side="right")
    degrees = stops - starts
    width = int(degrees.max(initial=1))
    places = starts[:, None] + np.arange(width)
    inside = places < stops[:, None]
    padded = np.append(order, len(ends))
    return padded[np.where(inside, places, len(ends))], degrees


def _total(parts: Sequence[Array]) -> Array:
    """Return the sum of one array or more."""
    return functools.reduce(operator.add, parts)


@dataclasses.dataclass(frozen=True, eq=False)
class EdgeDevice:
    """A transistor of every edge.

    Attributes:
        law: The law; its fields are numbers, or arrays with one per edge.
        bulk: Voltage of the bulks [V].
        gate_scale: The gate is at so much times the edge's gate voltage,
        gate_offset: and this above [V].
    """

    law: Mosfet
    bulk: float = 0.0
    gate_scale: float = 1.0
    gate_offset: float = 0.0

    def drops(
        self, drain: Float[Array, "batch edge"], source: Float[Array, "batch edge"], gates: Array
    ) -> tuple[Float[Array, "batch edge"], ...]:
        """Return the voltages of drain, gate and source above the bulk [V]."""
        gate = self.gate_scale * gates + self.gate_offset - self.bulk
        return drain - self.bulk, gate + 0.0 * drain, source - self.bulk


@dataclasses.dataclass(frozen=True, eq=False)
class EdgeNetwork:
    """The equations of a graph of transistors; an edge has one, or several beside each other.

    Attributes:
        num_sources: Number of nodes that hold their voltages.
        num_free: Number of free nodes.
        drains: Node of every edge's drain.
        sources: Node of every edge's source.
        devices: The transistors of every edge.
        leak: Conductance from every free node to the ground [S].
    """

    num_sources: int
    num_free: int
    drains: Int[np.ndarray, " edge"]
    sources: Int[np.ndarray, " edge"]
    devices: tuple[EdgeDevice, ...]
    leak: float = 0.0

    @property
    def num_edges(self) -> int:
        """Number of edges."""
        return len(self.drains)

    @functools.cached_property
    def scalar(self) -> bool:
        """Whether no edge joins two free nodes: then every one has an equation of its own."""
        free = (self.drains >= self.num_sources) & (self.sources >= self.num_sources)
        return not free.any()

    @functools.cached_property
    def _places(self) -> np.ndarray:
        ends = np.concatenate([self.drains, self.sources])
        return _incidence(ends, self.num_sources, self.num_free)[0]

    def gathered(
        self, at_drains: Float[Array, "batch edge"], at_sources: Float[Array, "batch edge"]
    ) -> Float[Array, "batch free"]:
        """Return the sums at the free nodes of something at both ends of all edges."""
        xp = at_drains.__array_namespace__()
        both = xp.concatenate([at_drains, at_sources, xp.zeros((len(at_drains), 1))], axis=1)
        return both[:, self._places].sum(axis=2)

    def _drops(self, voltages: Array, gates: Array, device: EdgeDevice) -> tuple[Array, ...]:
        return device.drops(voltages[:, self.drains], voltages[:, self.sources], gates)

    def currents(
        self, voltages: Float[Array, "batch node"], gates: Float[Array, " edge"]
    ) -> tuple[Float[Array, "batch edge"], Float[Array, "batch edge"]]:
        """Return the currents into all drains and sources [A]."""
        parts = [
            device.law.currents(*self._drops(voltages, gates, device)) for device in self.devices
        ]
        return _total([drain for drain, _, _ in parts]), _total([source for _, _, source in parts])

    def residual(
        self,
        voltages: Float[Array, "batch node"],
        gates: Float[Array, " edge"],
        injected: Float[Array, "batch free"],
    ) -> Float[Array, "batch free"]:
        """Return the currents that leave the free nodes, less those injected [A]."""
        leaving = self.gathered(*self.currents(voltages, gates))
        return leaving + self.leak * voltages[:, self.num_sources :] - injected

    def scale(
        self, voltages: Float[Array, "batch node"], gates: Float[Array, " edge"]
    ) -> Float[Array, "batch free"]:
        """Return the magnitudes of the currents that meet at the free nodes [A].

        Every slope counts with `VOLTAGE_FLOOR` at least, so that nodes without a current have a
        scale.
        """
        drain, source = self.currents(voltages, gates)
        dd, ds, sd, ss = (VOLTAGE_FLOOR * abs(slope) for slope in self.slopes(voltages, gates))
        return self.gathered(abs(drain) + dd + ds, abs(source) + sd + ss)

    def slopes(
        self, voltages: Float[Array, "batch node"], gates: Float[Array, " edge"]
    ) -> tuple[Float[Array, "batch edge"], ...]:
        """Return the slopes [S]: drain by drain, drain by source, source by drain, by source."""
        rows = [device.law.slopes(*self._drops(voltages, gates, device)) for device in self.devices]
        return (
            _total([drain[0] for drain, _, _ in rows]),
            _total([drain[2] for drain, _, _ in rows]),
            _total([source[0] for _, _, source in rows]),
            _total([source[2] for _, _, source in rows]),
        )

    def gate_slopes(
        self, voltages: Float[Array, "batch node"], gates: Float[Array, " edge"]
    ) -> tuple[Float[Array, "batch edge"], Float[Array, "batch edge"]]:
        """Return the slopes of the currents into drain and source by the gate's voltage [S]."""
        drains, sources = [], []
        for device in self.devices:
            by_drain, _, by_source = device.law.slopes(*self._drops(voltages, gates, device))
            drains.append(device.gate_scale * by_drain[1])
            sources.append(device.gate_scale * by_source[1])
        return _total(drains), _total(sources)

    @functools.cached_property
    def pattern(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and columns of all slopes at free nodes in the Jacobian, and which slopes those are.

        Slopes are numbered as `slopes` returns them, one array after the other.
        """
        ends = (self.drains - self.num_sources, self.sources - self.num_sources)
        rows = np.concatenate([ends[0], ends[0], ends[1], ends[1]])
        columns = np.concatenate([ends[0], ends[1], ends[0], ends[1]])
        kept = np.flatnonzero((rows >= 0) & (columns >= 0))
        return rows[kept], columns[kept], kept
