"""The same experiment learns the same on both engines."""

from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.experiment.experiment import Experiment

pytestmark = [pytest.mark.ngspice, pytest.mark.slow]

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
NUM_UPDATES = 20
AGREEMENT = 1e-6
"""Relative difference of the losses; voltages differ by 1e-10 V and less, and an update
divides differences of drops by a nudge of 1e-4 S."""


@pytest.mark.parametrize("name", ["xor", "digits"])
def test_learning_curves_are_the_same(name: str) -> None:
    losses = []
    for engine in ("ngspice", "native"):
        experiment = Experiment.load(EXPERIMENTS / f"{name}.toml", [f"engine={engine}"])
        trainer = experiment.trainer
        state = trainer.init(experiment.initial_params())
        curve = []
        batches = (rows for epoch in range(NUM_UPDATES) for rows in trainer.batches(epoch))
        for _, rows in zip(range(NUM_UPDATES), batches, strict=False):
            inputs, targets = (
                experiment.data.train_inputs[rows],
                experiment.data.train_targets[rows],
            )
            state, outputs, converged = trainer.step(state, inputs, targets)
            assert np.asarray(converged).all()
            curve.append(float(experiment.cost.value(np.asarray(outputs), targets).mean()))
        losses.append(curve)
    ngspice, native = np.array(losses)
    assert len(ngspice) == NUM_UPDATES
    np.testing.assert_allclose(native, ngspice, rtol=AGREEMENT)
