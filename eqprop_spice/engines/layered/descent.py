r"""Exact block coordinate descent on a chain of layers with ideal diodes.

The operating point minimizes the co-content $\frac12 \sum g\,\Delta V^2$ (weighted, where there are
amplifiers) over the voltages that the diodes allow: a convex quadratic program with bounds. Nodes
of one layer do not see each other, so for given neighbors the minimum over a whole layer is known:
every node takes the mean of its neighbors' voltages weighted by conductance, cut off at its bounds.
Visiting the layers in turn never raises the co-content and ends at its minimum.

References:
    Scellier (2024), arXiv:2402.11674, algorithm 1.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.devices.ideal import Ideal
from eqprop_spice.engines.layered.chain import Chain
from eqprop_spice.engines.layered.equations import (
    Blocks,
    Network,
    inflow,
    spring_diagonal,
)
from eqprop_spice.engines.layered.linear import Jacobian, largest

MAX_SWEEPS = 4000
"""Where the descent gives up; 5 to 10 sweeps are usual for one hidden layer."""

SWEEPS_PER_CHECK = 3
"""Sweeps between looks at what still moves; of 2, 3 and 4, DRN-XS trained fastest with 3."""

ACCURACY = 1e-13
"""Change of a voltage over a sweep, relative to the largest, at which a sample has settled."""

CLOSED_CONDUCTANCE = 1e300
"""Stands for the conductance of a closed ideal diode [S] in the linearized equations."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Iterate:
    """Where the descent is.

    Attributes:
        voltages: Voltages [V], per layer `batch node`.
        moved: Largest change of the last sweep relative to the largest voltage, `batch 1`.
        steps: Sweeps that each sample needed, `batch 1`.
    """

    voltages: Blocks
    moved: Array
    steps: Array


@functools.lru_cache(maxsize=256)
def bounds(chain: Chain, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest voltage [V] that the diodes of layer k allow."""
    layer = chain.layers[k]
    lower, upper = np.full(layer.size, -np.inf), np.full(layer.size, np.inf)
    for slot in layer.diodes:
        assert isinstance(slot.device, Ideal), "chains with junctions are solved by Newton"
        if slot.sign > 0.0:
            upper = np.where(slot.present, np.minimum(upper, slot.shifts), upper)
        else:
            lower = np.where(slot.present, np.maximum(lower, slot.shifts), lower)
    return lower[None, :], upper[None, :]


def _unloaded(network: Network, k: int, current: Array) -> Array:
    """Return the voltages that layer k takes for given currents into it, its diodes aside [V]."""
    if network.spring is None or k != len(network.linear) - 1:
        return current / network.linear[k]
    incidence = network.chain.incidence
    squared = incidence.T @ incidence
    if np.count_nonzero(squared - np.diag(np.diag(squared))) == 0:
        total = network.linear[k] + spring_diagonal(network)
        # A negative spring that outweighs the node's conductances has no minimum.
        return current / jnp.where(total > 0.0, total, jnp.nan)
    matrix = jnp.diag(network.linear[k][0]) + network.spring * jnp.asarray(squared)
    stable = jnp.linalg.eigvalsh(matrix)[0] > 0.0
    return jnp.where(stable, current @ jnp.linalg.inv(matrix), jnp.nan)


def _minimum(network: Network, voltages: Sequence[Array | None], k: int) -> Array:
    """Return the voltages of layer k that minimize the co-content for given neighbors [V]."""
    return jnp.clip(_unloaded(network, k, inflow(network, voltages, k)), *bounds(network.chain, k))


def _sweep(network: Network, voltages: Sequence[Array | None]) -> list[Array]:
    """Visit every layer once: the first, third, ... and then those between."""
    count = len(voltages)
    updated = list(voltages)
    for k in (*range(0, count, 2), *range(1, count, 2)):
        updated[k] = _minimum(network, updated, k)
    return updated  # type: ignore[return-value] (None is replaced everywhere)


def _forward(network: Network) -> list[Array]:
    """Visit the layers from the inputs to the outputs, each as if the next one were at 0 V."""
    voltages: list[Array | None] = [None] * len(network.linear)
    for k in range(len(voltages)):
        voltages[k] = _minimum(network, voltages, k)
    return voltages  # type: ignore[return-value] (None is replaced everywhere)


def _change(new: Sequence[Array], old: Sequence[Array]) -> Array:
    """Return the largest change of each sample relative to its largest voltage, `batch 1`."""
    size = jnp.maximum(largest(new), jnp.finfo(new[0].dtype).tiny)
    return largest([a - b for a, b in zip(new, old, strict=True)]) / size


@dataclasses.dataclass(frozen=True)
class Descent:
    """Settles chains whose diodes are ideal.

    Attributes:
        sweeps: How often every layer is visited, as published; None until nothing moves.
    """

    sweeps: int | None = None

    @property
    def residual_tolerance(self) -> float:
        """The largest residual of a sample that counts as converged."""
        return 1e-9 if self.sweeps is None else np.inf

    def begin(self, network: Network) -> Iterate:
        """Return the state that settling begins from."""
        return self.begin_from(_forward(network))

    def begin_from(self, voltages: Sequence[Array]) -> Iterate:
        """Return given voltages [V], per layer `batch node`, as a state."""
        batch = (voltages[0].shape[0], 1)
        return Iterate(tuple(voltages), jnp.full(batch, jnp.inf), jnp.zeros(batch, int))

    def resettle(self, network: Network, before: Network, iterate: Iterate) -> Iterate:
        """Settle from the solution with another load."""
        return self.settle(network, iterate)

    def settle(self, network: Network, iterate: Iterate) -> Iterate:
        """Settle from a state."""
        start = list(iterate.voltages)
        if self.sweeps is not None:
            voltages = before = start
            for _ in range(self.sweeps):
                before, voltages = voltages, _sweep(network, voltages)
            steps = jnp.full_like(iterate.steps, self.sweeps)
            return Iterate(tuple(voltages), _change(voltages, before), steps)

        def unfinished(state: tuple[Iterate, Array]):
            return (state[0].moved > ACCURACY).any() & (state[1] < MAX_SWEEPS)

        def improve(state: tuple[Iterate, Array]):
            iterate, count = state
            before = voltages = list(iterate.voltages)
            for _ in range(SWEEPS_PER_CHECK):
                before, voltages = voltages, _sweep(network, voltages)
            moving = jnp.where(iterate.moved > ACCURACY, SWEEPS_PER_CHECK, 0)
            moved = _change(voltages, before)
            return Iterate(tuple(voltages), moved, iterate.steps + moving), count + SWEEPS_PER_CHECK

        first = self.begin_from(start)
        return jax.lax.while_loop(unfinished, improve, (first, jnp.zeros((), int)))[0]

    def violation(self, network: Network, iterate: Iterate) -> tuple[Array, Array]:
        """Return how far each sample is from its minimum, and the node where it is worst.

        Visiting any layer once more would change it by so much, relative to the largest voltage.
        """
        voltages = iterate.voltages
        size = jnp.maximum(largest(voltages), jnp.finfo(voltages[0].dtype).tiny)
        parts = [jnp.abs(_minimum(network, voltages, k) - u) for k, u in enumerate(voltages)]
        moves = jnp.concatenate(parts, axis=1) / size
        moves = jnp.where(jnp.isnan(moves), jnp.inf, moves)
        nodes = np.concatenate([layer.nodes for layer in network.chain.layers])
        return moves.max(axis=1), jnp.asarray(nodes)[moves.argmax(axis=1)]

    def linearize(self, network: Network, voltages: Sequence[Array]) -> Jacobian:
        """Return the Jacobian: a node at a bound stays there, the others see no diode."""
        diagonals = []
        for k, (linear, u) in enumerate(zip(network.linear, voltages, strict=True)):
            lower, upper = bounds(network.chain, k)
            # A simulated diode that conducts leaves its node just beyond the bound.
            closed = (u <= lower) | (u >= upper)
            diagonals.append(jnp.where(closed, CLOSED_CONDUCTANCE, linear))
        return Jacobian(network, tuple(diagonals))
