"""The positive part of a uniform distribution whose width falls with the fan-in."""

import numpy as np
import pytest
from scipy.stats import kstest, uniform

from eqprop_spice.errors import ConfigError
from eqprop_spice.initializers.rectified_uniform import RectifiedUniform

SIGNIFICANCE = 1e-3
"""The seed is fixed: this is no chance of failure, but a bound on how odd the draw may be."""


def test_half_start_at_the_lower_bound_and_the_rest_are_uniform() -> None:
    draw = RectifiedUniform(scale=2.0, lower=1e-9)
    values = draw({"dense_0": (400, 50)}, np.random.default_rng(0))["dense_0"].ravel()
    assert np.mean(values == 1e-9) == pytest.approx(0.5, abs=0.02)
    rest = values[values > 1e-9]
    assert kstest(rest, uniform(scale=2.0 / np.sqrt(400)).cdf).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (1e-9, 1e-6)])
def test_bounds_that_are_no_interval_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="0 < lower < scale"):
        RectifiedUniform(*bounds)
