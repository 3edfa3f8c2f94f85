"""Preconditioned conjugate gradients over a batch of independent systems."""

import functools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp

from eqprop_spice.arrays import Array

Blocks: TypeAlias = tuple[Array, ...]
"""One array per layer, each `batch node`."""


def dot(one: Blocks, two: Blocks, weights: Blocks) -> Array:
    """Return the weighted inner product of each sample, `batch 1`."""
    return sum(
        jnp.sum(a * b * w, axis=1, keepdims=True) for a, b, w in zip(one, two, weights, strict=True)
    )


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
