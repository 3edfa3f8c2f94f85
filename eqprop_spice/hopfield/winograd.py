r"""Convolutions of 3 x 3 windows by Winograd's algorithm F(2 x 2, 3 x 3).

Four pixels of the result, which are one window of a pool, come from 4 x 4 of the source by 16
products and not by 36: $Y = A^T (G w G^T \odot B^T d B) A$ with fixed matrices of 0, 1, -1 and
halves, where a product is one of matrices over the channels. Rounding errors are a few times those
of the plain sum. Images are `batch row column channel`, framed by one pixel of zeros, and have an
even number of rows and columns.

References:
    Winograd (1980); Lavin and Gray (2015), arXiv:1509.09308, section 4.1.
"""

import functools
import operator
from collections.abc import Iterable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from eqprop_spice.arrays import Array

Signs = Sequence[Sequence[int]]

OF_SOURCE: Signs = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
"""Lavin's B transposed."""

OF_RESULT: Signs = ((1, 1, 1, 0), (0, 1, -1, -1))
"""Lavin's A transposed."""

OF_WEIGHT = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]])
"""Lavin's G."""

Grid = Sequence[Sequence[Array]]
"""Images by the place of their pixels in a window."""


def transformed(weight: Float[Array, "3 3 input output"]) -> Float[Array, "16 input output"]:
    """Return what the products need of a weight."""
    of_weight = jnp.asarray(OF_WEIGHT, weight.dtype)
    whole = jnp.einsum("ia,jb,abmn->ijmn", of_weight, of_weight, weight)
    return whole.reshape(16, *weight.shape[2:])


def product(weight: Float[Array, "16 input output"], source: Array) -> Grid:
    """Return the convolution, as 2 x 2 images of half the size.

    Args:
        weight: A transformed weight.
        source: The images.
    """
    _, height, width, _ = source.shape
    framed = jnp.pad(source, ((0, 0), (1, 1), (1, 1), (0, 0)))
    tiles = [[framed[:, i : i + height - 1 : 2, j : j + width - 1 : 2] for j in range(4)]
             for i in range(4)]  # fmt: skip
    return _both(OF_RESULT, _products(_both(OF_SOURCE, tiles), weight, 1))


def pull(weight: Float[Array, "16 input output"], result: Grid) -> Array:
    """Return the transposed convolution.

    Args:
        weight: A transformed weight.
        result: What stands at the result of a convolution, as 2 x 2 images of half the size.
    """
    tiles = _both(_transposed(OF_RESULT), result)
    tiles = _both(_transposed(OF_SOURCE), _products(tiles, weight, 2))
    return _laid(_laid(rows, 1) for rows in zip(*tiles, strict=True))


def _products(tiles: Grid, weight: Array, axis: int) -> Grid:
    """Return tiles after the products over channels, which stand at an axis of the weight."""
    flat = jnp.stack([tile for row in tiles for tile in row])
    rows = flat.reshape(16, -1, flat.shape[-1])
    done = lax.dot_general(rows, weight, (((2,), (axis,)), ((0,), (0,))))
    done = done.reshape(4, 4, *flat.shape[1:-1], -1)
    return [[done[i, j] for j in range(4)] for i in range(4)]


def _both(signs: Signs, grid: Grid) -> Grid:
    """Return the product of a matrix, a grid, and the matrix transposed."""
    columns = [_sums(signs, column) for column in zip(*grid, strict=True)]
    return [_sums(signs, row) for row in zip(*columns, strict=True)]


def _sums(signs: Signs, parts: Sequence[Array]) -> list[Array]:
    """Return the product of a matrix and a vector of images, without its zeros and ones."""
    return [
        functools.reduce(
            operator.add,
            (part if sign > 0 else -part for sign, part in zip(row, parts, strict=True) if sign),
        )
        for row in signs
    ]


def _transposed(signs: Signs) -> Signs:
    return tuple(zip(*signs, strict=True))


def _laid(parts: Iterable[Array], axis: int = 2) -> Array:
    """Return the sum of four images laid at every other pixel from their places on, unframed."""
    first, second, third, fourth = parts
    before, after = ([(0, 0)] * first.ndim for _ in range(2))
    before[axis], after[axis] = (1, 0), (0, 1)
    size = first.shape[axis]
    even = second + lax.slice_in_dim(jnp.pad(fourth, before), 0, size, axis=axis)
    odd = third + lax.slice_in_dim(jnp.pad(first, after), 1, size + 1, axis=axis)
    pairs = jnp.stack([even, odd], axis + 1)
    return pairs.reshape(*first.shape[:axis], 2 * size, *first.shape[axis + 1 :])
