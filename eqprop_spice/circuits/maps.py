r"""The maps between the free nodes of a circuit, whose voltages are the unknowns, and all nodes.

A *follower* (an amplifier's output) has a gain times the voltage of its input, and draws a
reflection times its own current there. So all node voltages are $v = S u + b$ and Kirchhoff's law
at the free nodes is $R^T i(v) = I$, where S and R hold 1 for a free node and, for a follower, its
gain and its reflection respectively. Both are one `NodeMap` each; nothing else spreads values from
free nodes or gathers them.
"""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.layouts import add_at


def sum_at(total: Array, parts: Iterable[tuple[np.ndarray, Array]]) -> Array:
    """Return the array with `(indices, values)` added at its last axis; repeats accumulate."""
    for indices, values in parts:
        total = add_at(total, indices, values)
    return total


def set_at(array: Array, indices: np.ndarray, values: Array) -> Array:
    """Return the array with columns replaced; a numpy array is changed in place."""
    if isinstance(array, np.ndarray):
        array[:, indices] = values
        return array
    return array.at[:, indices].set(values)


@dataclasses.dataclass(frozen=True, eq=False)
class NodeMap:
    """A matrix `node free` that holds 1 for every free node, and a factor for every follower.

    Attributes:
        num_nodes: Number of nodes.
        free: The free nodes.
        links: Per group of followers, the free nodes they follow, themselves, and their factors.
    """

    num_nodes: int
    free: Int[np.ndarray, " free"]
    links: tuple[tuple[np.ndarray, np.ndarray, Array], ...]

    @functools.cached_property
    def position(self) -> Int[np.ndarray, " node"]:
        """Where each node stands among the free ones; -1 for all others."""
        position = np.full(self.num_nodes, -1)
        position[self.free] = np.arange(len(self.free))
        return position

    def spread(self, values: Float[Array, "batch free"]) -> Float[Array, "batch node"]:
        """Return a value per node from one per free node; zero where a source holds the node."""
        xp = values.__array_namespace__()
        nodes = set_at(xp.zeros((len(values), self.num_nodes)), self.free, values)
        for inputs, outputs, factors in self.links:
            nodes = set_at(nodes, outputs, factors * values[:, self.position[inputs]])
        return nodes

    def gather(self, nodes: Float[Array, "batch node"]) -> Float[Array, "batch free"]:
        """Return the transposed map of a value per node: followers count at their inputs."""
        total = nodes[:, self.free]
        for inputs, outputs, factors in self.links:
            total = add_at(total, self.position[inputs], factors * nodes[:, outputs])
        return total

    def __abs__(self) -> "NodeMap":
        """Return the map with the magnitudes of the factors."""
        links = tuple((inputs, outputs, abs(factors)) for inputs, outputs, factors in self.links)
        return dataclasses.replace(self, links=links)

    def __mul__(self, other: "NodeMap") -> "NodeMap":
        """Return the map whose factors are the products of those of two, entry by entry."""
        pairs = zip(self.links, other.links, strict=True)
        links = tuple((i, o, mine * theirs) for (i, o, mine), (_, _, theirs) in pairs)
        return dataclasses.replace(self, links=links)

    def renumbered(self, column: Int[np.ndarray, " node"], num_columns: int) -> "NodeMap":
        """Return the map to other numbers of the nodes: node n becomes `column[n]`."""
        links = tuple((column[i], column[o], factors) for i, o, factors in self.links)
        return NodeMap(num_columns, column[self.free], links)

    @functools.cached_property
    def matrix(self) -> scipy.sparse.csr_array:
        """The map as a sparse matrix."""
        count = len(self.free)
        rows = [self.free, *(outputs for _, outputs, _ in self.links)]
        columns = [np.arange(count), *(self.position[inputs] for inputs, _, _ in self.links)]
        values = [np.ones(count), *(np.asarray(factors, float) for _, _, factors in self.links)]
        entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
        return scipy.sparse.csr_array(entries, shape=(self.num_nodes, count))
