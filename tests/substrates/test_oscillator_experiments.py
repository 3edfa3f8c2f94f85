"""Oscillators from a TOML file to a run folder, and from there to ngspice."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.errors import ConfigError, ConvergenceError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free
from eqprop_spice.results.run import train
from eqprop_spice.results.verify import verify
from tests.substrates.spice import solved

DIGITS = Path(__file__).parents[2] / "experiments" / "oim" / "digits.toml"

OPERATING_POINT = 1e-8
"""Difference of cosines between ngspice and descent: ngspice's reltol of 1e-9, some times over."""

LEARNED = 0.5
"""Test accuracy after two epochs: measured 0.66; guessing has 0.1."""


def short_digits() -> Experiment:
    return Experiment.load(DIGITS, ["training.epochs=2"])


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eqprop_spice.results.plots.save_figures", lambda *_, **__: [])
        yield


@pytest.fixture(scope="module")
def finished(no_figures, tmp_path_factory):
    return train(short_digits(), tmp_path_factory.mktemp("runs") / "finished")


def test_an_experiment_trains(finished):
    assert finished.results["test_accuracy"] > LEARNED
    assert finished.results["num_unconverged"] < 10


def test_a_resumed_run_ends_like_an_uninterrupted_one(finished, tmp_path):
    def stop(epoch, figures):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(short_digits(), tmp_path / "run", progress=stop)
    resumed = train(resume=tmp_path / "run")
    for name, values in finished.params.items():
        np.testing.assert_array_equal(resumed.params[name], values)


@pytest.mark.ngspice
def test_the_netlist_of_a_run_has_the_operating_point_of_its_network(finished):
    experiment = finished.experiment
    exact = dataclasses.replace(experiment.substrate, tolerance=1e-12, max_sweeps=20_000)
    (settled,) = exact.settle(finished.params, experiment.data.train_inputs[:1], [Free()])
    text = (finished.path / "free.cir").read_text()
    found = solved(text, [f"c{unit}" for unit in range(exact.num_units)])[:, 0]
    np.testing.assert_allclose(found, np.cos(settled.state[0]), atol=OPERATING_POINT)


def test_there_is_no_second_solver(finished):
    with pytest.raises(ConfigError, match="second solver"):
        verify(finished, num_samples=1)


@pytest.mark.slow
def test_a_nudge_that_leaves_no_minimum_is_named():
    experiment = Experiment.load(DIGITS, ["rule.beta=50.0"])
    state = experiment.trainer.init(experiment.initial_params())
    with pytest.raises(
        ConvergenceError, match="settles free, but not nudged: lower the rule's beta"
    ):
        experiment.trainer.epoch(state)
