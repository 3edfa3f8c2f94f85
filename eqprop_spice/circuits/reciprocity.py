"""Reciprocity: the weights that make voltage drops a gradient, where a circuit has them."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import scipy.sparse.linalg
from jaxtyping import Bool, Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit, components
from eqprop_spice.circuits.groups import Group
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.errors import NetlistError

WEIGHT_TOLERANCE = 1e-9
"""Relative disagreement of weights above which a circuit is not reciprocal; far above rounding
and far below any gain mismatch that matters."""

Conducting = Mapping[str, Bool[np.ndarray, "..."]]
"""By group name, which resistors conduct; a group that is not named conducts everywhere."""


def reciprocity_weights(
    circuit: Circuit, *, conducting: Conducting | None = None
) -> dict[str, Float[np.ndarray, "..."]]:
    r"""Return the weight w of each trainable group, as the circuit itself determines it.

    Scaling the rows of the Jacobian by d makes it symmetric iff every reciprocal device sees the
    same $\omega = d\,r/s$ at both ends, where a follower has $s = A$, $r = \kappa$. So devices
    join nodes into clusters of one $\omega$, every amplifier sets
    $\omega_{in} = \omega_{out} A / \kappa$, and the outputs have $\omega = 1$, since the nudge
    enters with weight 1. Then $dC/dg = \omega\,d/d\beta(\tfrac12 \Delta V^2)$ exactly.

    Devices that are not reciprocal (`Circuit.groups_without_energy`) join the nodes of their paths
    as if they were: that is the rule whose bias the audit measures.

    Args:
        circuit: The circuit.
        conducting: Which resistors count as there; all of them by default.

    Returns:
        The weight of every instance of each group.

    Raises:
        NetlistError: If no such weights exist: the circuit is not reciprocal.
    """
    return branch_weights(circuit, circuit.trainable_groups, conducting=conducting)


def branch_weights(
    circuit: Circuit, groups: Iterable[Group], *, conducting: Conducting | None = None
) -> dict[str, Float[np.ndarray, "..."]]:
    """Return the weight of every branch of some groups; see `reciprocity_weights`."""
    node_weight = _node_weights(circuit, conducting)
    weights: dict[str, np.ndarray] = {}
    for group in groups:
        first, second = group.layout.pairs()
        fixed = circuit.is_fixed
        combined = np.where(fixed[first], node_weight[second], node_weight[first])
        combined = np.where(fixed[first] & fixed[second], 0.0, combined)
        weights[group.name] = combined.reshape(group.layout.wiring.shape)
    return weights


def _node_weights(circuit: Circuit, conducting: Conducting | None) -> Float[np.ndarray, " node"]:
    r"""Return $\omega$ of every node's cluster; zero where no output sees it."""
    label = components(circuit, through_fixed=False, conducting=conducting)
    omega: dict[int, float] = {}
    outputs = circuit.output_nodes[circuit.output_nodes != GROUND]
    for cluster in np.unique(label[outputs]).tolist():
        omega[cluster] = 1.0
    links = [
        (int(label[i]), int(label[o]), float(gain / kappa))
        for a in circuit.amplifiers
        for i, o, gain, kappa in zip(a.inputs, a.outputs, a.gains, a.reflections, strict=True)
    ]
    changed = True
    while changed:
        changed = False
        for before, after, ratio in links:
            if after in omega and before not in omega:
                omega[before] = omega[after] * ratio
                changed = True
            elif before in omega and after not in omega:
                omega[after] = omega[before] / ratio
                changed = True
    for before, after, ratio in links:
        if before not in omega:
            continue
        expected = omega[after] * ratio
        if abs(omega[before] - expected) > WEIGHT_TOLERANCE * abs(expected):
            raise NetlistError(
                "The circuit is not reciprocal: two paths to the outputs give a cluster of nodes "
                f"the weights {omega[before]:.6g} and {expected:.6g}, so equilibrium propagation "
                "is biased here. Make A/kappa uniform over the amplifiers of a layer, or set "
                'weights = "none" to study the biased rule.'
            )
    # A device between held nodes, or one that no output sees, has no effect on the loss.
    return np.array([omega.get(int(c), 0.0) for c in label])


def asymmetry(jacobian: Float[np.ndarray, "free free"]) -> float:
    r"""Return how far a Jacobian is from symmetric under the best scaling of its rows, 0 to 1.

    With $d$ fitted to all pairs of $d_i J_{ij} = d_j J_{ji}$ in their logarithms, it is the norm of
    the antisymmetric part of $|d|^{1/2} J |d|^{-1/2}$, signs included, over the norm of its
    off-diagonal part, both relative to the diagonal: units and row scalings make no difference.
    """
    diagonal = np.sqrt(np.abs(np.diag(jacobian)))
    diagonal = np.where(diagonal > 0.0, diagonal, diagonal.max())
    jacobian = jacobian / (diagonal[:, None] * diagonal[None, :])
    first, second = np.nonzero(np.triu((jacobian != 0) & (jacobian.T != 0), 1))
    if not len(first):
        return 0.0
    forward, backward = jacobian[first, second], jacobian[second, first]
    strength = np.sqrt(np.abs(forward * backward))
    rows = np.arange(len(first))
    ones = np.ones(len(first))
    size = len(jacobian)
    differences = scipy.sparse.csr_array(
        (np.r_[strength, -strength], (np.r_[rows, rows], np.r_[first, second])),
        shape=(len(first), size),
    )
    ratios = strength * (np.log(np.abs(backward)) - np.log(np.abs(forward)))
    logs = scipy.sparse.linalg.lsqr(differences, ratios, atol=1e-14, btol=1e-14)[0]
    scaled = np.exp(0.5 * (logs[:, None] - logs[None, :])) * jacobian
    np.fill_diagonal(scaled, 0.0)
    # Signs follow the strongest couplings.
    graph = scipy.sparse.csr_array(
        (strength.max() * 2 * ones - strength, (first, second)), (size,) * 2
    )
    tree = scipy.sparse.csgraph.minimum_spanning_tree(graph)
    tree = tree + tree.T
    signs = np.zeros(size)
    for root in range(size):
        if signs[root]:
            continue
        signs[root] = 1.0
        order, parents = scipy.sparse.csgraph.breadth_first_order(tree, root, directed=False)
        for node in order[1:]:
            parent = parents[node]
            signs[node] = signs[parent] * np.sign(scaled[node, parent] * scaled[parent, node])
    signed = signs[:, None] * scaled
    return float(np.linalg.norm(signed - signed.T) / (2.0 * np.linalg.norm(signed)))


@dataclasses.dataclass(frozen=True)
class Edge:
    """A device that has no co-content, at operating points.

    Attributes:
        name: Its name.
        asymmetry: How far its slopes between free nodes are from symmetric, 0 to 1; the largest
            over samples.
        conductance: The norm of its slopes between different free nodes [S], in that sample. What
            counts in a circuit is the product of both.
    """

    name: str
    asymmetry: float
    conductance: float


def edges_of(
    names: Iterable[str],
    slopes: Float[np.ndarray, "terminal terminal batch instance"],
    nodes: Int[np.ndarray, "terminal instance"],
    held: Bool[np.ndarray, "terminal instance"],
) -> list[Edge]:
    r"""Return how asymmetric each of some devices is, from the worst on.

    With J the slopes between its terminals at free nodes, those at one node counted as one, and D
    its diagonal: $|J - J^T| / 2 |J - D|$ in the Frobenius norm. A device with one free node only is
    symmetric.

    Args:
        names: Their names.
        slopes: The derivative of the current into each terminal by the voltage of each [S].
        nodes: Node of each terminal.
        held: Whether the node's voltage is held.
    """
    matrix = np.array(slopes, float)
    count = len(matrix)
    for later in range(1, count):
        for first in range(later):
            same = nodes[first] == nodes[later]
            matrix[first] += np.where(same, matrix[later], 0.0)
            matrix[later] = np.where(same, 0.0, matrix[later])
            matrix[:, first] += np.where(same, matrix[:, later], 0.0)
            matrix[:, later] = np.where(same, 0.0, matrix[:, later])
    free = ~held
    matrix = matrix * (free[:, None] & free[None, :])[:, :, None, :]
    matrix[np.arange(count), np.arange(count)] = 0.0
    skew = 0.5 * np.sqrt(((matrix - matrix.swapaxes(0, 1)) ** 2).sum(axis=(0, 1)))
    size = np.sqrt((matrix**2).sum(axis=(0, 1)))
    ratio = np.divide(skew, size, out=np.zeros_like(skew), where=size > 0.0)
    worst = skew.argmax(axis=0)
    rows = np.arange(len(worst))
    found = zip(names, ratio[worst, rows].tolist(), size[worst, rows].tolist(), strict=True)
    return worst_first(Edge(*of_edge) for of_edge in found)


def worst_first(edges: Iterable[Edge]) -> list[Edge]:
    """Return edges in the order of what counts in a circuit."""
    return sorted(edges, key=lambda edge: -edge.asymmetry * edge.conductance)


def asymmetric_edges(
    circuit: Circuit, params: Mapping[str, Array], voltages: Float[np.ndarray, "batch node"]
) -> list[Edge]:
    """Return how asymmetric each device without a co-content is, from the worst on.

    Args:
        circuit: The circuit.
        params: Its parameters by group name.
        voltages: All node voltages at operating points [V].
    """
    edges: list[Edge] = []
    for group in circuit.groups_without_energy:
        nodes = np.stack(group.layout.terminals())
        names = [f"{group.name}_{suffix}" for suffix in group.layout.instance_names()]
        slopes = np.array(group.terminal_slopes(params, voltages))
        edges += edges_of(names, slopes, nodes, circuit.is_fixed[nodes])
    return worst_first(edges)
