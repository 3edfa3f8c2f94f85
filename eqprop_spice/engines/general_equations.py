r"""Kirchhoff's equations of any circuit as sparse matrices, linear nodes eliminated where it pays.

With node voltages $v = S u + b$ and branch voltages $d = A u + w$ of the nonlinear devices,

$f(u) = K u + q + N\,i(d) - I$, $K = R^T L S$, $A = E^T S$, $N = R^T E$,

where L is the conductance matrix of the resistors, E holds +1 and -1 at the ends of each nonlinear
branch, $q = R^T L b$, and R and S are those of `circuit`. Nodes that no nonlinear branch touches
enter linearly: Kron's reduction removes them exactly, once for all samples.
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float, Int

from eqprop_spice.circuit import GROUND, Circuit, Group

DENSE_LIMIT = 200
"""Nonlinear nodes up to which dense factorizations of the reduced system beat sparse ones of the
whole one."""

HIGHEST_REVERSE = np.inf


@dataclasses.dataclass(frozen=True, eq=False)
class Structure:
    """What of a circuit's equations does not depend on numbers.

    Attributes:
        selection: S, `node free`.
        reflection: R, `node free`.
        branches: The nonlinear groups.
        incidence: E, `node branch`.
        forward: A, `branch free`.
        backward: N, `free branch`.
        nonlinear: Free nodes (as positions) that nonlinear branches touch.
    """

    selection: scipy.sparse.csr_array
    reflection: scipy.sparse.csr_array
    branches: tuple[Group, ...]
    incidence: scipy.sparse.csr_array
    forward: scipy.sparse.csr_array
    backward: scipy.sparse.csr_array
    nonlinear: Int[np.ndarray, " kept"]


def _entries(rows, columns, values, shape) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array(
        (np.asarray(values, float), (np.asarray(rows), np.asarray(columns))), shape=shape
    )


def _node_map(circuit: Circuit, *, reflections: bool) -> scipy.sparse.csr_array:
    """Return S, or R with reflections in place of gains."""
    count = len(circuit.free_nodes)
    position = np.full(circuit.num_nodes, -1)
    position[circuit.free_nodes] = np.arange(count)
    rows = [circuit.free_nodes, *(a.outputs for a in circuit.amplifiers)]
    columns = [np.arange(count), *(position[a.inputs] for a in circuit.amplifiers)]
    factors = [a.reflections if reflections else a.gains for a in circuit.amplifiers]
    values = [np.ones(count), *factors]
    return _entries(
        np.concatenate(rows),
        np.concatenate(columns),
        np.concatenate(values),
        (circuit.num_nodes, count),
    )


@functools.lru_cache(maxsize=64)
def structure_of(circuit: Circuit) -> Structure:
    """Return the structure of a circuit's equations."""
    selection = _node_map(circuit, reflections=False)
    reflection = _node_map(circuit, reflections=True)
    branches = tuple(g for g in circuit.groups if not g.device.trainable)
    ends = [g.layout.pairs() for g in branches]
    first = np.concatenate([np.zeros(0, int), *(e[0] for e in ends)])
    second = np.concatenate([np.zeros(0, int), *(e[1] for e in ends)])
    columns = np.arange(len(first))
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
        branches,
        incidence,
        forward,
        backward,
        np.flatnonzero(touched),
    )


def conductance_matrix(
    circuit: Circuit, params: Mapping[str, np.ndarray], stiffness: float
) -> scipy.sparse.csr_array:
    """Return L: what the resistors, and springs across the outputs, stamp [S], `node node`."""
    first, second, values = [], [], []
    for group in circuit.trainable_groups:
        one, two = group.layout.pairs()
        first.append(one)
        second.append(two)
        values.append(np.asarray(params[group.name], float).ravel())
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
