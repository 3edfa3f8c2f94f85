"""Oscillator Ising machines: coupled oscillators whose phases settle, and learn."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError
from eqprop_spice.sampling.binary import colors_of
from eqprop_spice.substrates.base import Params
from eqprop_spice.substrates.oscillator_base import AbstractOscillators


@dataclasses.dataclass(frozen=True, kw_only=True)
class OscillatorIsing(AbstractOscillators):
    """Layers of oscillators: inputs drive the first, and every layer is coupled to the next.

    A sweep takes all layers at an odd distance from the outputs, then all others.

    Attributes:
        hidden: Number of oscillators of every hidden layer.
    """

    hidden: tuple[int, ...] = (500,)

    def __post_init__(self) -> None:
        """Refuse an empty layer."""
        super().__post_init__()
        if not all(size > 0 for size in self.hidden):
            raise ConfigError(f"hidden is {list(self.hidden)}; every layer needs oscillators.")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of oscillators of every layer."""
        return (*self.hidden, self.num_outputs)

    @property
    def num_units(self) -> int:
        """Number of oscillators."""
        return sum(self.sizes)

    @property
    def blocks(self) -> list[np.ndarray]:
        """The layers, those at an odd distance from the outputs first."""
        layers = np.split(np.arange(self.num_units), np.cumsum(self.sizes)[:-1])
        return [layers[i] for i in self._order]

    @property
    def _order(self) -> list[int]:
        """The layers in the order of a sweep."""
        last = len(self.sizes) - 1
        return sorted(range(last + 1), key=lambda layer: ((last - layer + 1) % 2, layer))

    def coupling_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the couplings from layer to layer."""
        pairs = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        shapes = {f"coupling_{i}": pair for i, pair in enumerate(pairs, start=1)}
        return {"input": (self.num_inputs, self.sizes[0]), **shapes}

    def links(self, params: Params) -> dict[tuple[int, int], Array]:
        """Return the couplings between neighbors."""
        place = {layer: block for block, layer in enumerate(self._order)}
        return {
            (place[i - 1], place[i]): params[f"coupling_{i}"] for i in range(1, len(self.sizes))
        }

    def driven(self, params, inputs) -> Float[Array, "batch unit"]:
        """Return the fields of the inputs, at the first layer."""
        fields = inputs @ params["input"]
        return jnp.pad(fields, ((0, 0), (0, self.num_units - self.sizes[0])))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OscillatorGraph(AbstractOscillators):
    """Oscillators on any graph; the outputs are the last, and inputs drive all others.

    Attributes:
        units: Number of oscillators.
        edges: Pairs of coupled oscillators, numbered from 0.
    """

    units: int
    edges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        """Refuse edges that are none, and outputs that nothing reaches."""
        super().__post_init__()
        if self.units < max(self.num_outputs, 1):
            raise ConfigError(
                f"units is {self.units}; the outputs alone are {max(self.num_outputs, 1)}."
            )
        for edge in self.edges:
            if not (0 <= min(edge) < max(edge) < self.units):
                raise ConfigError(
                    f"Edge {list(edge)} does not join two of the oscillators 0 to {self.units - 1}."
                )
        if len({frozenset(edge) for edge in self.edges}) < len(self.edges):
            raise ConfigError("Two edges join the same oscillators; add their couplings up.")

    @property
    def num_units(self) -> int:
        """Number of oscillators."""
        return self.units

    @functools.cached_property
    def _colors(self) -> np.ndarray:
        """A color of every oscillator, none like a neighbor's: the first one that is left."""
        return colors_of(self.units, self.edges)

    @property
    def blocks(self) -> list[np.ndarray]:
        """The oscillators of every color."""
        return [np.flatnonzero(self._colors == c) for c in range(self._colors.max() + 1)]

    def check(self) -> None:
        """Refuse a graph in which an oscillator has no path to an output.

        Raises:
            ConfigError: If so, naming the first.
        """
        reached = set(range(self.units - self.num_outputs, self.units))
        while (
            more := {unit for edge in self.edges for unit in edge if reached & set(edge)} - reached
        ):
            reached |= more
        lost = sorted(set(range(self.units)) - reached)
        if lost:
            raise ConfigError(
                f"Oscillator {lost[0]} has no path to an output: it can neither help nor learn. "
                "Add an edge, or leave it out."
            )

    def coupling_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the couplings of inputs and of edges."""
        hidden = self.units - self.num_outputs
        return {"input": (self.num_inputs, hidden), "coupling": (len(self.edges),)}

    def links(self, params: Params) -> dict[tuple[int, int], Array]:
        """Return the couplings between colors; most of them may be zero."""
        edges = np.array(self.edges).reshape(-1, 2)
        # The lower color first.
        swapped = self._colors[edges[:, 0]] > self._colors[edges[:, 1]]
        edges[swapped] = edges[swapped, ::-1]
        rank = np.zeros(self.units, int)
        for block in self.blocks:
            rank[block] = np.arange(len(block))
        colors, ranks = self._colors[edges], rank[edges]
        links = {}
        for pair in sorted({(int(a), int(b)) for a, b in colors}):
            among = np.flatnonzero((colors == pair).all(1))
            shape = tuple(len(self.blocks[color]) for color in pair)
            values = jnp.asarray(params["coupling"])[among]
            links[pair] = jnp.zeros(shape).at[ranks[among, 0], ranks[among, 1]].set(values)
        return links

    def driven(self, params, inputs) -> Float[Array, "batch unit"]:
        """Return the fields of the inputs, at all but the outputs."""
        return jnp.pad(inputs @ params["input"], ((0, 0), (0, self.num_outputs)))
