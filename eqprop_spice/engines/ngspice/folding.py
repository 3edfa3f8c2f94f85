r"""Input folding: what the sources and the resistors at them are to the rest of the circuit.

Sources are ideal, so a node that resistors connect to sources sees one conductance
$G = \sum_i g_i$ to ground and one current $\sum_i g_i V_i$. This is Kirchhoff's law, not an
approximation, and it turns the 80,500 resistors of a 785-100-20 network into 2,100.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy.sparse
from jaxtyping import Float

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import Product, add_at


@dataclasses.dataclass(frozen=True)
class Folded:
    """A circuit's resistors after folding, for one set of conductances and a batch of inputs.

    Attributes:
        conductance: Conductance to ground at every node [S].
        currents: Current into every node [A], `batch node`.
        branches: `(first node, second node, conductance)` of what remains between other nodes.
    """

    conductance: Float[np.ndarray, " node"]
    currents: Float[np.ndarray, "batch node"]
    branches: list[tuple[int, int, float]]


def fold(
    circuit: Circuit,
    params: Mapping[str, np.ndarray],
    inputs: Float[np.ndarray, "batch input"],
) -> Folded:
    """Fold all resistors that have an end on ground or a source."""
    held = np.zeros((len(inputs), circuit.num_nodes))
    held[:, circuit.fixed_nodes] = circuit.fixed_voltages(inputs)
    conductance = np.zeros(circuit.num_nodes)
    currents = np.zeros_like(held)
    branches: list[tuple[int, int, float]] = []
    fixed, num_nodes = circuit.is_fixed, circuit.num_nodes
    for group in circuit.linear_groups:
        layout, g = group.layout, np.asarray(group.conductances(params))
        if isinstance(layout, Product):
            first, second = layout.first, layout.second
            one, two = fixed[first], fixed[second]
            add_at(conductance, second[~two], g[one][:, ~two].sum(0))
            add_at(conductance, first[~one], g[~one][:, two].sum(1))
            add_at(currents, second[~two], held[:, first[one]] @ g[one][:, ~two])
            add_at(currents, first[~one], held[:, second[two]] @ g[~one][:, two].T)
            a, b = np.meshgrid(first[~one], second[~two], indexing="ij")
            rest = (a.ravel(), b.ravel(), g[~one][:, ~two].ravel())
        else:
            (first, second), g = layout.pairs(), g.ravel()
            one, two = fixed[first] & ~fixed[second], fixed[second] & ~fixed[first]
            for free, source, which in ((second, first, one), (first, second, two)):
                add_at(conductance, free[which], g[which])
                # Of many samples and instances, not all products at once.
                entries = (g[which], (source[which], free[which]))
                currents += held @ scipy.sparse.csr_array(entries, shape=(num_nodes, num_nodes))
            keep = ~(fixed[first] | fixed[second])
            rest = (first[keep], second[keep], g[keep])
        branches += list(zip(*(array.tolist() for array in rest), strict=True))
    return Folded(conductance, currents, branches)
