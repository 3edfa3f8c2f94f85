r"""Block descent of a Hopfield network: layers that are not connected go to their minima at once.

With the energy $E = \frac{1}{2}\sum_k |s_k|^2 - \Phi$ and $d_k = \partial\Phi/\partial s_k$, the
layers of a color have their minimum, the others given, at $s_k = \mathrm{clip}(d_k)$, and outputs
that feel a force I and a spring G at $\mathrm{clip}((d + I)/(1 + G))$. A sweep visits every color
once. E falls with every visit, with max pooling too: for states of at least zero it is concave in
what is pooled, so that the switches of the last visit give an upper bound that touches it.

Products of a layer with its outgoing weights are kept until it moves again: two products per
connection and sweep.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.hopfield.attached import Attached
from eqprop_spice.hopfield.graph import Graph

COSTLY = 100_000
"""Products of a sweep and row from which rows that have settled are left behind: the program to
compile grows with every time that happens."""

FEWEST = 8
"""Rows below which it does not pay."""

State = tuple[Array, ...]
"""States of the layers, without the inputs, `batch ...` each."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a descent is.

    Attributes:
        state: The state.
        products: Per inner edge, the pooled product of its source, and the switches of the pool.
        following: Where the layers of the first color go next.
    """

    state: State
    products: tuple[Any, ...]
    following: tuple[Array, ...]


@dataclasses.dataclass(frozen=True)
class Descent:
    """A network with its weights, inputs and load.

    Attributes:
        graph: The graph.
        weights: The weight of every edge, prepared.
        drives: Per layer, what it feels of its biases and of the inputs: it never changes.
        load: What is attached to the outputs.
        synchronous: Whether all layers move at once, each as if the others stayed.
    """

    graph: Graph
    weights: tuple[Array, ...]
    drives: State
    load: Attached
    synchronous: bool = False

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """Which layers move at once, in their order."""
        if self.synchronous:
            return (tuple(range(1, self.graph.num_layers + 1)),)
        return self.graph.colors

    def begin(self, state: State) -> Progress:
        """Return the start of a descent."""
        *hidden, outputs = state
        state = (*hidden, jnp.where(self.load.holds, self.load.held, outputs))
        layers = tuple(range(1, self.graph.num_layers + 1))
        products = self._renew([None] * len(self.graph.inner_edges), state, layers)
        return Progress(state, products, self._targets(self.blocks[0], state, products))

    def sweep(self, progress: Progress) -> Progress:
        """Return where the descent is after every layer has moved once."""
        state, products, following = list(progress.state), progress.products, progress.following
        for number, block in enumerate(self.blocks):
            if number > 0:
                following = self._targets(block, state, products)
            for layer, target in zip(block, following, strict=True):
                state[layer - 1] = target
            products = self._renew(products, state, block)
        following = self._targets(self.blocks[0], state, products)
        return Progress(tuple(state), products, following)

    def residual(self, progress: Progress) -> Float[Array, " row"]:
        """Return by how much a unit would move at most if it moved alone, after a sweep.

        The last of several blocks has moved last, so that its residual is zero.
        """
        state, products = progress.state, progress.products
        found = jnp.zeros(len(state[-1]), state[-1].dtype)
        for number, block in enumerate(self.blocks[:-1] or self.blocks):
            targets = progress.following if number == 0 else self._targets(block, state, products)
            for layer, target in zip(block, targets, strict=True):
                change = jnp.abs(target - state[layer - 1]).reshape(len(target), -1)
                found = jnp.maximum(found, change.max(axis=1))
        return found

    def run(self, progress: Progress, num_sweeps: int) -> Progress:
        """Return where the descent is after some sweeps."""
        return lax.fori_loop(0, num_sweeps, lambda _, p: self.sweep(p), progress)

    def settle(
        self, progress: Progress, tolerance: float, most: int
    ) -> tuple[Progress, Int[Array, " row"]]:
        """Return where it is once every residual is within a tolerance, and after how many sweeps.

        Where sweeps cost, rows that have settled are left behind: once only a quarter has not, the
        rest goes on by itself.

        Args:
            progress: Where it begins.
            tolerance: Largest residual.
            most: After how many sweeps it stops in any case.
        """
        progress = self.sweep(progress)
        return self._settle(progress, self.residual(progress), jnp.asarray(1), tolerance, most)

    def _settle(self, progress, residual, count, tolerance: float, most: int):
        """Go on from where the residual is known, after some sweeps; see `settle`."""
        num_rows = len(residual)
        rest = num_rows // 4 if self.graph.num_products >= COSTLY else 0
        rest = rest if rest >= FEWEST else 0

        def unsettled(carry):
            _, residual, count = carry
            return ((residual > tolerance).sum() > rest) & (count < most)

        def more(carry):
            progress = self.sweep(carry[0])
            return progress, self.residual(progress), carry[2] + 1

        progress, residual, count = lax.while_loop(unsettled, more, (progress, residual, count))
        counts = jnp.full(num_rows, count)
        if rest == 0:
            return progress, counts
        residual, chosen = lax.top_k(residual, rest)
        slow = jax.tree.map(lambda leaf: leaf[chosen], progress)
        slow, slow_counts = self._rows(chosen)._settle(slow, residual, count, tolerance, most)
        progress = jax.tree.map(lambda leaf, part: leaf.at[chosen].set(part), progress, slow)
        return progress, counts.at[chosen].set(slow_counts)

    def _rows(self, chosen: Int[Array, " chosen"]) -> "Descent":
        """Return the descent of some rows."""

        def take(leaf: Array) -> Array:
            # What has one row serves all.
            return leaf[chosen] if len(leaf) > 1 else leaf

        parts = jax.tree.map(take, (self.drives, self.load))
        return dataclasses.replace(self, drives=parts[0], load=parts[1])

    def all_targets(self, state: State) -> State:
        """Return where every layer goes while the others stay."""
        layers = tuple(range(1, self.graph.num_layers + 1))
        products = self._renew([None] * len(self.graph.inner_edges), state, layers)
        return self._targets(layers, state, products)

    def _renew(self, products, state, layers: tuple[int, ...]) -> tuple[Any, ...]:
        """Return the products of inner edges, anew where they come from one of some layers."""
        renewed = list(products)
        for place, number in enumerate(self.graph.inner_edges):
            edge = self.graph.edges[number]
            if edge.source in layers:
                renewed[place] = edge.forward(self.weights[number], state[edge.source - 1])
        return tuple(renewed)

    def _targets(self, layers: tuple[int, ...], state, products) -> State:
        """Return where some layers go while the others stay."""
        return tuple(self._target(layer, state, products) for layer in layers)

    def _target(self, layer: int, state, products) -> Array:
        drive = self.drives[layer - 1]
        for (value, switches), number in zip(products, self.graph.inner_edges, strict=True):
            edge = self.graph.edges[number]
            if edge.target == layer:
                drive = drive + value
            elif edge.source == layer:
                pull = edge.backward(self.weights[number], state[edge.target - 1], switches)
                drive = drive + pull
        bounds = self.graph.bounds[layer - 1]
        if layer < self.graph.num_layers:
            return clip(drive, *bounds)
        load = self.load
        free = clip((drive + load.force) / (1.0 + load.stiffness), *bounds)
        return jnp.where(load.holds, load.held, free)


def clip(values: Array, low: float, high: float) -> Array:
    """Return values within bounds; the slope is zero where a bound is just met, and one inside."""
    return jnp.where(values <= low, low, jnp.where(values >= high, high, values))
