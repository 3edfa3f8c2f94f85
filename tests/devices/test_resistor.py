"""Resistors: Ohm's law."""

import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_spice.devices.resistor import FixedResistor, Resistor
from eqprop_spice.errors import NetlistError
from tests.references import central_difference

DERIVATIVE = 1e-9
"""Relative error of a central difference of a parabola: rounding alone."""


@pytest.mark.parametrize("g", [1e-7, 1e-3, 0.1])
def test_current_is_derivative_of_co_content(g):
    resistor, v = Resistor(g), np.array([-3.0, -0.1, 0.5, 2.0])
    slope = central_difference(lambda x: float(resistor.co_content(x).sum()), v, np.full(4, 1e-3))
    np.testing.assert_allclose(resistor.current(v), slope, rtol=DERIVATIVE)
    np.testing.assert_array_equal(resistor.conductance(v), np.full(4, g))


def test_numpy_and_jax_agree_exactly():
    v, g = np.linspace(-2.0, 2.0, 7), np.full(7, 0.01)
    ours, theirs = Resistor(g), Resistor(jnp.asarray(g))
    for name in ("current", "conductance", "co_content"):
        expected = getattr(theirs, name)(jnp.asarray(v))
        np.testing.assert_array_equal(getattr(ours, name)(v), np.asarray(expected))


def test_card_is_the_resistance_with_all_digits():
    g = 0.1 / 3.0
    card = Resistor(np.float64(g)).card("dense_0_1", ["a", "b"])
    name, first, second, value = card.split()
    assert (name, first, second) == ("rdense_0_1", "a", "b")
    assert float(value) == 1.0 / g


def test_resistor_is_trainable_and_has_no_model():
    assert Resistor().trainable
    assert Resistor().model_card() is None


def test_a_fixed_resistor_obeys_the_law_of_a_trainable_one():
    fixed, v = FixedResistor(0.02), np.linspace(-2.0, 2.0, 7)
    assert fixed.linear and not fixed.trainable
    for name in ("current", "conductance", "co_content"):
        expected = getattr(Resistor(0.02), name)(v)
        np.testing.assert_array_equal(getattr(fixed, name)(v), expected)
    assert fixed.card("pool_0_1", ["a", "b"]) == Resistor(0.02).card("pool_0_1", ["a", "b"])


@pytest.mark.parametrize("siemens", [0.0, -1.0, np.nan, np.inf, 1e-320])
def test_a_fixed_resistor_has_a_finite_positive_conductance(siemens: float):
    with pytest.raises(NetlistError, match="finite and positive"):
        FixedResistor(siemens)
