"""A system written in one file trains, resumes and is refused what it cannot do, by name."""

from pathlib import Path

import numpy as np
import pytest

import eqprop_spice.results.run as run_module
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.run import Run, train
from eqprop_spice.results.verify import verify
from eqprop_spice.sweeps.batch import can_batch, run_batch
from eqprop_spice.sweeps.cell import run_cell

FILE = Path(__file__).with_name("toy_xor.toml")

NUM_SEEDS = 10


def test_it_learns_xor_from_every_start():
    for seed in range(NUM_SEEDS):
        assert run_cell(Experiment.load(FILE, [f"seed={seed}"])).status == "learned"


def test_cells_run_as_one_batch():
    experiment = Experiment.load(FILE, ["training.epochs=20", "goal.stop=false"])
    assert can_batch(experiment)
    cells = [{"seed": seed} for seed in range(3)]
    for cell, found in zip(cells, run_batch(experiment, cells), strict=True):
        alone = run_cell(Experiment.load(FILE, ["training.epochs=20", f"seed={cell['seed']}"]))
        kept = np.isfinite(alone.figures["loss"]) & np.isfinite(found.figures["loss"])
        np.testing.assert_allclose(
            found.figures["loss"][kept], alone.figures["loss"][kept], rtol=1e-9
        )


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, monkeypatch):
    experiment = Experiment.load(FILE, ["training.epochs=8", "goal.stop=false"])
    whole = train(experiment, tmp_path / "whole")
    monkeypatch.setattr(run_module, "CHECKPOINT_SECONDS", 0.0)

    def stop(epoch, figures):
        if epoch == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(experiment, tmp_path / "part", progress=stop)
    resumed = train(resume=tmp_path / "part")
    for name, values in whole.params.items():
        np.testing.assert_array_equal(resumed.params[name], values)
    assert resumed.results["loss"] == whole.results["loss"]
    assert not (resumed.path / "free.cir").exists()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("coupled_learning.CoupledLearning", "can hold its outputs, and ToyHopfield cannot"),
        ("power_computation.PowerComputation", "tell the power that it dissipates"),
        ("truncated_backpropagation.TruncatedBackpropagation", "backpropagated through while"),
    ],
)
def test_a_rule_that_needs_more_is_refused_by_name(rule, message):
    with pytest.raises(ConfigError, match=message) as error:
        Experiment.load(FILE, [f"rule={{kind='{rule}'}}"])
    assert "rule.kind" in str(error.value)


def test_what_it_cannot_do_is_refused_by_name(tmp_path):
    run = train(Experiment.load(FILE, ["training.epochs=1"]), tmp_path / "run")
    with pytest.raises(ConfigError, match="solved by a second solver, and ToyHopfield cannot"):
        verify(run, num_samples=1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["engine=native"], "belongs to a \\[circuit\\]"),
        (["substrate.num_inputs=3"], "the data set has 2"),
        (["substrate.kind=tests.substrates.toy_hopfield:Nothing"], "is no frozen dataclass"),
        (["substrate.kind=no_such_package:Toy"], "cannot be imported"),
        (["substrate.hidden=3"], "unknown key. Did you mean 'num_hidden'"),
        (["circuit={layers=[]}"], "either \\[circuit\\]"),
    ],
)
def test_wrong_tables_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        Experiment.load(FILE, overrides)


def test_a_folder_of_a_stranger_imports_nothing(tmp_path):
    marker = tmp_path / "imported"
    folder = tmp_path / "run"
    folder.mkdir()
    text = FILE.read_text().replace("tests.substrates.toy_hopfield", "hostile_package.module")
    (folder / "experiment.toml").write_text(text)
    package = tmp_path / "hostile_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "module.py").write_text(f"open({str(marker)!r}, 'w')")
    with pytest.raises(ConfigError, match="EQPROP_TRUST=hostile_package"):
        _ = Run.open(folder).experiment
    assert not marker.exists()


def test_the_documents_show_this_system():
    page = FILE.parents[2] / "docs" / "extending.md"
    assert FILE.with_name("toy_hopfield.py").read_text() in page.read_text()
