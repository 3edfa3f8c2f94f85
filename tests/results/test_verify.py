"""A run's predictions, simulated again in ngspice."""

from pathlib import Path

import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.run import train
from eqprop_spice.results.verify import verify

pytestmark = [pytest.mark.ngspice, pytest.mark.slow]

XOR = Path(__file__).parents[2] / "experiments" / "xor.toml"
AGREEMENT = 1e-9
"""Volts; the accuracy that the native engine promises."""


def test_native_predictions_are_those_of_ngspice(tmp_path: Path) -> None:
    experiment = Experiment.load(XOR, ["training.epochs=40", "engine=native"])
    run = train(experiment, tmp_path / "run")
    result = verify(run, num_samples=4)
    assert result.num_samples == 4
    assert result.num_differing == 0
    assert result.num_unconverged == 0
    assert 0.0 <= result.largest_difference < AGREEMENT
    with pytest.raises(ConfigError, match="--samples is 5"):
        verify(run, num_samples=5)
