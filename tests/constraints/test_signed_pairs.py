"""Signed coefficients as pairs of conductances."""

import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_spice.constraints.signed_pairs import SignedPairs
from eqprop_spice.errors import ConfigError

FLOOR = 1e-12
PAIRS = {"dense_0": ((0, 1),)}


def resolved(positive: float, negative: float) -> list[float]:
    params = {"dense_0": jnp.array([[positive], [negative]]), "other": jnp.array([3.0])}
    result = SignedPairs(PAIRS, FLOOR)(params)
    assert result["other"].tolist() == [3.0]
    return np.asarray(result["dense_0"]).ravel().tolist()


def test_an_active_conductance_stays() -> None:
    assert resolved(0.2, FLOOR) == [0.2, FLOOR]
    assert resolved(FLOOR, 0.3) == [FLOOR, 0.3]


def test_below_zero_the_partner_takes_over() -> None:
    assert resolved(-0.05, FLOOR) == [FLOOR, 0.05]
    assert resolved(FLOOR, -0.05) == [0.05, FLOOR]


def test_a_floor_that_no_resistor_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="floor"):
        SignedPairs(PAIRS, 0.0).check_shapes({"dense_0": (2, 1)})
