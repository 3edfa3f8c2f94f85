"""Gradients compared per layer."""

import numpy as np
import pytest

from eqprop_spice.gradients.comparison import compare, compare_layers, worst_error


def test_figures():
    found = compare(np.array([0.0, 2.0]), np.array([1.0, 1.0]))
    assert found.cosine == pytest.approx(np.sqrt(0.5))
    assert found.norm_ratio == pytest.approx(np.sqrt(2.0))
    assert found.relative_error == pytest.approx(1.0)
    assert found.largest_error == pytest.approx(1.0)


def test_a_reversed_layer_does_not_hide():
    reference = {"first": np.array([0.1]), "last": np.array([10.0])}
    estimate = {"first": np.array([-0.1]), "last": np.array([10.0])}
    layers = compare_layers(estimate, reference)
    assert layers["first"].cosine == -1.0
    assert layers["last"].cosine == 1.0
    assert worst_error(estimate, reference) == pytest.approx(2.0)


def test_a_layer_without_gradient_is_no_number():
    reference = {"dead": np.zeros(2), "alive": np.ones(2)}
    estimate = {"dead": np.zeros(2), "alive": np.ones(2)}
    assert np.isnan(compare_layers(estimate, reference)["dead"].cosine)
    assert worst_error(estimate, reference) == 0.0
    assert np.isnan(worst_error({}, {}))
