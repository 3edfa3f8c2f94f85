import numpy as np
import pytest

from eqprop_spice.lagrangian.block_tridiagonal import BlockTridiagonal

SOLVED = 1e-8
"""Relative error of solutions: rounding, times the condition of small random matrices."""


def drawn(ring, count, size, seed=0):
    """Return a random matrix, and the same as a dense one."""
    rng = np.random.default_rng(seed)
    diagonal = rng.standard_normal((count, size, size))
    diagonal = diagonal + diagonal.transpose(0, 2, 1)
    upper = rng.standard_normal((count if ring else count - 1, size, size))
    dense = np.zeros((count, size, count, size))
    for j in range(count):
        dense[j, :, j] += diagonal[j]
    for j, link in enumerate(upper):
        k = (j + 1) % count
        dense[j, :, k] += link
        dense[k, :, j] += link.T
    return BlockTridiagonal(diagonal, upper, ring), dense.reshape(count * size, -1)


@pytest.mark.parametrize("ring", [True, False])
@pytest.mark.parametrize("count", [4, 5, 8, 31])
@pytest.mark.parametrize("size", [1, 3])
def test_it_is_the_dense_matrix(ring, count, size):
    matrix, dense = drawn(ring, count, size)
    values = np.random.default_rng(1).standard_normal((count, size))
    product = (dense @ values.ravel()).reshape(values.shape)
    np.testing.assert_allclose(matrix @ values, product, atol=1e-12)
    np.testing.assert_allclose(matrix.solve(product), values, rtol=SOLVED, atol=SOLVED)
    eigenvalues = np.linalg.eigvalsh(dense)
    assert matrix.num_negative() == (eigenvalues < 0.0).sum()
    smallest, vector = matrix.smallest(steps=200)
    np.testing.assert_allclose(smallest, abs(eigenvalues).min(), rtol=0.05)
    np.testing.assert_allclose(np.linalg.norm(matrix @ vector), smallest, rtol=0.05)


def test_of_a_singular_matrix_it_shows_the_direction():
    # A ring of equal springs without any to ground: all may move together.
    count = 6
    matrix = BlockTridiagonal(np.full((count, 1, 1), 2.0), np.full((count, 1, 1), -1.0), True)
    smallest, vector = matrix.smallest()
    assert smallest < 1e-13
    np.testing.assert_allclose(abs(vector), 1.0 / np.sqrt(count), atol=1e-7)
