"""Training: however many minibatches one call visits, the updates are the same."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from eqprop_spice.errors import ConfigError, ConvergenceError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.training import trainer as trainer_module

IRIS = Path(__file__).parents[2] / "experiments" / "iris.toml"

ROUNDING = 1e-12
"""Relative difference of two compiled programs with the same arithmetic, over 25 updates."""

NATIVE = ["engine=native", "training.batch_size=5"]


def one_epoch(samples_per_call: int, monkeypatch: pytest.MonkeyPatch, *overrides: str):
    monkeypatch.setattr(trainer_module, "SAMPLES_PER_CALL", samples_per_call)
    experiment = Experiment.load(IRIS, [*NATIVE, *overrides])
    trainer = experiment.trainer
    state, figures = trainer.epoch(trainer.init(experiment.initial_params()))
    return jax.tree.map(np.asarray, state.params), figures


@pytest.mark.parametrize(
    "noise", [(), ('nonidealities=[{kind="read_noise.ReadNoise",deviation=1e-6}]',)]
)
def test_calls_of_several_minibatches_change_nothing(
    noise: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """120 samples are 24 minibatches: one by one, and in calls of 7, the last with 3."""
    alone, figures = one_epoch(5, monkeypatch, *noise)
    together, same = one_epoch(35, monkeypatch, *noise)
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, rtol=ROUNDING)
    assert same == pytest.approx(figures, rel=1e-9)


def test_the_last_minibatch_may_be_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, _ = one_epoch(1, monkeypatch, "training.batch_size=50")
    together, figures = one_epoch(100, monkeypatch, "training.batch_size=50")
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, rtol=ROUNDING)
    assert figures["num_unconverged"] == 0.0


def test_the_first_minibatch_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nudge that no output can bear; the message is the same however calls are cut."""
    monkeypatch.setattr(trainer_module, "SAMPLES_PER_CALL", 35)
    overrides = ["rule.nudge=live", "rule.beta=10.0", "training.max_unconverged=0.0"]
    experiment = Experiment.load(IRIS, [*NATIVE, *overrides])
    trainer = experiment.trainer
    start = trainer.init(experiment.initial_params())
    first = int(trainer.batches(0)[0][0])
    with pytest.raises(ConvergenceError, match=f"the first is sample {first},"):
        trainer.epoch(start)


def test_layer_factors_have_to_fit_the_circuit() -> None:
    with pytest.raises(ConfigError, match="layer_factors has 3 values, but the system has 2"):
        Experiment.load(IRIS, ["optimizer.layer_factors=[1.0, 2.0, 3.0]"])


@pytest.mark.slow
def test_too_few_draws_name_their_error_and_how_many_would_do() -> None:
    """Draws of a sample that failed are looked at again as they were, not its mean field."""
    path = IRIS.with_name("noise") / "digits_gibbs.toml"
    overrides = ["substrate.error=0.15", "substrate.hidden=[8]", "dataset.test_size=0.9"]
    trainer = (experiment := Experiment.load(path, overrides)).trainer
    with pytest.raises(ConvergenceError, match=r"standard error of an output is (.*), above") as e:
        trainer.epoch(trainer.init(experiment.initial_params()))
    found = re.search(r"output is (\S+), above .* about (\d+) draws", str(e.value))
    assert found and float(found[1]) > 0.15 and int(found[2]) > 20
