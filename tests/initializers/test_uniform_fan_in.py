"""Uniform starting values have the range that their fan-in gives them."""

import numpy as np
import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.initializers.uniform_fan_in import UniformFanIn

SHAPES = {"weight_1": (3, 3, 16, 32), "bias_1": (32,), "weight_2": (400, 50), "bias_2": (50,)}


def test_values_fill_their_range():
    drawn = UniformFanIn(gains=(0.5, 0.7), bias_gain=0.2)(SHAPES, np.random.default_rng(0))
    for name, gain, fan_in in (
        ("weight_1", 0.5, 144),
        ("bias_1", 0.2, 144),
        ("weight_2", 0.7, 400),
        ("bias_2", 0.2, 400),
    ):
        values, largest = drawn[name], gain / np.sqrt(fan_in)
        assert values.shape == SHAPES[name]
        assert np.abs(values).max() <= largest
        # The chance that n uniform values all miss the outer fraction q is (1 - q)^n.
        fraction = 20.0 / values.size
        assert values.max() > (1.0 - 2.0 * fraction) * largest
        assert values.min() < -(1.0 - 2.0 * fraction) * largest


def test_one_gain_serves_all_weights_and_biases_may_be_zero():
    drawn = UniformFanIn(gains=(0.5,), bias_gain=0.0)(SHAPES, np.random.default_rng(0))
    assert np.abs(drawn["weight_2"]).max() == pytest.approx(0.5 / 20.0, rel=1e-2)
    assert not drawn["bias_1"].any()


def test_refuses_gains_of_no_size_or_of_another_number():
    with pytest.raises(ConfigError, match="gains"):
        UniformFanIn(gains=(0.5, 0.0))
    with pytest.raises(ConfigError, match="bias_gain"):
        UniformFanIn(bias_gain=-1.0)
    with pytest.raises(ConfigError, match="gains has 3 values, but the system has 2 weights"):
        UniformFanIn(gains=(0.5, 0.5, 0.5))(SHAPES, np.random.default_rng(0))
