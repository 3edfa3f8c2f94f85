"""The Jacobian of a chain of layers, solved by conjugate gradients over a batch."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from eqprop_spice.arrays import Array
from eqprop_spice.engines.layered.equations import (
    Blocks,
    Network,
    kept_layers,
    neighbor_currents,
    slack_layers,
    spring_currents,
    spring_diagonal,
)

SINGLE_PRECISION_SIZE = 128 * 128
"""Entries of a drive matrix from which products in float32 save more time than the additional
Newton step costs that their accuracy of 1e-6 makes necessary."""

SINGLE_PRECISION_ACCURACY = 2e-6
"""Relative accuracy of a solution in float32 that can be relied on."""


def dot(one: Blocks, two: Blocks, weights: Blocks) -> Array:
    """Return the weighted inner product of each sample, `batch 1`."""
    parts = [
        jnp.sum(a * b * w, axis=1, keepdims=True) for a, b, w in zip(one, two, weights, strict=True)
    ]
    return sum(parts[1:], parts[0])


def largest(blocks: Sequence[Array]) -> Array:
    """Return the largest magnitude of each sample, `batch 1`."""
    return functools.reduce(
        jnp.maximum, [jnp.abs(block).max(axis=1, keepdims=True) for block in blocks]
    )


def conjugate_gradients(
    apply: Callable[[Blocks], Blocks],
    right: Blocks,
    diagonal: Blocks,
    weights: Blocks,
    *,
    tolerance: Array,
    max_steps: int,
) -> Blocks:
    r"""Solve $H x = r$ for each sample.

    H must be self-adjoint and positive in the inner product $\sum_j w_j a_j b_j$. The iteration
    ends when the largest $|r/d|$ [V] has fallen by the tolerance: unlike the energy, that does not
    forget layers of small conductance.

    Args:
        apply: $x \mapsto H x$.
        right: The right-hand sides r.
        diagonal: The preconditioner d.
        weights: The weights w, `1 node`.
        tolerance: Relative accuracy wanted of each sample, `batch 1`.
        max_steps: When to give up; the last iterate is returned.

    References:
        Hestenes and Stiefel (1952), doi:10.6028/jres.049.044.
    """
    z = tuple(r / d for r, d in zip(right, diagonal, strict=True))
    goal = tolerance * largest(z)

    def unfinished(state):
        steps, _, _, _, _, going = state
        return (steps < max_steps) & going.any()

    def improve(state):
        steps, x, r, p, size, going = state
        image = apply(p)
        curvature = dot(p, image, weights)
        going = going & (curvature > 0.0)
        length = jnp.where(going, size / jnp.where(going, curvature, 1.0), 0.0)
        x = tuple(a + length * b for a, b in zip(x, p, strict=True))
        r = tuple(a - length * b for a, b in zip(r, image, strict=True))
        z = tuple(a / d for a, d in zip(r, diagonal, strict=True))
        new_size = dot(r, z, weights)
        turn = jnp.where(going, new_size / jnp.where(going, size, 1.0), 0.0)
        p = tuple(a + turn * b for a, b in zip(z, p, strict=True))
        return steps + 1, x, r, p, new_size, going & (largest(z) > goal)

    zero = tuple(jnp.zeros_like(r) for r in right)
    first = (0, zero, right, z, dot(right, z, weights), largest(z) > 0.0)
    return jax.lax.while_loop(unfinished, improve, first)[1]


@dataclasses.dataclass(frozen=True)
class Jacobian:
    """The derivative of the chain's equations.

    Attributes:
        network: The equations.
        diagonals: Its diagonal [S], per layer `batch node`.
    """

    network: Network
    diagonals: Blocks

    @property
    def kept_diagonals(self) -> Blocks:
        """The diagonals of the kept layers."""
        return tuple(self.diagonals[k] for k in kept_layers(len(self.diagonals)))

    @property
    def kept_weights(self) -> Blocks:
        """The reciprocity weights of the kept layers, `1 node`."""
        layers = self.network.chain.layers
        dtype = self.diagonals[-1].dtype
        return tuple(
            jnp.asarray(layers[k].weights, dtype)[None, :] for k in kept_layers(len(layers))
        )

    def slack_response(self, change: Blocks) -> list[Array]:
        """Return how all layers move to first order when the kept ones do [V]."""
        count = len(self.diagonals)
        moved: list = [None] * count
        for k, block in zip(kept_layers(count), change, strict=True):
            moved[k] = block
        for k in slack_layers(count):
            currents = neighbor_currents(self.network, moved, k)
            assert currents is not None, "a slack layer has a kept one behind it"
            moved[k] = currents / self.diagonals[k]
        return moved

    def _apply(self, change: Blocks) -> Blocks:
        """Return the currents [A] that a change of the kept layers takes, the slack following."""
        moved = self.slack_response(change)
        image = []
        for k in kept_layers(len(moved)):
            # Kept layers are no neighbors of each other: what comes back is the slack's answer.
            returned = neighbor_currents(self.network, moved, k)
            own = self.diagonals[k] * moved[k]
            image.append(own if returned is None else own - returned)
        if self.network.spring is not None:
            diagonal = spring_diagonal(self.network) * moved[-1]
            image[-1] = image[-1] + spring_currents(self.network, moved[-1]) - diagonal
        return tuple(image)

    def solve(self, right: Blocks, tolerance: Array) -> Blocks:
        r"""Solve $J\,\delta u = r$ with r at the kept layers; return their changes [V].

        Args:
            right: Currents [A] into the kept layers.
            tolerance: Relative accuracy of each sample, `batch 1`.
        """
        count = sum(diagonal.shape[1] for diagonal in self.kept_diagonals)
        return conjugate_gradients(
            self._apply,
            right,
            self.kept_diagonals,
            self.kept_weights,
            tolerance=tolerance,
            max_steps=2 * count + 20,
        )

    def solve_roughly(self, right: Blocks, tolerance: Array) -> tuple[Blocks, Array]:
        """Solve as `solve` does, in float32 if that pays; return also the accuracy reached."""
        if not self.worth_single_precision:
            return self.solve(right, tolerance), tolerance
        # Currents of 1e-20 A would have squares that float32 flushes to zero: solve for a largest
        # voltage of about 1 V.
        jacobi = tuple(r / d for r, d in zip(right, self.kept_diagonals, strict=True))
        size = largest(jacobi)
        unit = jnp.where(size > 0.0, size, 1.0)
        scaled, rough = jax.tree.map(
            lambda a: a.astype(jnp.float32), (tuple(r / unit for r in right), self.network)
        )
        diagonals = tuple(d.astype(jnp.float32) for d in self.diagonals)
        reached = jnp.maximum(tolerance, SINGLE_PRECISION_ACCURACY)
        change = Jacobian(rough, diagonals).solve(scaled, reached.astype(jnp.float32))
        return tuple(c.astype(unit.dtype) * unit for c in change), reached

    @property
    def worth_single_precision(self) -> bool:
        """Whether the products are large enough to gain from float32."""
        sizes = [drive.size for drive in self.network.drives]
        return max(sizes, default=0) >= SINGLE_PRECISION_SIZE
