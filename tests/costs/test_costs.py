"""Costs: values in closed form, gradients against finite differences."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqprop_spice.costs.cross_entropy import CrossEntropy
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.errors import ConfigError
from tests.references import central_difference

DIFFERENCE = 1e-7
"""Absolute error of a central difference of order-one costs with steps of 1e-5: 1e-10 in
truncation, 1e-11 in rounding, times the number of samples."""

COSTS = [SquaredError(), CrossEntropy(), CrossEntropy(0.3), CrossEntropy(2.0)]


@pytest.mark.parametrize("cost", COSTS, ids=repr)
def test_gradient_is_the_derivative_of_the_value(cost):
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(size=(2, 4, 3))
    gradient = central_difference(
        lambda y: float(cost.value(y, targets).sum()), outputs, np.full(outputs.shape, 1e-5)
    )
    np.testing.assert_allclose(cost.gradient(outputs, targets), gradient, atol=DIFFERENCE)


def test_squared_error_is_half_the_squared_distance():
    cost = SquaredError()
    outputs, targets = np.array([[3.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 4.0], [1.0, 1.0]])
    np.testing.assert_array_equal(cost.value(outputs, targets), [12.5, 0.0])
    np.testing.assert_array_equal(cost.gradient(outputs, targets), [[3.0, -4.0], [0.0, 0.0]])


def test_cross_entropy_of_equal_outputs_is_the_log_of_their_number():
    targets = np.array([[0.0, 1.0, 0.0, 0.0]])
    value = CrossEntropy(0.5).value(np.full((1, 4), 7.0), targets)
    np.testing.assert_allclose(value, 0.25 * np.log(4.0), rtol=1e-14)
    gradient = CrossEntropy(0.5).gradient(np.full((1, 4), 7.0), targets)
    np.testing.assert_allclose(gradient, [[0.125, -0.375, 0.125, 0.125]], rtol=1e-14)


@given(
    outputs=st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3),
    shift=st.floats(-1e4, 1e4),
    scale=st.sampled_from([1e-2, 1.0, 10.0]),
)
def test_cross_entropy_is_stable_and_only_differences_count(outputs, shift, scale):
    """Outputs of 1e4 V in units of 10 mV overflow every exponential that is not shifted."""
    cost, targets = CrossEntropy(scale), np.array([[1.0, 0.0, 0.0]])
    y = np.array([outputs])
    value, gradient = cost.value(y, targets), cost.gradient(y, targets)
    assert np.isfinite(value).all() and np.isfinite(gradient).all()
    assert (value >= 0).all()
    # The largest sum of rounding is that of the shift, in units of the scale.
    rounding = 1e-11 * scale
    assert abs(gradient.sum()) <= 1e-12 * scale
    np.testing.assert_allclose(
        cost.value(y + shift, targets), value, rtol=1e-9, atol=1e4 * rounding + 1e-9
    )


@pytest.mark.parametrize("cost", COSTS, ids=repr)
def test_numpy_and_jax_agree(cost):
    rng = np.random.default_rng(1)
    outputs, targets = rng.normal(size=(2, 4, 3))
    for law in (cost.value, cost.gradient):
        other = np.asarray(law(jnp.asarray(outputs), jnp.asarray(targets)))
        np.testing.assert_allclose(other, law(outputs, targets), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_cross_entropy_needs_a_positive_scale(scale):
    with pytest.raises(ConfigError, match="scale"):
        CrossEntropy(scale)
