import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_spice.engines.layered.equations import FEW_SAMPLES, folded

ROUNDING = 1e-13
"""Relative: sums of at most 1,570 positive products in another order."""


@pytest.mark.parametrize("size", [3, 61, 64, 97, 131, 1570])
@pytest.mark.parametrize("batch", [1, FEW_SAMPLES, FEW_SAMPLES + 1])
def test_sources_are_folded_the_same_in_blocks(size: int, batch: int):
    rng = np.random.default_rng(size)
    sources, g = rng.uniform(1.0, 2.0, (batch, size)), rng.uniform(1.0, 2.0, (size, 5))
    currents, sums = folded(jnp.asarray(sources), jnp.asarray(g))
    np.testing.assert_allclose(np.asarray(currents), sources @ g, rtol=ROUNDING)
    np.testing.assert_allclose(np.asarray(sums), g.sum(0), rtol=ROUNDING)
