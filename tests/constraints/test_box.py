"""The Box constraint."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqprop_spice.constraints.box import Box
from eqprop_spice.errors import ConfigError


def test_values_are_clipped_group_by_group():
    box = Box(1e-4, 1e-1)
    clipped = box({"a": jnp.array([-1.0, 0.05, 1.0]), "b": jnp.array([[0.0]])})
    np.testing.assert_array_equal(clipped["a"], [1e-4, 0.05, 1e-1])
    np.testing.assert_array_equal(clipped["b"], [[1e-4]])


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=5))
def test_projection_is_idempotent_and_within_bounds(values):
    box = Box(1e-4, 1e-1)
    once = box({"a": jnp.array(values)})
    np.testing.assert_array_equal(box(once)["a"], once["a"])
    assert (np.asarray(once["a"]) >= 1e-4).all() and (np.asarray(once["a"]) <= 1e-1).all()


@pytest.mark.parametrize(
    "bounds",
    [(0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, np.inf), (np.nan, 1.0), (1.0, np.nan)],
)
def test_bounds_that_leave_no_conductance_are_refused(bounds):
    with pytest.raises(ConfigError, match="bounds"):
        Box(*bounds)
