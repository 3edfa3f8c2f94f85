"""The uniform initializer."""

import numpy as np
import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.initializers.uniform import Uniform

SHAPES = {"dense_0": (30, 20), "dense_1": (20, 10)}


def test_draws_have_shapes_bounds_and_mean():
    params = Uniform(1e-3, 3e-3)(SHAPES, np.random.default_rng(0))
    assert {name: g.shape for name, g in params.items()} == SHAPES
    for g in params.values():
        assert g.min() >= 1e-3 and g.max() <= 3e-3
        # Five standard errors of the mean of a uniform distribution.
        assert abs(g.mean() - 2e-3) < 5 * 2e-3 / np.sqrt(12 * g.size)


def test_the_same_seed_gives_the_same_draw():
    one, two, three = (Uniform()(SHAPES, np.random.default_rng(seed)) for seed in (7, 7, 8))
    for name in SHAPES:
        np.testing.assert_array_equal(one[name], two[name])
        assert (one[name] != three[name]).all()


def test_an_interval_of_one_value_is_that_value():
    params = Uniform(2e-3, 2e-3)({"a": (3,)}, np.random.default_rng(0))
    np.testing.assert_array_equal(params["a"], 2e-3)


@pytest.mark.parametrize(
    "bounds", [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (1.0, np.inf)]
)
def test_bounds_that_are_no_interval_are_refused(bounds):
    with pytest.raises(ConfigError, match="bounds"):
        Uniform(*bounds)
