"""Graphs of transistors: grids, layers, and random ones."""

import dataclasses
import itertools

import numpy as np

from eqprop_spice.errors import ConfigError
from eqprop_spice.substrates.transistor_base import AbstractTransistors, Graph


def _outputs(free: list[int], num_outputs: int, *, differential: bool) -> np.ndarray:
    """Return pairs of output nodes: all positive ones first, then all negative ones."""
    if not differential:
        return np.array([[node, -1] for node in free], int)
    return np.array([free[:num_outputs], free[num_outputs:]], int).T


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid(AbstractTransistors):
    """A square lattice, closed to a torus, with a transistor between neighbors.

    Attributes:
        rows: Nodes from top to bottom.
        columns: Nodes from left to right.
        periodic: Whether the last row and column are neighbors of the first.
        source_nodes: The lattice's nodes, counted row by row, that are held: by the inputs, their
            opposites, and the constants. Spread evenly if empty.
        output_nodes: Those that are outputs, positive ones first. Half a row beside the sources if
            empty.
    """

    rows: int = 4
    columns: int = 4
    periodic: bool = True
    source_nodes: tuple[int, ...] = ()
    output_nodes: tuple[int, ...] = ()

    def lattice(self) -> np.ndarray:
        """Return the pairs of neighbors, each once."""
        numbers = np.arange(self.rows * self.columns).reshape(self.rows, self.columns)
        pairs = []
        for axis in (0, 1):
            other = np.roll(numbers, -1, axis=axis)
            kept = slice(None) if self.periodic else slice(-1)
            first = numbers[kept] if axis == 0 else numbers[:, kept]
            second = other[kept] if axis == 0 else other[:, kept]
            pairs.append(np.stack([first.ravel(), second.ravel()], axis=1))
        edges = np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)
        return edges[edges[:, 0] != edges[:, 1]]

    def _chosen(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the nodes of sources and outputs.

        Raises:
            ConfigError: If a node is none, is taken twice, or their numbers do not fit.
        """
        count = self.rows * self.columns
        num_outputs = self.num_outputs * (2 if self.differential else 1)
        sources, outputs = self.source_nodes, self.output_nodes
        if not sources:
            sources = tuple(np.linspace(0, count, self.num_sources, endpoint=False).astype(int))
        if not outputs:
            rest = [node for node in range(count) if node not in sources]
            places = np.linspace(0, len(rest), num_outputs, endpoint=False) + len(rest) / 8
            outputs = tuple(rest[int(place) % len(rest)] for place in places) if rest else ()
        for name, nodes, wanted in (
            ("source_nodes", sources, self.num_sources),
            ("output_nodes", outputs, num_outputs),
        ):
            if len(nodes) != wanted:
                raise ConfigError(f"{name} names {len(nodes)} nodes, but there are {wanted}.")
        both = [int(node) for node in (*sources, *outputs)]
        if len(set(both)) != len(both) or not all(0 <= node < count for node in both):
            raise ConfigError(
                f"source_nodes and output_nodes are {both}; each must be another node of the "
                f"lattice, 0 to {count - 1}."
            )
        return tuple(both[: len(sources)]), tuple(both[len(sources) :])

    def graph(self) -> Graph:
        """Return the lattice, its held nodes first."""
        sources, outputs = self._chosen()
        others = [n for n in range(self.rows * self.columns) if n not in sources]
        number = np.zeros(self.rows * self.columns, int)
        number[[*sources, *others]] = np.arange(len(number))
        edges = number[self.lattice()]
        edges = edges[(edges >= len(sources)).any(axis=1)]
        free = [int(number[node]) - len(sources) for node in outputs]
        pairs = _outputs(free, self.num_outputs, differential=self.differential)
        return Graph(len(sources), len(others), edges, pairs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layers(AbstractTransistors):
    """Layers of nodes with a transistor from every node to every one of the next layer.

    Without hidden layers every output node has an equation of its own, whatever its size.

    Attributes:
        hidden: Nodes of the hidden layers.
        skip: Whether the sources lead to every layer; else to the first alone.
        num_edges: Edges that are kept of all, drawn with `graph_seed`; all if 0.
        graph_seed: Seed of what is kept.
    """

    hidden: tuple[int, ...] = ()
    skip: bool = False
    num_edges: int = 0
    graph_seed: int = 0

    def graph(self) -> Graph:
        """Return the layers; the outputs are the last free nodes."""
        num_outputs = self.num_outputs * (2 if self.differential else 1)
        sizes = (*self.hidden, num_outputs)
        if min(sizes) < 1:
            raise ConfigError(f"hidden is {self.hidden}; every layer needs a node.")
        starts = self.num_sources + np.cumsum([0, *sizes])
        before, pairs = np.arange(self.num_sources), []
        for k, (start, end) in enumerate(itertools.pairwise(starts)):
            nodes = np.arange(start, end)
            if k and self.skip:
                before = np.concatenate([np.arange(self.num_sources), before])
            first, second = np.meshgrid(before, nodes, indexing="ij")
            pairs.append(np.stack([first.ravel(), second.ravel()], axis=1))
            before = nodes
        edges = self._kept(np.concatenate(pairs))
        free = list(range(sum(self.hidden), sum(sizes)))
        outputs = _outputs(free, self.num_outputs, differential=self.differential)
        return Graph(self.num_sources, sum(sizes), edges, outputs)

    def _kept(self, edges: np.ndarray) -> np.ndarray:
        if self.num_edges == 0:
            return edges
        if not 0 < self.num_edges <= len(edges):
            raise ConfigError(f"num_edges is {self.num_edges}; all layers have {len(edges)}.")
        rng = np.random.default_rng(self.graph_seed)
        return edges[np.sort(rng.permutation(len(edges))[: self.num_edges])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomGraph(AbstractTransistors):
    """Nodes joined at random: a tree that reaches all of them, and further edges.

    Attributes:
        num_hidden: Free nodes that are no outputs.
        num_edges: Edges.
        graph_seed: Seed of the graph.
    """

    num_hidden: int = 8
    num_edges: int = 40
    graph_seed: int = 0

    def graph(self) -> Graph:
        """Return the graph; the outputs are the last free nodes."""
        num_outputs = self.num_outputs * (2 if self.differential else 1)
        num_free, held = self.num_hidden + num_outputs, self.num_sources
        first, second = np.triu_indices(held + num_free, 1)
        possible = np.stack([first, second], axis=1)[second >= held]
        if not num_free <= self.num_edges <= len(possible):
            raise ConfigError(
                f"num_edges is {self.num_edges}; {num_free} free nodes and {held} sources take "
                f"from {num_free} to {len(possible)}."
            )
        rng = np.random.default_rng(self.graph_seed)
        order = held + rng.permutation(num_free)
        tree = [
            (int(rng.choice(held) if k == 0 else rng.choice([*range(held), *order[:k]])), int(node))
            for k, node in enumerate(order)
        ]
        chosen = {tuple(sorted(pair)) for pair in tree}
        for pair in rng.permutation(possible).tolist():
            if len(chosen) == self.num_edges:
                break
            chosen.add(tuple(pair))
        free = list(range(self.num_hidden, num_free))
        outputs = _outputs(free, self.num_outputs, differential=self.differential)
        return Graph(held, num_free, np.array(sorted(chosen), int), outputs)
