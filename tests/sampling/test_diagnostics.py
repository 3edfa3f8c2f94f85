"""Figures of chains against processes whose figures are known."""

import numpy as np
import pytest

from eqprop_spice.sampling.diagnostics import (
    autocorrelation,
    autocorrelation_time,
    describe,
    potential_reduction,
)


def autoregressive(memory: float, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A process with the autocorrelation memory^lag, from its stationary distribution."""
    rng = np.random.default_rng(seed)
    values = np.empty(shape)
    values[..., 0] = rng.standard_normal(shape[:2])
    for i in range(1, shape[2]):
        push = rng.standard_normal(shape[:2])
        values[..., i] = memory * values[..., i - 1] + np.sqrt(1 - memory**2) * push
    return values


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_an_autoregressive_process_has_its_known_time(memory):
    series = autoregressive(memory, (20, 2, 2000))
    expected = (1 + memory) / (1 - memory)
    # The standard error of 80,000 draws is below 2 % of the time at the largest memory.
    assert autocorrelation_time(series) == pytest.approx(expected, rel=0.08)
    np.testing.assert_allclose(autocorrelation(series)[:4], memory ** np.arange(4), atol=0.05)
    assert potential_reduction(series) == pytest.approx(1.0, abs=0.03)


def test_short_chains_of_many_samples_have_it_too():
    series = autoregressive(0.5, (2000, 4, 20))
    assert autocorrelation_time(series) == pytest.approx(3.0, rel=0.15)


def test_chains_that_lie_apart_or_drift_are_found():
    series = autoregressive(0.0, (1, 2, 400))
    apart = series + np.array([0.0, 3.0])[:, None]
    # Halves lie 1.5 off the common mean, each of variance 1: sqrt(1 + 4 * 1.5^2 / 3).
    assert potential_reduction(apart) == pytest.approx(2.0, rel=0.05)
    drift = series[:, :1] + np.linspace(0.0, 6.0, 400)
    assert potential_reduction(drift) > 1.5
    stuck = np.zeros((1, 2, 10)) + np.array([0.0, 1.0])[:, None]
    assert potential_reduction(stuck) == np.inf
    assert potential_reduction(np.zeros((1, 2, 10))) == 1.0


def test_the_worst_quantity_is_described():
    good, bad = (autoregressive(m, (8, 2, 500), seed=s) for s, m in ((0, 0.0), (1, 0.8)))
    figures = describe(np.stack([good, bad], axis=-1))
    assert figures["autocorrelation_time"] == pytest.approx(9.0, rel=0.25)
    assert figures["effective_draws"] == pytest.approx(1000 / figures["autocorrelation_time"])
    assert describe(np.zeros((1, 1, 3, 1))) == {}
