"""Boltzmann machines: layered, or on any graph."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError
from eqprop_spice.sampling.binary import DenseLink, SparseLink, colors_of, neighbor_table
from eqprop_spice.substrates.base import Params
from eqprop_spice.substrates.boltzmann_base import AbstractBoltzmann


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoltzmannMachine(AbstractBoltzmann):
    """Layers of binary units: inputs drive the first, and every layer is coupled to the next.

    Layers at an odd distance from the outputs are drawn at once, then all others.

    Attributes:
        hidden: Number of units of every hidden layer.
    """

    hidden: tuple[int, ...] = (64,)

    def __post_init__(self) -> None:
        """Refuse an empty layer."""
        super().__post_init__()
        if not self.hidden or not all(size > 0 for size in self.hidden):
            raise ConfigError(f"hidden is {list(self.hidden)}; every layer needs units.")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of units of every layer."""
        return (*self.hidden, self.num_outputs)

    @property
    def num_units(self) -> int:
        """Number of units."""
        return sum(self.sizes)

    @functools.cached_property
    def _layers(self) -> list[np.ndarray]:
        return np.split(np.arange(self.num_units), np.cumsum(self.sizes)[:-1])

    @functools.cached_property
    def blocks(self) -> list[np.ndarray]:
        """The layers at an odd distance from the outputs, and the others."""
        backwards = self._layers[::-1]
        return [np.concatenate(backwards[i::2][::-1]) for i in (1, 0)]

    def coupling_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the couplings from layer to layer."""
        pairs = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        shapes = {f"coupling_{i}": pair for i, pair in enumerate(pairs, start=1)}
        return {"input": (self.num_inputs, self.sizes[0]), **shapes}

    def links(self, params: Params) -> dict[tuple[int, int], DenseLink]:
        """Return the couplings between the two blocks, as one matrix."""
        first, second = self.blocks
        matrix = jnp.zeros((len(first), len(second)), params["bias"].dtype)
        for i in range(1, len(self.sizes)):
            coupling, ends = params[f"coupling_{i}"], (self._layers[i - 1], self._layers[i])
            if ends[0][0] not in first:
                coupling, ends = coupling.T, ends[::-1]
            row, column = (
                int(np.searchsorted(block, layer[0]))
                for block, layer in zip(self.blocks, ends, strict=True)
            )
            matrix = jax.lax.dynamic_update_slice(matrix, coupling, (row, column))
        return {(0, 1): DenseLink(matrix)}

    def driven(self, params, inputs) -> Float[Array, "batch unit"]:
        """Return the fields of the inputs, at the first layer."""
        fields = inputs @ params["input"]
        return jnp.pad(fields, ((0, 0), (0, self.num_units - self.sizes[0])))

    def pair_energy(self, params, values, weights) -> Float[Array, " batch"]:
        """Return the mean energy of the couplings between layers."""
        total = jnp.zeros(len(weights))
        weighted = weights[..., None].astype(values.dtype) * values
        for i in range(1, len(self.sizes)):
            coupling = params[f"coupling_{i}"].astype(values.dtype)
            felt = weighted[..., self._layers[i]] @ coupling.T
            total = total - (values[..., self._layers[i - 1]] * felt).sum((1, 2))
        return total


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoltzmannGraph(AbstractBoltzmann):
    """Binary units on any graph; the outputs are the last, and inputs drive all others.

    Blocks are the colors of the graph; each is drawn at once.

    Attributes:
        units: Number of units.
        edges: Pairs of coupled units, numbered from 0.
    """

    units: int
    edges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        """Refuse edges that are none."""
        super().__post_init__()
        for edge in self.edges:
            if not (0 <= min(edge) < max(edge) < self.units):
                raise ConfigError(
                    f"Edge {list(edge)} does not join two of the units 0 to {self.units - 1}."
                )
        if len({frozenset(edge) for edge in self.edges}) < len(self.edges):
            raise ConfigError("Two edges join the same units; add their couplings up.")

    @property
    def num_units(self) -> int:
        """Number of units."""
        return self.units

    @functools.cached_property
    def blocks(self) -> list[np.ndarray]:
        """The units of every color, those without outputs first; an edgeless graph has one."""
        colors = colors_of(self.units, self.edges)
        blocks = [np.flatnonzero(colors == c) for c in range(colors.max() + 1)]
        return sorted(blocks, key=lambda block: int(block.max() >= self.units - self.num_outputs))

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.array(self.edges, int).reshape(-1, 2)

    def coupling_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the couplings of inputs and of edges."""
        hidden = self.units - self.num_outputs
        return {"input": (self.num_inputs, hidden), "coupling": (len(self.edges),)}

    def links(self, params: Params) -> dict[tuple[int, int], SparseLink]:
        """Return the couplings between colors, as tables of neighbors."""
        block_of, rank = np.zeros(self.units, int), np.zeros(self.units, int)
        for number, block in enumerate(self.blocks):
            block_of[block], rank[block] = number, np.arange(len(block))
        # An edge that is none has the last coupling, 0.
        couplings = jnp.append(params["coupling"], 0.0)
        links = {}
        for pair in sorted({(min(p), max(p)) for p in block_of[self._ends].tolist()}):
            among = np.flatnonzero((np.sort(block_of[self._ends], 1) == pair).all(1))
            ends = self._ends[among]
            swapped = block_of[ends[:, 0]] != pair[0]
            ends[swapped] = ends[swapped, ::-1]
            ranks = rank[ends]
            tables = []
            for ordered, block in ((ranks, pair[0]), (ranks[:, ::-1], pair[1])):
                neighbors, edges = neighbor_table(ordered, len(self.blocks[block]))
                places = np.where(edges < 0, len(self.edges), np.append(among, 0)[edges])
                tables += [neighbors, couplings[places]]
            links[pair] = SparseLink(*tables)
        return links

    def driven(self, params, inputs) -> Float[Array, "batch unit"]:
        """Return the fields of the inputs, at all but the outputs."""
        return jnp.pad(inputs @ params["input"], ((0, 0), (0, self.num_outputs)))

    def pair_energy(self, params, values, weights) -> Float[Array, " batch"]:
        """Return the mean energy of the edges."""
        first, second = (values[..., end] for end in self._ends.T)
        products = jnp.einsum("bd,bde->be", weights.astype(values.dtype), first * second)
        return -(products * params["coupling"].astype(values.dtype)).sum(1)
