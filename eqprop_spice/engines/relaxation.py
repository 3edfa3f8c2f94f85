r"""Backpropagation through a relaxation, cut off after some iterations.

A circuit that is not solved but left to relax visits its nodes again and again, each of which takes
the voltage that its neighbors give it: $u_j \leftarrow u_j - f_j(u)/d_j$, with the current f that
leaves it and the conductance d that it sees. At the fixed point, backpropagation through K visits
is K iterations of the same kind on the adjoint system $J^T \lambda = \partial C/\partial u$:
Jacobi's if all nodes are visited at once (Almeida and Pineda's recurrent backpropagation), those of
Gauss and Seidel in the reverse order if neighbors are visited in turn (truncated backpropagation).
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import Product, add_at
from eqprop_spice.settled import Relaxation


@functools.lru_cache(maxsize=64)
def even_nodes(circuit: Circuit) -> Bool[np.ndarray, " free"]:
    """Return which free nodes lie an even number of devices away from the outputs.

    An amplifier's output counts as its input.
    """
    owner = np.arange(circuit.num_nodes)
    for a in circuit.amplifiers:
        owner[a.outputs] = a.inputs
    distance = np.full(circuit.num_nodes, -1)
    distance[circuit.is_fixed] = 0
    frontier = np.zeros(circuit.num_nodes, bool)
    frontier[circuit.clamped_nodes] = True
    steps = 0
    while frontier.any():
        distance[frontier] = steps
        reached = np.zeros(circuit.num_nodes, bool)
        for group in circuit.conducting_groups:
            layout = group.layout
            if isinstance(layout, Product):
                first, second = owner[layout.first], owner[layout.second]
                reached[second] |= frontier[first].any()
                reached[first] |= frontier[second].any()
            else:
                for ends in group.paths:
                    one, two = (owner[nodes] for nodes in ends)
                    reached[two[frontier[one]]] = True
                    reached[one[frontier[two]]] = True
        frontier = reached & (distance < 0)
        steps += 1
    return distance[circuit.free_nodes] % 2 == 0


def truncated_multipliers(
    circuit: Circuit,
    params: Mapping[str, Array],
    voltages: Float[Array, "batch node"],
    output_gradient: Float[Array, "batch output"],
    relaxation: Relaxation,
) -> Float[Array, "batch node"]:
    r"""Return what `AbstractEngine.adjoint` returns, from a few iterations of a relaxation.

    Args:
        circuit: The circuit.
        params: Conductances [S] by group name.
        voltages: All node voltages at free operating points [V].
        output_gradient: $\partial C/\partial y$.
        relaxation: How it relaxes.
    """
    adjoint = _AdjointSystem(circuit, params, voltages)
    right = adjoint.gather(circuit.injected_currents(output_gradient))
    even = even_nodes(circuit)
    groups = [np.ones(len(even))] if relaxation.synchronous else [even * 1.0, (~even) * 1.0]

    def visit(_, multipliers):
        for members in groups:
            excess = right - adjoint.apply(multipliers)
            multipliers = multipliers + members * excess * adjoint.inverse_diagonal
        return multipliers

    multipliers = 0.0 * right
    if isinstance(right, np.ndarray):
        for number in range(relaxation.num_iterations):
            multipliers = visit(number, multipliers)
    else:
        # A loop that JAX sees as one compiles in a fraction of the time.
        multipliers = jax.lax.fori_loop(0, relaxation.num_iterations, visit, multipliers)
    return adjoint.expand(multipliers)


class _AdjointSystem:
    r"""$J^T = S^T L^T R$ at operating points, with the slopes L of all branches.

    Arrays over nodes hold those that move, and a last column for all that sources hold.
    """

    def __init__(
        self, circuit: Circuit, params: Mapping[str, Array], voltages: Float[Array, "batch node"]
    ) -> None:
        self.circuit = circuit
        self.xp = voltages.__array_namespace__()
        self.moving = np.flatnonzero(~circuit.is_fixed)
        self.column = np.full(circuit.num_nodes, len(self.moving))
        self.column[self.moving] = np.arange(len(self.moving))
        columns = self.column, len(self.moving) + 1
        self.selection = circuit.selection.renumbered(*columns)
        self.reflection = circuit.reflection.renumbered(*columns)
        self.branches, closed = self._branches(params, voltages)
        self.blocks, self.to_fixed = self._blocks(params)
        diagonal = self._diagonal(params, voltages)
        # What a closed ideal diode holds does not move.
        held = self.selection.gather(closed) > 0.0
        self.inverse_diagonal = self.xp.where(held, 0.0, 1.0 / diagonal)

    def _nothing(self, batch: int) -> Float[Array, "batch column"]:
        return self.xp.zeros((batch, len(self.moving) + 1))

    def _branches(self, params: Mapping[str, Array], voltages: Array) -> tuple[list[tuple], Array]:
        """Return ports and slopes [S] of nonlinear groups, and at which nodes one is closed."""
        branches, closed = [], self._nothing(len(voltages))
        for group in self.circuit.nonlinear_groups:
            ports = [(self.column[one], self.column[two]) for one, two in group.ports]
            drops = group.drops(voltages)
            if group.device.is_switch:
                for columns in ports[0]:
                    closed = add_at(closed, columns, 1.0 * (drops[0] >= 0.0))
            else:
                branches.append((ports, group.law(params).slopes(*drops)))
        return branches, closed

    def _blocks(self, params: Mapping[str, Array]) -> tuple[list[tuple], Array]:
        """Return the resistors between nodes that move, and each node's conductance to others."""
        blocks, to_fixed = [], self._nothing(1)[0]
        for group in self.circuit.linear_groups:
            layout, g = group.sides.wiring, group.conductances(params)
            first, second = self.column[layout.first], self.column[layout.second]
            if isinstance(layout, Product):
                # Of a dense block that sources drive, only the sums matter.
                rows, columns = (nodes < len(self.moving) for nodes in (first, second))
                first, second = first[rows], second[columns]
                to_fixed = add_at(to_fixed, first, g[rows][:, ~columns].sum(1))
                to_fixed = add_at(to_fixed, second, g[~rows][:, columns].sum(0))
                g = g[rows][:, columns]
            blocks.append((dataclasses.replace(layout, first=first, second=second), g))
        return blocks, to_fixed

    def _diagonal(self, params: Mapping[str, Array], voltages: Array) -> Float[Array, "batch free"]:
        """Return the conductance that each free node sees, through its amplifiers too [S]."""
        total = self.to_fixed + 0.0
        for layout, g in self.blocks:
            sums = layout.conductance_sums(g)
            for columns, part in zip((layout.first, layout.second), sums, strict=True):
                total = add_at(total, columns, part)
        total = total[None, :]
        for group in self.circuit.nonlinear_groups:
            total = total + self._nothing(len(voltages))
            for nodes, slope in group.own_conductances(params, voltages):
                total = add_at(total, self.column[nodes], slope)
        return (self.selection * self.reflection).gather(total)

    def gather(self, nodes: Float[Array, "batch node"]) -> Float[Array, "batch free"]:
        r"""Return $S^T$ times a value per node of the circuit."""
        return self.circuit.selection.gather(nodes)

    def expand(self, multipliers: Float[Array, "batch free"]) -> Float[Array, "batch node"]:
        r"""Return $\mu = R \lambda$ of every node of the circuit."""
        return self.circuit.reflection.spread(multipliers)

    def apply(self, multipliers: Float[Array, "batch free"]) -> Float[Array, "batch free"]:
        r"""Return $J^T \lambda$, the conductance of closed ideal diodes left out."""
        nodes = self.reflection.spread(multipliers)
        total = self.to_fixed * nodes
        for layout, g in self.blocks:
            first, second = layout.linear_currents(nodes, g)
            total = add_at(add_at(total, layout.first, first), layout.second, second)
        for ports, slopes in self.branches:
            # Transposed: what the drop of one port draws at another, it now draws the other way.
            for (one, two), row in zip(ports, slopes, strict=True):
                across = nodes[:, one] - nodes[:, two]
                for (plus, minus), slope in zip(ports, row, strict=True):
                    total = add_at(add_at(total, plus, slope * across), minus, -slope * across)
        return self.selection.gather(total)
