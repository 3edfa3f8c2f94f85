r"""Binary units in blocks: Gibbs sampling of a whole block at once, and its mean field.

With the energy $E(s) = -\sum_i h_i s_i - \sum_{i<j} J_{ij} s_i s_j$ of units 0 or 1 and all other
units given, unit i is 1 with the probability $\sigma(a_i/T)$, $a_i = h_i + \sum_j J_{ij} s_j$. No
two units of a block are coupled, so that drawing all of a block at once is exact.

Arrays are `unit lane`: lanes are chains of samples in phases, which do not know of each other, and
the compiler takes many of them at a time.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.sampling.generator import Generator, step_keys, uniforms

Blocks = Sequence[Array]
"""One number for every unit of every block, `unit lane`."""


@dataclasses.dataclass(frozen=True)
class DenseLink:
    """Couplings of every unit of one block with every unit of another."""

    couplings: Float[Array, "first second"]

    def onto_first(self, second: Array) -> Array:
        """Return what the second block adds to the fields of the first."""
        return self.couplings @ second

    def onto_second(self, first: Array) -> Array:
        """Return what the first block adds to the fields of the second."""
        return self.couplings.T @ first


@dataclasses.dataclass(frozen=True)
class SparseLink:
    """Couplings of few neighbors: tables of them, filled up with couplings of zero.

    Attributes:
        second_of: Neighbors of every unit of the first block.
        onto: Couplings with them.
        first_of: Neighbors of every unit of the second block.
        back: Couplings with them.
    """

    second_of: Int[np.ndarray, "first neighbor"]
    onto: Float[Array, "first neighbor"]
    first_of: Int[np.ndarray, "second other_neighbor"]
    back: Float[Array, "second other_neighbor"]

    def onto_first(self, second: Array) -> Array:
        """Return what the second block adds to the fields of the first."""
        return _gathered(self.second_of, self.onto, second)

    def onto_second(self, first: Array) -> Array:
        """Return what the first block adds to the fields of the second."""
        return _gathered(self.first_of, self.back, first)


def _gathered(neighbors: np.ndarray, couplings: Array, values: Array) -> Array:
    total = couplings[:, 0, None] * values[neighbors[:, 0]]
    for k in range(1, neighbors.shape[1]):
        total = total + couplings[:, k, None] * values[neighbors[:, k]]
    return total


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How a chain runs.

    Attributes:
        burn_in: Sweeps before the first draw.
        draws: How many draws are kept.
        thinning: Sweeps from one to the next.
        smoothed: Whether the first block is kept as its mean given the others, not as it was drawn:
            the same averages of all that is linear in the block, with less noise.
        generator: Where random numbers come from.
    """

    burn_in: int
    draws: int
    thinning: int = 1
    smoothed: bool = True
    generator: Generator = "hash"


@dataclasses.dataclass(frozen=True)
class BinaryModel:
    """Units in blocks under the fields of some lanes, all divided by the temperature.

    Attributes:
        fields: The fields h by block, `unit lane`.
        links: Couplings by pair of blocks.
    """

    fields: list[Array]
    links: Mapping[tuple[int, int], DenseLink | SparseLink]

    def means(self, state: Blocks, block: int) -> Float[Array, "unit lane"]:
        """Return how probable 1 is for every unit of a block, the others given."""
        total = self.fields[block]
        for (first, second), link in self.links.items():
            if block == first:
                total = total + link.onto_first(state[second])
            elif block == second:
                total = total + link.onto_second(state[first])
        return jax.nn.sigmoid(total)

    def start(self) -> list[Array]:
        """Return a state that prefers nothing: every unit one half."""
        return [jnp.full_like(field, 0.5) for field in self.fields]

    def sweep(
        self, state: Blocks, key: Array, shared: int, generator: Generator
    ) -> tuple[list[Array], Array]:
        """Draw every block once; return the state, and what the first block was drawn from.

        Args:
            state: The state.
            key: The keys of this step.
            shared: How many lanes, the first ones, have random numbers of their own; the others
                take theirs in turn.
            generator: Where random numbers come from.
        """
        state, offset, first = list(state), 0, None
        for block in range(len(state)):
            mean = self.means(state, block)
            units, lanes = mean.shape
            numbers = uniforms(key, (units, shared), offset=offset, generator=generator)
            numbers = jnp.tile(numbers, (1, lanes // shared))
            offset += units * shared
            state[block] = (numbers < mean).astype(mean.dtype)
            first = mean if first is None else first
        assert first is not None, "a model has blocks"
        return state, first

    def sample(
        self, start: Blocks, key: Array, schedule: Schedule, *, shared: int
    ) -> tuple[list[Array], list[Array]]:
        """Return draws of every block, `draw unit lane`, and where the chains end.

        Args:
            start: Where they start.
            key: Random key.
            schedule: How they run.
            shared: See `sweep`.
        """

        def advance(state, keys):
            return jax.lax.scan(
                lambda s, k: (self.sweep(s, k, shared, schedule.generator)[0], None), state, keys
            )[0]

        def draw(state, keys):
            state = advance(state, keys[:-1]) if len(keys) > 1 else state
            after, first = self.sweep(state, keys[-1], shared, schedule.generator)
            # The first block's mean goes with the others as they were when it was computed.
            kept = [first, *state[1:]] if schedule.smoothed else after
            return after, kept

        count = schedule.burn_in + schedule.draws * schedule.thinning
        keys = step_keys(key, count)
        state = advance(list(start), keys[: schedule.burn_in])
        shape = (schedule.draws, schedule.thinning, 2)
        ends, kept = jax.lax.scan(draw, state, keys[schedule.burn_in :].reshape(shape))
        return kept, ends

    def mean_field(
        self, start: Blocks, *, tolerance: float, most: int
    ) -> tuple[list[Array], Float[Array, " lane"], Int[Array, ""]]:
        """Return means that are each other's, the largest change of a sweep, and sweeps taken.

        Blocks in turn descend the mean-field free energy, which has a minimum.

        Args:
            start: Where it starts.
            tolerance: Largest change of a sweep.
            most: After how many sweeps it ends in any case.
        """

        def sweep(carry):
            state, _, count = list(carry[0]), carry[1], carry[2]
            change = jnp.zeros(state[0].shape[1], state[0].dtype)
            for block in range(len(state)):
                mean = self.means(state, block)
                change = jnp.maximum(change, jnp.abs(mean - state[block]).max(0))
                state[block] = mean
            return state, change, count + 1

        def moving(carry):
            return (carry[1] > tolerance).any() & (carry[2] < most)

        begin = list(start), jnp.full(start[0].shape[1], jnp.inf, start[0].dtype), jnp.asarray(0)
        return jax.lax.while_loop(moving, sweep, begin)


def all_states(count: int) -> Float[np.ndarray, "state unit"]:
    """Return the 2^n states of n binary units."""
    return (np.arange(2**count)[:, None] >> np.arange(count) & 1).astype(float)


def colors_of(count: int, edges: Sequence[tuple[int, int]]) -> Int[np.ndarray, " unit"]:
    """Return a color of every unit, none like a neighbor's: the first one that is left."""
    colors = np.full(count, -1)
    neighbors: list[set[int]] = [set() for _ in range(count)]
    for first, second in edges:
        neighbors[first].add(second)
        neighbors[second].add(first)
    for unit in range(count):
        taken = {int(colors[other]) for other in neighbors[unit]}
        colors[unit] = next(c for c in range(count) if c not in taken)
    return colors


def neighbor_table(
    pairs: Int[np.ndarray, "edge 2"], count: int
) -> tuple[Int[np.ndarray, "unit neighbor"], Int[np.ndarray, "unit neighbor"]]:
    """Return the neighbors of every unit and the edges to them; -1 for an edge that is none.

    Args:
        pairs: Unit and neighbor of every edge.
        count: How many units there are.
    """
    degrees = np.bincount(pairs[:, 0], minlength=count)
    shape = (count, max(int(degrees.max(initial=0)), 1))
    neighbors, edges = np.zeros(shape, int), np.full(shape, -1)
    order = np.argsort(pairs[:, 0], kind="stable")
    place = np.arange(len(pairs)) - np.repeat(np.cumsum(degrees) - degrees, degrees)
    neighbors[pairs[order, 0], place] = pairs[order, 1]
    edges[pairs[order, 0], place] = order
    return neighbors, edges
