r"""Input folding: what the sources and the resistors at them are to the rest of the circuit.

Sources are ideal, so a node that resistors connect to sources sees one conductance
$G = \sum_i g_i$ to ground and one current $\sum_i g_i V_i$. This is Kirchhoff's law, not an
approximation, and it turns the 80,500 resistors of a 785-100-20 network into 2,100.
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import Product, add_at


@dataclasses.dataclass(frozen=True)
class Folded:
    """A circuit's resistors after folding, for one set of conductances and a batch of inputs.

    Attributes:
        conductance: Conductance to ground at every node [S].
        currents: Current into every node [A], `batch node`.
        branches: The conductances that remain [S], between the nodes of `branches_of`.
    """

    conductance: Float[np.ndarray, " node"]
    currents: Float[np.ndarray, "batch node"]
    branches: Float[np.ndarray, " branch"]


class _Block:
    """A dense block of resistors: which of its rows and columns stand at sources."""

    def __init__(self, first: np.ndarray, second: np.ndarray, fixed: np.ndarray) -> None:
        one, two = fixed[first], fixed[second]
        self._held_rows, self._free_rows = np.flatnonzero(one), np.flatnonzero(~one)
        self._held_columns, self._free_columns = np.flatnonzero(two), np.flatnonzero(~two)
        self._first, self._second = first, second
        rows, columns = np.meshgrid(first[~one], second[~two], indexing="ij")
        self.ends = rows.ravel(), columns.ravel()

    def fold(self, g: np.ndarray, held: np.ndarray, folded: Folded) -> np.ndarray:
        """Add what folds, and return the conductances that remain [S]."""
        free = g[:, self._free_columns]
        down, rest = free[self._held_rows], free[self._free_rows]
        if down.size:
            nodes = self._second[self._free_columns]
            add_at(folded.conductance, nodes, down.sum(0))
            add_at(folded.currents, nodes, held[:, self._first[self._held_rows]] @ down)
        up = g[np.ix_(self._free_rows, self._held_columns)]
        if up.size:
            nodes = self._first[self._free_rows]
            add_at(folded.conductance, nodes, up.sum(1))
            add_at(folded.currents, nodes, held[:, self._second[self._held_columns]] @ up.T)
        return rest.ravel()


class _List:
    """Resistors one by one: which of them end at a source, and which remain."""

    def __init__(self, first: np.ndarray, second: np.ndarray, fixed: np.ndarray) -> None:
        one, two = fixed[first] & ~fixed[second], fixed[second] & ~fixed[first]
        self._sides: list[tuple[Bool[np.ndarray, " instance"], np.ndarray, np.ndarray]] = [
            (which, free[which], source[which])
            for free, source, which in ((second, first, one), (first, second, two))
        ]
        self._keep = ~(fixed[first] | fixed[second])
        self.ends = first[self._keep], second[self._keep]

    def fold(self, g: np.ndarray, held: np.ndarray, folded: Folded) -> np.ndarray:
        """Add what folds, and return the conductances that remain [S]."""
        g, num_nodes = g.ravel(), len(folded.conductance)
        for which, free, source in self._sides:
            add_at(folded.conductance, free, g[which])
            # Of many samples and instances, not all products at once.
            entries = (g[which], (source, free))
            shape = (num_nodes, num_nodes)
            folded.currents[...] += held @ scipy.sparse.csr_array(entries, shape=shape)
        return g[self._keep]


@functools.lru_cache(maxsize=16)
def _parts(circuit: Circuit) -> list[_Block | _List]:
    """Say of every linear group what folds: it depends on the circuit alone."""
    fixed = circuit.is_fixed
    return [
        _Block(group.layout.first, group.layout.second, fixed)
        if isinstance(group.layout, Product)
        else _List(*group.layout.pairs(), fixed)
        for group in circuit.linear_groups
    ]


def branches_of(
    circuit: Circuit,
) -> tuple[Int[np.ndarray, " branch"], Int[np.ndarray, " branch"]]:
    """Return both nodes of every resistor that remains."""
    ends = [part.ends for part in _parts(circuit)]
    first, second = ([np.zeros(0, int), *nodes] for nodes in zip(*ends, strict=True))
    return np.concatenate(first), np.concatenate(second)


def fold(
    circuit: Circuit,
    params: Mapping[str, np.ndarray],
    held: Float[Array, "batch fixed"],
) -> Folded:
    """Fold all resistors that have an end on ground or a source, and all current sources.

    Args:
        circuit: The circuit.
        params: Conductances [S] by group name.
        held: Voltages of the fixed nodes [V].
    """
    known = np.zeros((len(held), circuit.num_nodes))
    known[:, circuit.fixed_nodes] = np.asarray(held)
    currents = np.zeros_like(known) - circuit.supplied_currents(params)
    folded = Folded(np.zeros(circuit.num_nodes), currents, np.zeros(0))
    rest = [
        part.fold(np.asarray(group.conductances(params)), known, folded)
        for part, group in zip(_parts(circuit), circuit.linear_groups, strict=True)
    ]
    return dataclasses.replace(folded, branches=np.concatenate([folded.branches, *rest]))
