"""Linear systems of many samples at once, by conjugate gradients."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array

Rows = Float[Array, "batch unknown"]

SLACK = 10.0
"""By how much the true residual may exceed that of the iteration, which rounding drives apart."""


def solve(
    apply: Callable[[Rows], Rows], right: Rows, *, tolerance: float, most: int
) -> tuple[Rows, Bool[Array, " batch"]]:
    r"""Return x with $A x = b$ for every sample, and where it was found.

    A has to be symmetric and positive definite for every sample; where it is not, the answer is
    that nothing was found, if the residual says so.

    Args:
        apply: Multiplies every row with the matrix of its sample.
        right: The right-hand sides b.
        tolerance: Largest Euclidean norm of the residual, relative to that of b.
        most: Largest number of iterations.

    References:
        Hestenes and Stiefel (1952).
    """

    def dot(a: Rows, b: Rows) -> Float[Array, "batch 1"]:
        return (a * b).sum(axis=1, keepdims=True)

    def ratio(above, below):
        return jnp.where(below == 0.0, 0.0, above / jnp.where(below == 0.0, 1.0, below))

    bound = tolerance**2 * dot(right, right)

    def unsolved(carry):
        *_, size, count = carry
        return (size > bound).any() & (count < most)

    def improve(carry):
        x, residual, direction, size, count = carry
        image = apply(direction)
        # A sample that is solved stays as it is: its later directions are rounding errors.
        length = jnp.where(size > bound, ratio(size, dot(direction, image)), 0.0)
        x, residual = x + length * direction, residual - length * image
        following = dot(residual, residual)
        direction = residual + ratio(following, size) * direction
        return x, residual, direction, following, count + 1

    start = jnp.zeros_like(right), right, right, dot(right, right), jnp.asarray(0)
    x, *_ = lax.while_loop(unsolved, improve, start)
    # The residual that is carried along loses touch with the true one where A is not definite.
    residual = right - apply(x)
    return x, (dot(residual, residual) <= SLACK**2 * bound)[:, 0]
