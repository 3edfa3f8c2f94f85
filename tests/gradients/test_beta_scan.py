"""The scan of nudges: orders, noise and range of errors that are known."""

import numpy as np
import pytest

from eqprop_spice.engines.native import Native
from eqprop_spice.gradients.beta_scan import BetaScan, beta_grid, scan
from eqprop_spice.rules.base import Estimate
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import Layered

BETAS = np.geomspace(1e-10, 1.0, 21)


def scanned(error, converged=lambda beta: True) -> BetaScan:
    """Scan an estimate with a given relative error."""

    def estimate(beta: float) -> Estimate:
        gradient = {"a": np.array([1.0 + error(beta)]), "b": np.array([2.0])}
        return Estimate(gradient, np.zeros((1, 1)), np.array([converged(beta)]))

    return scan(estimate, {"a": np.array([1.0]), "b": np.array([2.0])}, BETAS)


@pytest.mark.parametrize("order", [1, 2])
def test_finds_order_noise_and_range(order):
    found = scanned(lambda beta: 1e-9 / beta + beta**order)
    assert found.slope == pytest.approx(order, rel=0.02)
    assert found.noise == pytest.approx(1e-9, rel=0.05)
    # noise / beta = 1 % at 1e-7 S; beta^order = 1 % at 1e-2 S or 0.1 S.
    assert found.window is not None
    assert found.window == pytest.approx(
        (10**-6.5, 10 ** (-2.0 / order - 0.5 * (order == 1))), rel=1
    )
    assert found.errors[list(found.betas).index(found.best)] == np.nanmin(found.errors)


def test_without_bias_or_noise():
    found = scanned(lambda beta: 1e-12)
    assert found.slope is None and found.noise is None
    assert found.window == (BETAS[0], BETAS[-1])


def test_nothing_good_has_no_range():
    found = scanned(lambda beta: 0.5)
    assert found.window is None


def test_unconverged_nudges_do_not_count():
    found = scanned(lambda beta: 1e-3, converged=lambda beta: beta < 1e-4)
    assert np.isnan(found.errors[BETAS > 1e-4]).all()
    assert found.window is not None and found.window[1] < 1e-4
    nowhere = scanned(lambda beta: 0.0, converged=lambda beta: False)
    assert nowhere.best is None and nowhere.window is None


def test_output_conductance_sums_at_the_output():
    net = Layered(hidden=(2,), num_outputs=1)
    params = {"dense_0": np.full((3, 2), 1.0), "dense_3": np.array([[1.0, 9.0]] * 3)}
    network = ResistiveNetwork(net.circuit(), Native())
    assert network.nudge_scale(params) == 3.0
    grid = beta_grid(network, params)
    assert grid[0] == pytest.approx(3e-10) and grid[-1] == pytest.approx(30.0)
