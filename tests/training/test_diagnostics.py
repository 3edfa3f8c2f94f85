"""Training on draws: the history tells how chains mix, and a key decides all of it."""

import functools

import numpy as np
import pytest

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.datasets.base import Data
from eqprop_spice.errors import Remark
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.substrates.boltzmann import BoltzmannGraph
from eqprop_spice.training.optimizers import make_optimizer
from eqprop_spice.training.trainer import Trainer
from eqprop_spice.training.update import Update


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    """Two units, drawn in tests as well, that hardly learn."""
    pair = BoltzmannGraph(
        units=2,
        edges=((0, 1),),
        num_inputs=1,
        num_outputs=1,
        chains=20,
        draws=50,
        readout="samples",
    )
    samples = np.zeros((4, 1)), np.ones((4, 1))
    optimizer = functools.partial(make_optimizer, "sgd", num_steps=1, num_epochs=1)
    rule = EquilibriumPropagation("positive", 1.0, "live")
    update = Update(pair, rule, SquaredError(), optimizer, None)
    return Trainer(update, 1e-9, Data(*samples, *samples, "regression"), 0, seed=0)


STUCK = {
    "input": np.zeros((1, 1)),
    "coupling": np.array([24.0]),
    "bias": np.full(2, -12.0),
}


def test_chains_that_do_not_mix_are_a_warning_with_its_figure_in_the_history(trainer):
    with pytest.warns(Remark, match="Epoch 1: Chains do not mix: R-hat is"):
        _, figures = trainer.epoch(trainer.init(STUCK))
    assert figures["r_hat"] > 1.5 and figures["not_mixed"] == 1.0
    loose = {**STUCK, "coupling": np.zeros(1), "bias": np.zeros(2)}
    _, figures = trainer.epoch(trainer.init(loose))
    assert figures["r_hat"] < 1.1 and figures["not_mixed"] == 0.0
    assert 1.0 <= figures["autocorrelation_time"] < 1.5


def test_tests_are_drawn_from_the_seed(trainer):
    loose = {**STUCK, "coupling": np.zeros(1), "bias": np.zeros(2)}
    first, second = (trainer.evaluate(loose, test=True)["test_loss"] for _ in range(2))
    assert first == second
    # Fair coins, each the mean of 1,000: not exactly the mean field's half.
    assert first != pytest.approx(0.125, abs=1e-9)
    assert first == pytest.approx(0.125, abs=0.05)
