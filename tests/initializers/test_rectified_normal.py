"""The positive part of a normal distribution."""

import numpy as np
import pytest
from scipy.stats import halfnorm, kstest

from eqprop_spice.errors import ConfigError
from eqprop_spice.initializers.rectified_normal import RectifiedNormal

SIGNIFICANCE = 1e-3
"""The seed is fixed: this is no chance of failure, but a bound on how odd the draw may be."""


def test_half_start_at_the_lower_bound_and_the_rest_are_half_normal() -> None:
    draw = RectifiedNormal(deviation=1e-5, lower=1e-9, upper=1.0)
    values = draw({"dense_0": (100, 100)}, np.random.default_rng(0))["dense_0"].ravel()
    assert np.mean(values == 1e-9) == pytest.approx(0.5, abs=0.02)
    rest = values[values > 1e-9]
    assert kstest(rest, halfnorm(scale=1e-5).cdf).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("bounds", [(0.0, 1e-4), (1e-4, 1e-5)])
def test_bounds_that_are_no_interval_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="ascending"):
        RectifiedNormal(1e-5, *bounds)
