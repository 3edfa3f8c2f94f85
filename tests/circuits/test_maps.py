"""The maps between free and all nodes, against the dense matrices they stand for."""

import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_spice.circuits.layouts import take_columns
from eqprop_spice.circuits.maps import NodeMap, sum_at

ROUNDING = 1e-15
"""Relative; each result is a sum of three products or fewer."""

NUM_NODES = 7
FREE = np.array([5, 1, 3])
GAINS = np.array([4.0, -0.5])
MAP = NodeMap(NUM_NODES, FREE, ((np.array([3, 5]), np.array([2, 6]), GAINS),))


def dense() -> np.ndarray:
    matrix = np.zeros((NUM_NODES, len(FREE)))
    matrix[FREE, np.arange(3)] = 1.0
    matrix[2, 2], matrix[6, 0] = GAINS
    return matrix


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_spread_and_gather_are_a_matrix_and_its_transpose(xp) -> None:
    rng = np.random.default_rng(0)
    free, nodes = rng.normal(size=(4, 3)), rng.normal(size=(4, NUM_NODES))
    before = nodes.copy()
    spread, gathered = MAP.spread(xp.asarray(free)), MAP.gather(xp.asarray(nodes))
    np.testing.assert_allclose(spread, free @ dense().T, rtol=ROUNDING)
    np.testing.assert_allclose(gathered, nodes @ dense(), rtol=ROUNDING)
    np.testing.assert_array_equal(nodes, before)
    np.testing.assert_array_equal(MAP.matrix.toarray(), dense())


def test_magnitudes_and_products_are_taken_factor_by_factor() -> None:
    np.testing.assert_array_equal(abs(MAP).matrix.toarray(), abs(dense()))
    np.testing.assert_array_equal((MAP * MAP).matrix.toarray(), dense() ** 2)


def test_renumbered_nodes_keep_their_factors() -> None:
    column = np.array([7, 0, 1, 2, 7, 4, 3])
    moved = MAP.renumbered(column, 8).matrix.toarray()
    np.testing.assert_array_equal(moved[column[[1, 2, 3, 5, 6]]], dense()[[1, 2, 3, 5, 6]])


def test_sums_accumulate_and_columns_are_taken_in_order() -> None:
    total = sum_at(np.zeros((1, 3)), [(np.array([0, 0, 2]), np.array([[1.0, 2.0, 4.0]]))])
    np.testing.assert_array_equal(total, [[3.0, 0.0, 4.0]])
    matrix = np.arange(40.0).reshape(2, 20)
    for columns in (np.arange(3, 17), np.r_[10:20, 0:8], np.array([4, 1, 1])):
        np.testing.assert_array_equal(take_columns(matrix, columns), matrix[:, columns])
