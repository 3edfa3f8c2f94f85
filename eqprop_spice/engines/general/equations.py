r"""Kirchhoff's equations of any circuit as sparse matrices, linear nodes eliminated where it pays.

With node voltages $v = S u + b$ and drops $d = A u + w$ of the nonlinear devices,

$f(u) = K u + q + N\,i(d) - I$, $K = R^T L S$, $A = E^T S$, $N = R^T E$,

where L is the conductance matrix of the resistors, E holds +1 and -1 at the ends of each branch
(from every terminal of a nonlinear device to its last), $q = R^T L b$, and R and S are those of
`circuit`. Nodes that no branch touches enter linearly: Kron's reduction removes them exactly, once
for all samples. The slopes of i by d are blocks, one for each device: a number where it has two
terminals.
"""

import dataclasses
import functools
import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float, Int

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.groups import Group
from eqprop_spice.circuits.layouts import add_at

DENSE_LIMIT = 200
"""Nonlinear nodes up to which dense factorizations of the reduced system beat sparse ones of the
whole one."""


@dataclasses.dataclass(frozen=True, eq=False)
class Structure:
    """What of a circuit's equations does not depend on numbers.

    Attributes:
        selection: S, `node free`.
        reflection: R, `node free`.
        groups: The nonlinear groups.
        rows: Which branch's current each slope is of, `slope`.
        columns: Which branch's drop it is by, `slope`.
        incidence: E, `node branch`.
        forward: A, `branch free`.
        backward: N, `free branch`.
        nonlinear: Free nodes (as positions) that nonlinear branches touch.
    """

    selection: scipy.sparse.csr_array
    reflection: scipy.sparse.csr_array
    groups: tuple[Group, ...]
    rows: Int[np.ndarray, " slope"]
    columns: Int[np.ndarray, " slope"]
    incidence: scipy.sparse.csr_array
    forward: scipy.sparse.csr_array
    backward: scipy.sparse.csr_array
    nonlinear: Int[np.ndarray, " kept"]

    @functools.cached_property
    def single(self) -> bool:
        """Whether every slope is of a branch of its own, by its own drop."""
        return np.array_equal(self.rows, self.columns)

    @functools.cached_property
    def own(self) -> Float[np.ndarray, " slope"]:
        """1 where a slope is by the branch's own drop."""
        return (self.rows == self.columns).astype(float)

    def split(self, branches: Float[np.ndarray, "batch branch"]) -> list[tuple[np.ndarray, ...]]:
        """Return a value per branch as those of each group, port by port."""
        return [tuple(branches[:, port] for port in ports) for ports in self._ports]

    @functools.cached_property
    def _ports(self) -> list[tuple[slice, ...]]:
        """Where the branches of every port of each group are."""
        ports, start = [], 0
        for group in self.groups:
            count = group.num_instances
            starts = start + count * np.arange(len(group.ports))
            ports.append(tuple(slice(int(s), int(s) + count) for s in starts))
            start += count * len(group.ports)
        return ports

    def law(
        self, params: Mapping[str, np.ndarray], drops: Float[np.ndarray, "batch branch"]
    ) -> tuple[Float[np.ndarray, "batch branch"], Float[np.ndarray, "batch slope"]]:
        """Return the current of every branch [A], and all slopes [S]."""
        currents, slopes = [np.zeros((len(drops), 0))], [np.zeros((len(drops), 0))]
        for group, ports in zip(self.groups, self.split(drops), strict=True):
            law = group.law(params)
            currents += map(np.asarray, law.currents(*ports))
            slopes += [np.asarray(slope) for row in law.slopes(*ports) for slope in row]
        return np.concatenate(currents, axis=1), np.concatenate(slopes, axis=1)

    def limit(
        self,
        params: Mapping[str, np.ndarray],
        new: Float[np.ndarray, "batch branch"],
        old: Float[np.ndarray, "batch branch"],
    ) -> Float[np.ndarray, "batch branch"]:
        """Return the drops to linearize the branches at next [V]."""
        limited = [np.zeros((len(new), 0))]
        for group, *ports in zip(self.groups, self.split(new), self.split(old), strict=True):
            limited += map(np.asarray, group.law(params).limit_step(*ports))
        return np.concatenate(limited, axis=1)

    def changes(
        self, slopes: Float[np.ndarray, "batch slope"], drops: Float[np.ndarray, "batch branch"]
    ) -> Float[np.ndarray, "batch branch"]:
        """Return how the currents change with the drops, to first order [A]."""
        if self.single:
            return slopes * drops
        return np.asarray(add_at(np.zeros(drops.shape), self.rows, slopes * drops[:, self.columns]))


def _entries(rows, columns, values, shape) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array(
        (np.asarray(values, float), (np.asarray(rows), np.asarray(columns))), shape=shape
    )


@functools.lru_cache(maxsize=64)
def structure_of(circuit: Circuit, *, moving: bool = False) -> Structure:
    """Return the structure of a circuit's equations.

    Args:
        circuit: The circuit.
        moving: Whether time passes: then devices that block direct currents are branches too, and
            so are resistors with a state.
    """
    selection, reflection = circuit.selection.matrix, circuit.reflection.matrix
    groups = circuit.nonlinear_groups
    if moving:
        groups = tuple(
            g
            for g in circuit.groups
            if g.device.states or not (g.device.linear or g.device.supplies)
        )
    ends = [port for group in groups for port in group.ports]
    first = np.concatenate([np.zeros(0, int), *(e[0] for e in ends)])
    second = np.concatenate([np.zeros(0, int), *(e[1] for e in ends)])
    columns = np.arange(len(first))
    blocks, start = [np.zeros((2, 0), int)], 0
    for group in groups:
        ports = len(group.ports)
        numbers = start + np.arange(ports * group.num_instances).reshape(ports, -1)
        places = np.broadcast_arrays(numbers[:, None], numbers[None, :])
        blocks.append(np.stack([place.ravel() for place in places]))
        start += numbers.size
    slope_rows, slope_columns = np.concatenate(blocks, axis=1)
    incidence = _entries(
        np.concatenate([first, second]),
        np.concatenate([columns, columns]),
        np.repeat([1.0, -1.0], len(first)),
        (circuit.num_nodes, len(first)),
    )
    forward = (incidence.T @ selection).tocsr()
    backward = (reflection.T @ incidence).tocsr()
    touched = np.zeros(len(circuit.free_nodes), bool)
    touched[forward.tocoo().coords[1]] = True
    touched[backward.tocoo().coords[0]] = True
    return Structure(
        selection,
        reflection,
        groups,
        slope_rows,
        slope_columns,
        incidence,
        forward,
        backward,
        np.flatnonzero(touched),
    )


def conductance_matrix(
    circuit: Circuit,
    params: Mapping[str, np.ndarray],
    stiffness: float,
    *,
    moving: bool = False,
) -> scipy.sparse.csr_array:
    """Return L: what the resistors, and springs across the outputs, stamp [S], `node node`.

    Args:
        circuit: The circuit.
        params: Conductances [S] by group name.
        stiffness: Conductance across each output [S].
        moving: Whether time passes: then resistors with a state are left out.
    """
    first, second, values = [], [], []
    for group in circuit.linear_groups:
        if moving and group.device.states:
            continue
        one, two = group.layout.pairs()
        first.append(one)
        second.append(two)
        values.append(np.asarray(group.conductances(params), float).ravel())
    if stiffness != 0.0:
        first.append(circuit.output_nodes[:, 0])
        second.append(circuit.output_nodes[:, 1])
        values.append(np.full(circuit.num_outputs, stiffness))
    a, b, g = (np.concatenate(parts) for parts in (first, second, values))
    return _entries(
        np.concatenate([a, b, a, b]),
        np.concatenate([a, b, b, a]),
        np.concatenate([g, g, -g, -g]),
        (circuit.num_nodes, circuit.num_nodes),
    )


def _num_rows(matrix: Any) -> int:
    """Return the number of rows; scipy's stubs know of matrices without a shape."""
    return matrix.shape[0]


class DenseSystem:
    """The equations of the nonlinear nodes alone, all samples factored at once."""

    def __init__(self, structure: Structure, linear: scipy.sparse.csr_array) -> None:
        """Eliminate the linear nodes of K."""
        count = _num_rows(linear)
        self.kept = structure.nonlinear
        self._dropped = np.setdiff1d(np.arange(count), self.kept)
        rows = linear[self.kept], linear[self._dropped]
        (inner, outer), (back, rest) = [(r[:, self.kept], r[:, self._dropped]) for r in rows]
        reduced = inner.toarray()
        if len(self._dropped):
            self._factors = scipy.sparse.linalg.splu(rest.tocsc())
            self._follow = self._factors.solve(back.toarray())
            self._lead = self._factors.solve(outer.toarray().T, "T").T
            reduced -= outer @ self._follow
        self._reduced = reduced
        self._forward = structure.forward[:, self.kept]
        self._backward = structure.backward[self.kept]
        self._stamps = _stamps(structure, self._forward, self._backward)

    def reduce(self, right: Float[np.ndarray, "batch free"], *, transposed: bool = False):
        """Return the right-hand side that the kept nodes see."""
        kept = right[:, self.kept]
        if not len(self._dropped):
            return kept
        return kept - right[:, self._dropped] @ (self._follow if transposed else self._lead.T)

    def expand(self, kept, right, *, transposed: bool = False):
        """Return the solution at all free nodes from that at the kept ones."""
        full = np.empty(right.shape)
        full[:, self.kept] = kept
        if len(self._dropped):
            own = self._factors.solve(right[:, self._dropped].T, "T" if transposed else "N").T
            coupling = self._lead if transposed else self._follow.T
            full[:, self._dropped] = own - kept @ coupling
        return full

    def apply(self, kept: Float[np.ndarray, "batch kept"]) -> Float[np.ndarray, "batch kept"]:
        """Return the linear part of the kept nodes' currents [A]."""
        return kept @ self._reduced.T

    def drops(self, kept: Float[np.ndarray, "batch kept"]) -> Float[np.ndarray, "batch branch"]:
        """Return what the kept nodes add to the branch voltages [V]."""
        return (self._forward @ kept.T).T

    def collect(self, currents: Float[np.ndarray, "batch branch"]):
        """Return the branch currents that leave the kept nodes [A]."""
        return (self._backward @ currents.T).T

    def solve(self, slopes, right, *, transposed: bool = False):
        """Solve the Jacobian of each sample; singular ones give NaN."""
        size = len(self.kept)
        jacobians = (self._stamps.T @ slopes.T).T.reshape(len(right), size, size)
        jacobians = jacobians + self._reduced
        if transposed:
            jacobians = jacobians.transpose(0, 2, 1)
        try:
            return np.linalg.solve(jacobians, right[..., None])[..., 0]
        except np.linalg.LinAlgError:
            solutions = np.full(right.shape, np.nan)
            regular = np.linalg.slogdet(jacobians)[0] != 0.0
            solutions[regular] = np.linalg.solve(jacobians[regular], right[regular, :, None])[
                ..., 0
            ]
            return solutions


def _stamps(structure: Structure, forward, backward) -> scipy.sparse.csr_array:
    """Return what a unit of each slope adds to the raveled Jacobian."""
    size = backward.shape[0]
    by_branch = backward.T.tocsr()
    slopes, places, factors = [], [], []
    for slope, (one, other) in enumerate(
        zip(structure.rows.tolist(), structure.columns.tolist(), strict=True)
    ):
        row = slice(by_branch.indptr[one], by_branch.indptr[one + 1])
        column = slice(forward.indptr[other], forward.indptr[other + 1])
        place = by_branch.indices[row][:, None].astype(int) * size + forward.indices[column]
        places.append(place.ravel())
        factors.append(np.outer(by_branch.data[row], forward.data[column]).ravel())
        slopes.append(np.full(place.size, slope))
    if not slopes:
        return scipy.sparse.csr_array((0, size * size))
    return _entries(
        np.concatenate(slopes),
        np.concatenate(places),
        np.concatenate(factors),
        (len(slopes), size * size),
    )


class SparseSystem:
    """The equations of all free nodes, factored sample by sample on a fixed sparsity pattern."""

    def __init__(
        self, structure: Structure, linear: scipy.sparse.csr_array, *, traced: bool
    ) -> None:
        """Merge the patterns of K and of all stamps.

        Args:
            structure: The structure.
            linear: K.
            traced: Whether this runs in a callback of JAX, where KLU (a JAX function) may not.
        """
        size = _num_rows(linear)
        self.kept = np.arange(size)
        self._linear = linear
        self._forward, self._backward = structure.forward, structure.backward
        stamps = _stamps(structure, self._forward, self._backward).tocoo()
        base = linear.tocoo()
        # Column by column, as the compressed format wants it.
        base_places = base.coords[1].astype(int) * size + base.coords[0]
        stamp_places = stamps.coords[1] % size * size + stamps.coords[1] // size
        self._places = np.unique(np.concatenate([base_places, stamp_places]))
        count = len(self._places)
        self._data = np.zeros(count)
        np.add.at(self._data, np.searchsorted(self._places, base_places), base.data)
        positions = np.searchsorted(self._places, stamp_places)
        self._stamps = _entries(
            positions, stamps.coords[0], stamps.data, (count, _num_rows(stamps))
        )
        self._rows = (self._places % size).astype(np.int32)
        self._columns = (self._places // size).astype(np.int32)
        self._starts = np.searchsorted(self._columns, np.arange(size + 1)).astype(np.int32)
        self._with_klu = not traced and importlib.util.find_spec("klujax") is not None

    def reduce(self, right, *, transposed: bool = False):
        """Return the right-hand side itself: nothing is eliminated."""
        return right

    def expand(self, kept, right, *, transposed: bool = False):
        """Return the solution itself: nothing is eliminated."""
        return kept

    def apply(self, kept: Float[np.ndarray, "batch kept"]) -> Float[np.ndarray, "batch kept"]:
        """Return the linear part of the nodes' currents [A]."""
        return (self._linear @ kept.T).T

    def drops(self, kept: Float[np.ndarray, "batch kept"]) -> Float[np.ndarray, "batch branch"]:
        """Return what the nodes add to the branch voltages [V]."""
        return (self._forward @ kept.T).T

    def collect(self, currents: Float[np.ndarray, "batch branch"]):
        """Return the branch currents that leave the nodes [A]."""
        return (self._backward @ currents.T).T

    def solve(self, slopes, right, *, transposed: bool = False):
        """Solve the Jacobian of each sample; singular ones give NaN."""
        data = np.ascontiguousarray((self._stamps @ slopes.T).T + self._data)
        if self._with_klu:
            import klujax  # pyright: ignore[reportMissingImports] (optional)

            rows, columns = self._rows, self._columns
            if transposed:
                rows, columns = columns, rows
            return np.asarray(klujax.solve(rows, columns, data, right[..., None]))[..., 0]
        size = len(self.kept)
        solutions = np.full(right.shape, np.nan)
        for sample in range(len(right)):
            matrix = scipy.sparse.csc_array((data[sample], self._rows, self._starts), (size, size))
            try:
                factors = scipy.sparse.linalg.splu(matrix)
            except RuntimeError:  # The factor is exactly singular.
                continue
            solutions[sample] = factors.solve(right[sample], "T" if transposed else "N")
        return solutions
