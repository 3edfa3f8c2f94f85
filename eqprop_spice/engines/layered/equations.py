"""The equations of a chain of layers with numbers in: sources folded, conductances gathered."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.layouts import take_columns
from eqprop_spice.engines.layered.chain import Chain, Coupling

Blocks: TypeAlias = tuple[Array, ...]
"""One array per layer, each `batch node`."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Network:
    """The chain's equations with numbers in: what one settling solves.

    Attributes:
        linear: Linear conductance c of every node [S], per layer `1 node`.
        drives: The matrices B of layers 1, 2, ... [S].
        currents: Current from sources and nudges into every node [A], per layer `batch node`.
        spring: Conductance across each output [S]; None if there is none.
    """

    linear: tuple[Array, ...]
    drives: tuple[Array, ...]
    currents: Blocks
    spring: Array | None
    chain: Chain = dataclasses.field(metadata={"static": True})


FEW_SAMPLES = 8
"""Up to so many samples, folding the sources in blocks is faster: for 4 samples and 1,568 x 1,024
conductances three times, for 16 it is slower."""

BLOCK_ROWS = range(128, 63, -1)
"""Rows of a block, where they divide all rows."""


def _rows(matrix, rows: np.ndarray):
    """Return rows of a matrix; a slice where they are contiguous, which costs no gather."""
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return matrix[int(rows[0]) : int(rows[0]) + len(rows)]
    return matrix[rows]


def _drive(coupling: Coupling, g, size: int):
    """Return the sum of gain times conductance from each node of the previous layer [S]."""
    total = jnp.zeros((size, g.shape[1]))
    remaining = np.arange(len(coupling.driven_rows))
    every = np.arange(size)
    while len(remaining):
        block = remaining[:size]
        if not np.array_equal(coupling.driven_positions[block], every):
            rows = g[coupling.driven_rows[remaining]]
            scaled = jnp.asarray(coupling.gains[remaining])[:, None] * rows
            return total.at[coupling.driven_positions[remaining]].add(scaled)
        gains = jnp.asarray(coupling.gains[block])[:, None]
        total = total + gains * _rows(g, coupling.driven_rows[block])
        remaining = remaining[size:]
    return total


def _load(coupling: Coupling, g, size: int):
    """Return the conductance that the followers of each node of the previous layer load it with.

    Unlike the drive, both outputs of a node count with the square of their gain.
    """
    row_sums = g.sum(axis=1)[coupling.driven_rows]
    squared = jnp.asarray(coupling.gains**2) * row_sums
    return jnp.zeros(size).at[coupling.driven_positions].add(squared)


def _offset_load(coupling: Coupling, g, size: int):
    """Return the current [A] that offsets drive through what loads each node, like `_load`."""
    row_sums = g.sum(axis=1)[coupling.driven_rows]
    factors = jnp.asarray(coupling.gains**2 * coupling.offsets)
    return jnp.zeros(size).at[coupling.driven_positions].add(factors * row_sums)


def assemble(parts: Sequence[Array], column_of_node: np.ndarray):
    """Return columns of side-by-side arrays in another order, in one copy of their stretches.

    Args:
        parts: The arrays, `batch column`.
        column_of_node: Which column of their concatenation comes where.
    """
    starts = np.cumsum([0, *(part.shape[1] for part in parts)])
    owner = np.searchsorted(starts, column_of_node, side="right") - 1
    breaks = np.flatnonzero((np.diff(column_of_node) != 1) | (np.diff(owner) != 0)) + 1
    if len(breaks) > max(len(column_of_node) // 8, 32):
        return jnp.concatenate(parts, axis=1)[:, column_of_node]
    pieces = []
    for stretch in np.split(np.arange(len(column_of_node)), breaks):
        which = int(owner[stretch[0]])
        first = int(column_of_node[stretch[0]] - starts[which])
        pieces.append(parts[which][:, first : first + len(stretch)])
    return jnp.concatenate(pieces, axis=1)


def folded(sources: Array, g: Array) -> tuple[Array, Array]:
    """Return the currents [A] of conductances from sources, and the sums of the conductances [S].

    For a few samples, reading the matrix is what takes the time: it is read once, in blocks of
    rows that stay in the cache, and a further sample of ones sums the columns.
    """
    batch, size = sources.shape
    block = next((b for b in BLOCK_ROWS if size % b == 0), None)
    if batch > FEW_SAMPLES or block is None:
        return sources @ g, g.sum(axis=0)
    rows = jnp.concatenate([sources, jnp.ones((1, size))]).reshape(batch + 1, -1, block)
    sums = (rows.swapaxes(0, 1) @ g.reshape(-1, block, g.shape[1])).sum(axis=0)
    return sums[:-1], sums[-1]


def build_network(
    chain: Chain, params: Mapping[str, Array], fixed, *, fold: bool = True
) -> Network:
    """Fold the sources and gather the conductances of every layer.

    Args:
        chain: The structure.
        params: Conductances [S] by group name.
        fixed: Voltages of the fixed nodes [V].
        fold: Whether the currents from the sources are needed; a linearization needs none.
    """
    linear = [jnp.zeros(layer.size) for layer in chain.layers]
    drives, currents = [], []
    for k, layer in enumerate(chain.layers):
        current = jnp.zeros((fixed.shape[0], layer.size))
        drive = None
        for coupling in layer.couplings:
            g = coupling.block.matrix(params)
            if fold and len(coupling.fixed_rows) == len(g):
                sources = take_columns(fixed, coupling.fixed_columns)
                injected, sums = folded(sources, _rows(g, coupling.fixed_rows))
                current, linear[k] = current + injected, linear[k] + sums
            else:
                linear[k] = linear[k] + g.sum(axis=0)
                if fold and len(coupling.fixed_rows):
                    sources = take_columns(fixed, coupling.fixed_columns)
                    current = current + sources @ _rows(g, coupling.fixed_rows)
            if len(coupling.driven_rows):
                before = chain.layers[k - 1]
                part = _drive(coupling, g, before.size)
                drive = part if drive is None else drive + part
                load = _load(coupling, g, before.size)
                linear[k - 1] = linear[k - 1] + jnp.asarray(before.ratios) * load
                if fold and coupling.lifted:
                    lift = jnp.asarray(coupling.gains * coupling.offsets)
                    current = current + lift @ g[coupling.driven_rows]
                    back = jnp.asarray(before.ratios) * _offset_load(coupling, g, before.size)
                    currents[k - 1] = currents[k - 1] - back
        for ending in layer.endings:
            g = ending.coupling.block.matrix(params)
            load = _load(ending.coupling, g, layer.size)
            linear[k] = linear[k] + jnp.asarray(layer.ratios) * load
            if fold:
                held = take_columns(fixed, ending.columns)
                drawn = held @ _drive(ending.coupling, g, layer.size).T
                if ending.coupling.lifted:
                    drawn = drawn - _offset_load(ending.coupling, g, layer.size)
                current = current + jnp.asarray(layer.ratios) * drawn
        for supply in layer.supplies if fold else ():
            group = supply.group
            given = jnp.ravel(group.layout.instance_values(jnp.asarray(params[group.key])))
            current = current.at[:, supply.positions].add(supply.sign * given[supply.instances])
        if k > 0:
            drives.append(drive)
        currents.append(current)
    return Network(tuple(c[None, :] for c in linear), tuple(drives), tuple(currents), None, chain)


def attach(network: Network, currents: Array, stiffness: Array | None) -> Network:
    """Return the network with a load at the outputs.

    Args:
        network: The network without one.
        currents: Current into each output [A], `batch output`.
        stiffness: Conductance across each output [S]; None if there is none.
    """
    injected = currents @ jnp.asarray(network.chain.incidence)
    loaded = (*network.currents[:-1], network.currents[-1] + injected)
    return dataclasses.replace(network, currents=loaded, spring=stiffness)


def _product(left: Array, right: Array) -> Array:
    """Multiply matrices in full precision, also where a GPU would cut float32 short."""
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def _neighbors(network: Network, voltages: Sequence[Array | None], k: int):
    """Yield each neighbor of layer k: its voltages, the matrix to layer k, and a factor or row."""
    before = voltages[k - 1] if k > 0 else None
    after = voltages[k + 1] if k + 1 < len(voltages) else None
    if before is not None:
        yield before, network.drives[k - 1], 1.0
    if after is not None:
        ratios = network.chain.layers[k].ratios
        uniform = bool((ratios == ratios[0]).all())
        factor = float(ratios[0]) if uniform else ratios[None, :].astype(after.dtype)
        yield after, network.drives[k].T, factor


def neighbor_currents(network: Network, voltages: Sequence[Array | None], k: int) -> Array | None:
    """Return the current [A] into layer k from the neighboring layers; None counts as 0 V."""
    parts = [_product(u, drive) * f for u, drive, f in _neighbors(network, voltages, k)]
    return sum(parts[1:], parts[0]) if parts else None


def neighbor_magnitudes(network: Network, voltages: Sequence[Array], k: int) -> Array | float:
    """Return the sum of the magnitudes [A] of what `neighbor_currents` adds up."""
    parts = [
        _product(jnp.abs(u), jnp.abs(drive)) * abs(f)
        for u, drive, f in _neighbors(network, voltages, k)
    ]
    return sum(parts, 0.0)


def inflow(network: Network, voltages: Sequence[Array | None], k: int) -> Array:
    """Return the current [A] into layer k from sources, nudges and neighbors."""
    neighbors = neighbor_currents(network, voltages, k)
    return network.currents[k] if neighbors is None else network.currents[k] + neighbors


def spring_diagonal(network: Network) -> Array:
    """Return what the springs add to the diagonal of the last layer's Jacobian [S], `1 node`."""
    assert network.spring is not None, "asked for only where there are springs"
    squared = jnp.asarray(network.chain.incidence, network.spring.dtype) ** 2
    return network.spring * squared.sum(axis=0)[None, :]


def spring_currents(network: Network, outputs: Array) -> Array:
    """Return the current that the springs draw from each node of the last layer [A]."""
    assert network.spring is not None, "asked for only where there are springs"
    incidence = jnp.asarray(network.chain.incidence, outputs.dtype)
    return _product(_product(outputs, incidence.T) * network.spring, incidence)


def kept_layers(num_layers: int) -> list[int]:
    """Return the layers Newton works on: the last, and every second before it."""
    return list(range(num_layers - 1, -1, -2))[::-1]


def slack_layers(num_layers: int) -> list[int]:
    """Return the layers that are solved exactly for given neighbors."""
    return list(range(num_layers - 2, -1, -2))[::-1]
