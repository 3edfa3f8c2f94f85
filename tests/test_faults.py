"""Real processes, real signals: whatever stops a run, its folder loads and continues exactly."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from eqprop_spice.cli import app
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.run import Run, train

pytestmark = [pytest.mark.ngspice, pytest.mark.slow]

IRIS = Path(__file__).parent.parent / "experiments" / "iris.toml"

EPOCHS = 12
TIMEOUT = 60
"""Seconds until a child that hangs is a failure."""

CHILD = """
import os, resource, signal, sys
import eqprop_spice.files as files
import eqprop_spice.results.run as run
from eqprop_spice.cli import main
from eqprop_spice.training.history import History

# A shell that starts jobs in the background hands down an ignored SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
run.CHECKPOINT_SECONDS = float(sys.argv[1])
fault, epoch = sys.argv[2], int(sys.argv[3])
epochs_done = 0

def announce(word):
    print(word, flush=True)

def hang(word):
    announce(word)
    signal.pause()

class HalfWritten:
    def __init__(self, file):
        self.file = file
    def __enter__(self):
        return self
    def __exit__(self, *exception):
        self.file.close()
    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        hang("here")

real_append, real_replace, real_rename = History.append, os.replace, os.rename
now = lambda: epochs_done >= epoch

def append(self, figures, params):
    global epochs_done
    real_append(self, figures, params)
    epochs_done += 1
    announce(f"epochs {epochs_done}")
    if fault == "disk full" and now():
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit))
    if fault == "after the update" and now():
        hang("here")

def replace(source, target, **places):
    if fault == "before the results" and os.path.basename(target) == "results.json":
        hang("here")
    real_replace(source, target, **places)
    if fault == "after the rename" and now():
        hang("here")

def rename(source, target):
    if fault == "before the folder":
        hang("here")
    real_rename(source, target)
    if fault == "after the folder":
        hang("here")

History.append, files.os.replace, files.os.rename = append, replace, rename
if fault == "half written":
    files.open = lambda *p, **k: HalfWritten(open(*p, **k)) if now() else open(*p, **k)
sys.argv[1:] = sys.argv[4:]
main()
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Path:
    """Minibatches in a seeded order, momentum and test samples: all that a state may forget."""
    assignments = [
        f"training.epochs={EPOCHS}",
        "training.batch_size=50",
        "training.evaluate_every=5",
        "circuit.layers.0.num_outputs=4",
        "goal={}",
    ]
    path = tmp_path_factory.mktemp("experiment") / "iris.toml"
    path.write_text(Experiment.load(IRIS, assignments).to_toml())
    return path


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    """Draw nothing in this process; the children do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eqprop_spice.results.plots.save_figures", lambda *arguments, **more: [])
        yield


@pytest.fixture(scope="module")
def uninterrupted(experiment, tmp_path_factory) -> Run:
    return train(Experiment.load(experiment), tmp_path_factory.mktemp("runs") / "whole")


def start(
    fault: str, *arguments: str | Path, epoch: int = 0, every: float = -1.0
) -> "subprocess.Popen[str]":
    """Start the command line with a fault prepared; checkpoints at least `every` seconds apart."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(every), fault, str(epoch), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(stream: IO[str] | None, word: str) -> None:
    """Read lines until one is the given word."""
    assert stream is not None
    for line in stream:
        if line.strip() == word:
            return
    raise AssertionError(f"the child ended before it said '{word}'")


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == -signal.SIGKILL


def shown(path: Path) -> dict:
    """Return what `show --json` prints."""
    result = CliRunner().invoke(app, ["show", str(path), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def assert_same(run: Run, whole: Run) -> None:
    """Compare two runs to the last bit, clock readings apart."""
    assert set(run.params) == set(whole.params)
    for name, values in whole.params.items():
        np.testing.assert_array_equal(run.params[name], values)
    for name in ("history", "final"):
        mine, other = getattr(run, name), getattr(whole, name)
        xr.testing.assert_equal(
            mine.drop_vars("seconds", errors="ignore"), other.drop_vars("seconds", errors="ignore")
        )
    clock = ("seconds", "samples_per_second")
    assert {k: v for k, v in run.results.items() if k not in clock} == {
        k: v for k, v in whole.results.items() if k not in clock
    }
    for name in ("free.cir", "nudged.cir", "experiment.toml"):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.parametrize("seed", [0, 1])
def test_kill_at_random_moments(seed, experiment, uninterrupted, tmp_path):
    rng = np.random.default_rng(seed)
    path = tmp_path / "run"
    arguments = ["train", experiment, "--out", path]
    for _ in range(2):
        # Every epoch a checkpoint, or none: then the work is done again.
        every = [-1.0, 1e9][int(rng.integers(2))]
        process = start("none", *arguments, every=every)
        wait_for(process.stdout, f"epochs {int(rng.integers(1, EPOCHS // 2 - 1))}")
        try:
            process.wait(timeout=float(rng.uniform(0.0, 0.05)))
        except subprocess.TimeoutExpired:
            kill(process)
        results = shown(path)
        assert results["finished"] is False
        assert results["epochs"] < EPOCHS
        arguments = ["train", "--resume", path]
    assert_same(train(resume=path), uninterrupted)


@pytest.mark.parametrize(
    ("fault", "epoch", "epochs_kept"),
    [
        ("half written", 4, 3),
        ("after the rename", 4, 4),
        ("before the results", 0, EPOCHS),
    ],
)
def test_kill_at_a_chosen_moment(fault, epoch, epochs_kept, experiment, uninterrupted, tmp_path):
    path = tmp_path / "run"
    process = start(fault, "train", experiment, "--out", path, epoch=epoch)
    wait_for(process.stdout, "here")
    kill(process)
    results = shown(path)
    assert results["finished"] is False
    assert results["epochs"] == epochs_kept
    run = train(resume=path)
    assert_same(run, uninterrupted)
    assert not list(path.glob(".*"))


def test_kill_before_the_folder_is_there(experiment, tmp_path):
    path = tmp_path / "run"
    process = start("before the folder", "train", experiment, "--out", path)
    wait_for(process.stdout, "here")
    kill(process)
    # Either there is no run, or a whole one: the name is still free.
    with pytest.raises(ConfigError, match="is not a run folder"):
        Run.open(path)
    Run.create(Experiment.load(experiment), path)


def test_kill_right_after_the_folder_is_there(experiment, uninterrupted, tmp_path):
    path = tmp_path / "run"
    process = start("after the folder", "train", experiment, "--out", path)
    wait_for(process.stdout, "here")
    kill(process)
    assert shown(path)["epochs"] == 0
    assert_same(train(resume=path), uninterrupted)


@pytest.mark.parametrize("seed", [1, 2])
def test_control_c_once_is_enough(seed, experiment, uninterrupted, tmp_path):
    rng = np.random.default_rng(seed)
    path = tmp_path / "run"
    process = start("none", "train", experiment, "--out", path, every=1e9)
    wait_for(process.stdout, f"epochs {int(rng.integers(1, EPOCHS // 2))}")
    try:
        process.wait(timeout=float(rng.uniform(0.0, 0.05)))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert said.splitlines() == [
        f"run folder: {path}",
        f"Interrupted. Continue with: eqprop-spice train --resume {path}",
    ]
    results = shown(path)
    # No checkpoint was due: what is kept was written when the signal came.
    assert 0 < results["epochs"] < EPOCHS
    assert_same(train(resume=path), uninterrupted)


def test_control_c_between_the_update_and_its_record(experiment, uninterrupted, tmp_path):
    path = tmp_path / "run"
    process = start("after the update", "train", experiment, "--out", path, epoch=4)
    wait_for(process.stdout, "here")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    run = Run.open(path)
    state, history = run.load_checkpoint(run.experiment)
    assert state.epoch == len(history) == 3
    assert_same(train(resume=path), uninterrupted)


def test_a_full_disk_leaves_the_previous_checkpoint(experiment, uninterrupted, tmp_path):
    path = tmp_path / "run"
    process = start("disk full", "train", experiment, "--out", path, epoch=5)
    _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 2
    assert "Traceback" not in said
    assert f"{path} cannot be written" in said
    assert "The previous checkpoint is intact" in said
    assert f"eqprop-spice train --resume {path}" in said
    assert not list(path.glob(".*"))
    assert shown(path)["epochs"] == 4
    assert_same(train(resume=path), uninterrupted)


def test_a_full_disk_at_the_end_keeps_the_training(experiment, uninterrupted, tmp_path):
    path = tmp_path / "run"
    process = start("disk full", "train", experiment, "--out", path, epoch=EPOCHS, every=1e9)
    _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 2
    assert "cannot be written" in said
    assert shown(path)["finished"] is False
    assert_same(train(resume=path), uninterrupted)
