"""The tests check annotations: without that, none of these calls would fail."""

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from eqprop_spice.phases import Force
from eqprop_spice.settled import Settled


def test_shapes_that_disagree_are_refused():
    with pytest.raises(TypeCheckError, match="residual"):
        Settled(None, np.ones(2, bool), np.zeros(3), np.zeros(2, int))


@pytest.mark.parametrize("currents", [np.zeros(3), np.zeros((1, 3), int), [[0.0]]])
def test_fields_hold_what_they_say(currents):
    with pytest.raises(TypeCheckError, match="currents"):
        Force(currents)


def test_arrays_of_both_libraries_pass():
    for xp in (np, jnp):
        assert Force(xp.zeros((1, 3))).source_currents(1, 3).shape == (1, 3)


@pytest.mark.usefixtures("unchecked")
def test_a_test_may_pass_wrong_types_on_purpose():
    assert Force(np.zeros(3)).currents.shape == (3,)
