"""Random numbers are uniform, and independent along every axis."""

import jax
import numpy as np
import pytest
from scipy import stats

from eqprop_spice.sampling.generator import normals, step_keys, uniforms

UNLIKELY = 1e-4
"""Probability below which a test of a random sequence fails; seeds are fixed."""


def drawn(function, generator="hash", seed=0, steps=64, shape=(40, 100)) -> np.ndarray:
    keys = step_keys(jax.random.key(seed), steps)
    draw = jax.jit(jax.vmap(lambda key: function(key, shape, generator=generator)))
    return np.asarray(draw(keys), float)


@pytest.mark.parametrize("generator", ["hash", "threefry"])
def test_numbers_are_uniform_and_uncorrelated(generator):
    values = drawn(uniforms, generator)
    assert values.min() >= 0.0 and values.max() < 1.0
    assert stats.kstest(values.ravel(), "uniform").pvalue > UNLIKELY
    # The low bits of the 24, and pairs along steps, rows and lanes, on a grid of 16 by 16.
    low = np.bincount((values.ravel() * 2**24).astype(int) % 16)
    assert stats.chisquare(low).pvalue > UNLIKELY
    cells = (16 * values).astype(int)
    for axis in range(3):
        first, second = (np.take(cells, range(i, cells.shape[axis] - 1 + i), axis) for i in (0, 1))
        counts = np.bincount((16 * first + second).ravel(), minlength=256)
        assert stats.chisquare(counts).pvalue > UNLIKELY, axis


def test_neighboring_keys_are_unrelated():
    keys = np.array([[k, 7] for k in range(200)] + [[1000, k] for k in range(200)], np.uint32)
    values = np.asarray(jax.vmap(lambda key: uniforms(key, (1, 500)))(keys), float)[:, 0]
    correlations = np.corrcoef(values)[np.triu_indices(len(keys), 1)]
    # Each place by place: random keys are not offsets of each other as these are.
    assert np.abs(correlations * np.sqrt(500)).max() < 6.0


def test_normal_numbers_are_normal():
    values = drawn(normals, shape=(41, 100))
    assert values.shape == (64, 41, 100)
    assert stats.kstest(values.ravel(), "norm").pvalue > UNLIKELY
    assert abs(np.corrcoef(values[:, 0].ravel(), values[:, 21].ravel())[0, 1]) < 0.05


def test_an_offset_continues_a_step():
    (key,) = step_keys(jax.random.key(3), 1)
    whole = uniforms(key, (4, 8))
    np.testing.assert_array_equal(whole[2:], uniforms(key, (2, 8), offset=16))
