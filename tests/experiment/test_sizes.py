"""What no memory or disk would hold is refused with its size, before any of it is laid out."""

from pathlib import Path

import pytest

from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.sweeps.axes import sweep_of

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
XOR = (EXPERIMENTS / "xor.toml").read_text()
HOPFIELD = (EXPERIMENTS / "hopfield" / "digits.toml").read_text()


def test_a_layer_of_a_billion_nodes_is_refused():
    text = XOR.replace("num_outputs = 6", "num_outputs = 1000000000")
    with pytest.raises((ConfigError, NetlistError), match="1,000,000,000 nodes"):
        Experiment.parse(text).check()


def test_a_system_of_more_parameters_than_memory_is_refused():
    text = HOPFIELD.replace("size = 50", "size = 1000000000")
    with pytest.raises(ConfigError, match=r"75,000,000,010 parameters.*600 GB.*layers smaller"):
        Experiment.parse(text).check()


@pytest.mark.parametrize(
    "axis",
    [
        "seed = { seeds = 1000000000 }",
        '"rule.beta" = { linspace = [1e-5, 1e-4, 1000000000] }',
        '"rule.beta" = { logspace = [1e-5, 1e-4, 1000000000] }',
    ],
)
def test_an_axis_of_a_billion_positions_is_refused(axis):
    with pytest.raises(ConfigError, match="1,000,000,000 positions; an axis has at most 1,000,000"):
        sweep_of(Experiment.parse(f"{XOR}\n[sweep]\n{axis}\n"))


def test_a_sweep_of_more_results_than_a_disk_is_refused():
    axes = "\n".join(f"{key} = {{ seeds = 1000 }}" for key in ("seed", '"dataset.amplitude"'))
    with pytest.raises(ConfigError, match=r"1,000,000 cells of 300,000 epochs.*2,400 GB"):
        sweep_of(
            Experiment.parse(f"{XOR}\n[sweep]\n{axes}\n", overrides=["training.epochs=300000"])
        )
