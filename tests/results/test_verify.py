"""A run's predictions, simulated again in ngspice."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eqprop_spice.cli import app
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.run import train
from eqprop_spice.results.verify import verify

pytestmark = [pytest.mark.ngspice, pytest.mark.slow]

XOR = Path(__file__).parents[2] / "experiments" / "xor.toml"
AGREEMENT = 1e-9
"""Volts; the accuracy that the native engine promises."""


LAYER = """
[[circuit.layers]]
kind = "dense.Dense"
num_outputs = {}

[[circuit.layers]]
kind = "diodes.AntiparallelDiodes"
diode = "kiraz"
shift = 0.1

[[circuit.layers]]
kind = "amplifier.BidirectionalAmplifier"
gain = 4.0
reflection = "published"
"""


def several_points() -> str:
    """Return XOR with two layers of amplifiers that draw back more than their inputs get."""
    head, *layers = XOR.read_text().split("[[circuit.layers]]")
    return head + LAYER.format(2) + LAYER.format(8) + "\n[[circuit.layers]]" + layers[-1]


def test_other_solutions_are_no_errors(tmp_path: Path, monkeypatch) -> None:
    overrides = ["training.epochs=1", "engine=native", "optimizer.learning_rate=1e-9"]
    run = train(Experiment.parse(several_points(), overrides=overrides), tmp_path / "run")
    assert run.history["num_several_states"].values.tolist() == [4.0]
    result = verify(run, num_samples=4)
    # Both engines solved all samples, some of them elsewhere.
    assert result.num_unconverged == 0
    assert result.largest_difference > 0.1
    assert result.num_other_solutions > 0
    assert result.num_wrong == 0
    command = CliRunner().invoke(app, ["verify", str(run.path), "--samples", "4"])
    assert "caution: A single operating point is not guaranteed" in command.stderr
    monkeypatch.setattr(
        "eqprop_spice.substrates.resistive.confirmed",
        lambda circuit, params, inputs, state: np.zeros(len(inputs), bool),
    )
    wrong = verify(run, num_samples=4)
    assert (wrong.num_other_solutions, wrong.num_wrong) == (0, result.num_other_solutions)


def test_native_predictions_are_those_of_ngspice(tmp_path: Path) -> None:
    experiment = Experiment.load(XOR, ["training.epochs=40", "engine=native"])
    run = train(experiment, tmp_path / "run")
    result = verify(run, num_samples=4)
    assert result.num_samples == 4
    assert result.num_differing == 0
    assert result.num_unconverged == result.num_other_solutions == result.num_wrong == 0
    assert 0.0 <= result.largest_difference < AGREEMENT
    with pytest.raises(ConfigError, match="--samples is 5"):
        verify(run, num_samples=5)
