r"""Modified nodal analysis: the equations of any circuit of linear elements and devices.

The unknowns x are the voltages of all nodes but the ground, and the currents of the elements that
fix a voltage (V, E, H and inductors). With the values $\theta$ of linear elements,

$f(x) = \sum_k \theta_k (P_k x - p_k) + P_0 x + i(x) = 0$,

where the rows of nodes are Kirchhoff's current law, those of branches the law of their element.
Devices are grouped by kind, so that a thousand unlike ones are a few array operations.

References:
    Ho, Ruehli and Brennan (1975), doi:10.1109/TCS.1975.1084079.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from eqprop_spice.devices.base import AbstractDevice
from eqprop_spice.engines.nodal.parts import Part, Parts
from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.deck import Element
from eqprop_spice.spice.scopes import nearest

CONSTANT = -1
"""Stands for a value of one among the elements that a term belongs to."""

HAVE_BRANCH = frozenset("vehl")
"""Letters of the elements whose current is an unknown."""


@dataclasses.dataclass(frozen=True, eq=False)
class Terms:
    """Sums of products: `sign` times the value of `element`, in a row, and in a column if any."""

    rows: Int[np.ndarray, " term"]
    columns: Int[np.ndarray, " term"]
    signs: Float[np.ndarray, " term"]
    elements: Int[np.ndarray, " term"]

    @classmethod
    def of(cls, terms: Sequence[tuple[int, int, float, int]], ground: int) -> "Terms":
        """Return terms given one by one, without those in the row or column of the ground."""
        kept = [term for term in terms if ground not in term[:2]]
        rows, columns, signs, elements = zip(*kept, strict=True) if kept else ((),) * 4
        whole = functools.partial(np.array, dtype=np.int64)
        return cls(whole(rows), whole(columns), np.array(signs, float), whole(elements))

    def coefficients(self, values: Float[np.ndarray, " element"]) -> Float[np.ndarray, " term"]:
        """Return the terms' coefficients for the values of the elements."""
        return self.signs * np.append(values, 1.0)[self.elements]


@dataclasses.dataclass(frozen=True, eq=False)
class Devices:
    """Devices of one kind.

    Attributes:
        device: The law, with an array over the devices in each field that is a number.
        terminals: The unknown at each terminal; that after the last is the ground.
        names: Their names in the netlist.
        breakdowns: Reverse voltages that each can bear [V].
    """

    device: AbstractDevice
    terminals: Int[np.ndarray, "terminal instance"]
    names: tuple[str, ...]
    breakdowns: Float[np.ndarray, " instance"]

    def drops(self, grounded: Float[np.ndarray, "batch all"]) -> list[np.ndarray]:
        """Return the voltages of all terminals but the last above the last [V]."""
        *others, last = self.terminals
        return [grounded[:, nodes] - grounded[:, last] for nodes in others]

    @functools.cached_property
    def entries(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the slopes in the Jacobian, in the order of `stamp`."""
        pairs = [(one, two) for one in self.terminals for two in self.terminals]
        rows, columns = zip(*pairs, strict=True)
        return np.concatenate(rows), np.concatenate(columns)

    def stamp(self, drops: Sequence[np.ndarray] | np.ndarray) -> Float[np.ndarray, "batch entry"]:
        """Return the slopes between all terminals [S]; rows and columns sum to zero."""
        rows = [[*row, -sum(row)] for row in self.device.slopes(*drops)]
        rows.append([-sum(column) for column in zip(*rows, strict=True)])
        return np.concatenate([slope for row in rows for slope in row], axis=1)

    def currents(self, drops: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
        """Return the currents into all terminals [A]."""
        found = np.array(self.device.currents(*drops))
        return [*found, -found.sum(axis=0)]


def _grouped(parts: Iterable[Part], index: Mapping[str, int]) -> tuple[Devices, ...]:
    """Group devices whose laws differ in numbers only."""
    alike: dict[tuple, list[Part]] = {}
    for part in parts:
        words = [v for v in dataclasses.astuple(part.device) if isinstance(v, str)]
        alike.setdefault((type(part.device), *words), []).append(part)
    groups = []
    for members in alike.values():
        first = members[0].device
        fields = [f.name for f in dataclasses.fields(first)]
        values = {
            name: np.array([getattr(part.device, name) for part in members])
            for name in fields
            if not isinstance(getattr(first, name), str) and name != "temperature"
        }
        groups.append(
            Devices(
                dataclasses.replace(first, **values),
                np.array([[index[node] for node in part.nodes] for part in members]).T,
                tuple(part.name for part in members),
                np.array([part.breakdown for part in members]),
            )
        )
    return tuple(groups)


@dataclasses.dataclass(frozen=True, eq=False)
class NodalCircuit:
    """The equations of a circuit.

    Attributes:
        nodes: Names of the nodes but the ground; their voltages are the first unknowns.
        branches: Names of the elements whose currents are the other unknowns.
        elements: Names of the linear elements in the netlist.
        values: Conductance [S] of R, voltage [V] of V, current [A] of I, gain of E, F, G [S]
            and H [ohm].
        matrix: Terms with an unknown.
        sources: Terms without; their columns do not count.
        devices: Groups of devices.
    """

    nodes: tuple[str, ...]
    branches: tuple[str, ...]
    elements: tuple[str, ...]
    values: Float[np.ndarray, " element"]
    matrix: Terms
    sources: Terms
    devices: tuple[Devices, ...]

    @classmethod
    def of(cls, parts: Parts) -> "NodalCircuit":
        """Return the equations of the parts of a deck."""
        names = dict.fromkeys(
            node for part in (*parts.linear, *parts.devices) for node in part.nodes if node != "0"
        )
        index = {node: k for k, node in enumerate(names)}
        branches = [e for e in parts.linear if e.name[0] in HAVE_BRANCH]
        branch = {e.name: len(names) + k for k, e in enumerate(branches)}
        ground = len(names) + len(branches)
        index["0"] = ground
        terms, sources = [], []
        for k, element in enumerate(parts.linear):
            terms += _matrix_terms(element, k, index, branch)
            sources += _source_terms(element, k, index, branch)
        values = [1.0 / e.value if e.name[0] == "r" else e.value for e in parts.linear]
        return cls(
            nodes=tuple(names),
            branches=tuple(e.original for e in branches),
            elements=tuple(e.original for e in parts.linear),
            values=np.array(values, float),
            matrix=Terms.of(terms, ground),
            sources=Terms.of(sources, ground),
            devices=_grouped(parts.devices, index),
        )

    @property
    def size(self) -> int:
        """Number of unknowns; also stands for the ground."""
        return len(self.nodes) + len(self.branches)

    @functools.cached_property
    def linear(self) -> sparse.csr_matrix:
        """The matrix of the linear elements."""
        terms, size = self.matrix, self.size
        entries = (terms.coefficients(self.values), (terms.rows, terms.columns))
        return sparse.csr_matrix(entries, shape=(size, size))

    @functools.cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each linear element by its name in the netlist."""
        return {name: k for k, name in enumerate(self.elements)}

    def element(self, name: str) -> int:
        """Return the number of a linear element.

        Raises:
            NetlistError: If there is none of that name, with the nearest.
        """
        if name not in self.numbers:
            raise NetlistError(f"There is no element '{name}'{nearest(name, self.elements)}.")
        return self.numbers[name]

    def node(self, name: str) -> int:
        """Return the number of a node's voltage among the unknowns; the ground's is the last.

        Raises:
            NetlistError: If there is no such node, with the nearest.
        """
        if name == "0":
            return self.size
        if name not in self.nodes:
            raise NetlistError(f"There is no node '{name}'{nearest(name, self.nodes)}.")
        return self.nodes.index(name)

    def right(self, values: Float[np.ndarray, "batch element"]) -> Float[np.ndarray, "batch row"]:
        """Return what the sources put on the right side of the equations.

        Args:
            values: Of all linear elements; those of V and I count.
        """
        found = np.zeros((len(values), self.size))
        terms = self.sources
        add_into(found, terms.rows, terms.signs * values[:, terms.elements])
        return found

    def with_values(self, values: Mapping[str, float]) -> "NodalCircuit":
        """Return the circuit with other values of linear elements, by name."""
        changed = self.values.copy()
        for name, value in values.items():
            changed[self.element(name)] = value
        return dataclasses.replace(self, values=changed)


def add_into(
    target: Float[np.ndarray, "batch all"],
    columns: Int[np.ndarray, " some"],
    values: Float[np.ndarray, "batch some"],
) -> None:
    """Add values to columns of an array; what a column gets twice adds up."""
    np.add.at(target.T, columns, values.T)


def grounded(state: Float[np.ndarray, "batch unknown"]) -> Float[np.ndarray, "batch all"]:
    """Return unknowns with the ground's zero volts after the last."""
    return np.concatenate([state, np.zeros((len(state), 1))], axis=1)


def _matrix_terms(
    element: Element, k: int, index: Mapping[str, int], branch: Mapping[str, int]
) -> list[tuple[int, int, float, int]]:
    """Return the terms of a linear element in the matrix: row, column, sign, element."""
    kind, (first, second, *control) = element.name[0], [index[node] for node in element.nodes]
    if kind in "rg":
        plus, minus = (first, second) if kind == "r" else control
        columns = ((plus, 1.0), (minus, -1.0))
    elif kind == "f":
        assert element.control is not None
        columns = ((branch[element.control], 1.0),)
    else:
        columns = ()
    terms = [
        (row, column, sign * side, k)
        for row, side in ((first, 1.0), (second, -1.0))
        for column, sign in columns
    ]
    if kind in HAVE_BRANCH:
        own = branch[element.name]
        for node, sign in ((first, 1.0), (second, -1.0)):
            terms += [(node, own, sign, CONSTANT), (own, node, sign, CONSTANT)]
        if kind == "e":
            terms += [(own, control[0], -1.0, k), (own, control[1], 1.0, k)]
        elif kind == "h":
            assert element.control is not None
            terms.append((own, branch[element.control], -1.0, k))
    return terms


def _source_terms(
    element: Element, k: int, index: Mapping[str, int], branch: Mapping[str, int]
) -> list[tuple[int, int, float, int]]:
    """Return the terms of a source on the right side."""
    kind = element.name[0]
    if kind == "v":
        return [(branch[element.name], CONSTANT, 1.0, k)]
    if kind == "i":
        first, second = (index[node] for node in element.nodes)
        return [(first, CONSTANT, -1.0, k), (second, CONSTANT, 1.0, k)]
    return []
