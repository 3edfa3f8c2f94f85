from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.sweeps.prediction import (
    can_predict,
    curvature,
    gradient_function,
    highest_beta,
    highest_rate,
    lowest_beta,
    noise_floor,
    relative_bias,
)

pytestmark = [pytest.mark.ngspice, pytest.mark.slow]

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"
CASE_1 = EXPERIMENTS / "case_1.toml"

HESSIAN = 1e-4
"""Relative error of the power iteration against eigenvalues of a Hessian of differences: both
truncate at the square of a step of 1e-4."""


def case_1(*overrides: str) -> Experiment:
    return Experiment.load(CASE_1, list(overrides))


def test_the_curvature_is_the_largest_eigenvalue():
    """Against the dense Hessian of the loss itself, by second differences."""
    chosen = case_1("engine=native")
    params = chosen.initial_params()
    names = sorted(params)
    flat = np.concatenate([params[name].ravel() for name in names])

    def loss(values: np.ndarray) -> float:
        at, arrays = 0, {}
        for name in names:
            size = params[name].size
            arrays[name] = values[at : at + size].reshape(params[name].shape)
            at += size
        return chosen.trainer.evaluate(arrays, test=False)["train_loss"]

    count, step = len(flat), 1e-4 * flat
    hessian = np.zeros((count, count))
    unit = np.diag(step)
    for i in range(count):
        for j in range(i + 1):
            corners = [
                loss(flat + a * unit[i] + b * unit[j])
                for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))
            ]
            slope = (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * step[i] * step[j])
            hessian[i, j] = hessian[j, i] = slope
    largest = np.abs(np.linalg.eigvalsh(hessian)).max()
    found = curvature(chosen, params, gradient_function(chosen))
    assert found == pytest.approx(largest, rel=HESSIAN)
    assert highest_rate(chosen, params, gradient_function(chosen)) == pytest.approx(2 / found)


@pytest.mark.parametrize(("variant", "order"), [("positive", 1.0), ("centered", 2.0)])
def test_the_bias_grows_with_its_order_up_to_the_edge(variant, order):
    chosen = case_1("engine=native", f"rule.variant={variant}")
    params = chosen.initial_params()
    biases = [relative_bias(chosen, params, beta) for beta in (1e-3, 2e-3)]
    # The next order is smaller by beta over a conductance of 0.1 S.
    assert np.log2(biases[1] / biases[0]) == pytest.approx(order, abs=0.05)
    edge = highest_beta(chosen, params)
    # Extrapolated over two decades, so by the factor that higher orders make.
    assert 0.2 < relative_bias(chosen, params, edge) < 5.0


def test_the_noise_floor_is_that_of_the_digits_read():
    """Readings of 6 digits after the point are wrong by up to a unit of the last, 1e-5 of 10 V."""
    params = case_1().initial_params()
    text = case_1("ngspice.readout_digits=6")
    floor = noise_floor(text, params, 1e-5)
    assert 1e-8 < floor <= 1.01e-5
    tight = noise_floor(case_1(), params, 1e-5)
    assert tight < 1e-12
    ratio = lowest_beta(text, params) / lowest_beta(case_1(), params)
    assert ratio == pytest.approx(floor / tight)
    assert np.isnan(lowest_beta(case_1("engine=native"), params))


def test_only_small_tasks_are_predicted():
    assert can_predict(case_1())
    assert not can_predict(Experiment.load(EXPERIMENTS / "iris.toml"))
    other = Experiment.load(EXPERIMENTS / "hopfield" / "digits.toml", ["training.batch_size=0"])
    assert not can_predict(other)
