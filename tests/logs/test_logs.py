"""Logs are whole after an interruption, name every epoch once, and end no training."""

import importlib.util
import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.errors import ConfigError, Remark
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.logs.chosen import flattened
from eqprop_spice.results.run import Run, train

pytestmark = pytest.mark.ngspice

XOR = Path(__file__).parents[2] / "experiments" / "xor.toml"


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr("eqprop_spice.results.plots.save_figures", lambda *arguments, **more: [])


def short(*assignments: str) -> Experiment:
    return Experiment.load(XOR, ["training.epochs=6", *assignments])


class Told:
    """A callback that notes what it is told, and stops in an epoch as Ctrl-C does."""

    def __init__(self, stop: int = 0) -> None:
        self.epochs: list[int] = []
        self.losses: list[float] = []
        self.results: dict = {}
        self._stop = stop

    def __call__(self, epoch: int, figures: dict[str, float]) -> None:
        self.epochs.append(epoch)
        self.losses.append(figures["loss"])
        if epoch == self._stop:
            raise KeyboardInterrupt

    def on_end(self, results: dict) -> None:
        self.results = results


def interrupted(path: Path, *assignments: str) -> Told:
    """Train three of six epochs, and the others after an interruption; return who was told."""
    told = Told(stop=3)
    with pytest.raises(KeyboardInterrupt):
        train(short(*assignments), path, callbacks=[told])
    train(resume=path, callbacks=[told])
    return told


def points(folder: Path) -> list[tuple[str, int, float]]:
    """Return tag, step and value of every scalar in event files of TensorBoard."""
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore

    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            # A record: its length, a checksum of that, the content, a checksum of that.
            (size,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + size])
            at += 12 + size + 4
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.append((value.tag, event.step, value.simple_value))
    return found


def test_a_callback_is_told_every_epoch_once_and_the_results(tmp_path):
    told = interrupted(tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert told.epochs == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(told.losses, run.history["loss"])
    assert told.results == run.results


def test_what_a_callback_raises_is_a_remark_and_the_training_goes_on(tmp_path):
    def broken(epoch: int, figures: dict[str, float]) -> None:
        if epoch == 2:
            raise RuntimeError("no such server")

    told = Told()
    with pytest.warns(Remark, match=r"callback .*broken is told nothing more: no such server"):
        run = train(short(), tmp_path / "run", callbacks=[broken, told])
    assert run.results["finished"] and len(told.epochs) == 6


def test_the_table_of_epochs_is_there_before_the_end(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(short(), tmp_path / "run", callbacks=[Told(stop=2)])
    rows = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2"]


def test_tensorboard_shows_every_epoch_once_after_an_interruption(tmp_path):
    pytest.importorskip("tensorboardX")
    folder = tmp_path / "run"
    interrupted(folder, "logging.tensorboard=true")
    found = points(folder / "tensorboard")
    losses = [(step, value) for tag, step, value in found if tag == "loss"]
    assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]
    # TensorBoard keeps numbers in single precision.
    wanted = Run.open(folder).history["loss"].values
    np.testing.assert_allclose([value for _, value in losses], wanted, rtol=2**-23)
    train(resume=folder)
    assert len(points(folder / "tensorboard")) == len(found)


def test_a_log_that_cannot_be_written_costs_a_remark(tmp_path):
    pytest.importorskip("tensorboardX")
    run = Run.create(short("logging.tensorboard=true"), tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run.path / "tensorboard").symlink_to(elsewhere)
    with pytest.warns(Remark, match="TensorBoard is told nothing more: .*is a link"):
        train(resume=run.path)
    assert run.results["finished"] and not list(elsewhere.iterdir())


def test_a_missing_extra_is_told_before_anything_is_made(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    hidden = ("tensorboardX", "mlflow")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name in hidden else find(name)
    )
    for name in ("tensorboard", "mlflow"):
        with pytest.raises(ConfigError, match=rf"pip install 'eqprop_spice\[{name}\]'"):
            train(short(f"logging.{name}=true"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_logging_is_no_part_of_what_is_computed(tmp_path):
    without, with_logs = short(), short("logging.tensorboard=true")
    assert "logging" not in without.to_toml()
    assert without.content_but() == with_logs.content_but()
    assert Experiment.parse(with_logs.to_toml()).table == with_logs.table


def test_parameters_are_named_by_dotted_key():
    table = {"a": {"b": [1.0, {"c": "x"}]}, "d": True}
    assert flattened(table) == {"a.b.0": 1.0, "a.b.1.c": "x", "d": True}


MLFLOW = """
import sys
from mlflow import MlflowClient
from eqprop_spice.results.run import Run, train
from eqprop_spice.experiment.experiment import Experiment

def stop(epoch, figures):
    if epoch == 3:
        raise KeyboardInterrupt

experiment = Experiment.load(sys.argv[1], ["training.epochs=6", "logging.mlflow=true"])
try:
    train(experiment, "run", callbacks=[stop])
except KeyboardInterrupt:
    pass
client = MlflowClient()
(place,) = [e for e in client.search_experiments() if e.name == "xor"]
(run,) = client.search_runs([place.experiment_id])
assert run.info.status == "KILLED", run.info.status
for _ in range(2):
    train(resume="run")
(run,) = client.search_runs([place.experiment_id])
assert run.info.status == "FINISHED", run.info.status
assert run.data.params["rule.kind"] == experiment.table.rule["kind"]
assert run.data.tags["result.finished"] == "True"
points = client.get_metric_history(run.info.run_id, "loss")
assert sorted(point.step for point in points) == [1, 2, 3, 4, 5, 6]
wanted = Run.open("run").history["loss"].values
assert [p.value for p in sorted(points, key=lambda p: p.step)] == wanted.tolist()
print("whole")
"""


@pytest.mark.slow
def test_mlflow_goes_on_with_its_run_after_an_interruption(tmp_path, monkeypatch):
    if importlib.util.find_spec("mlflow") is None:
        pytest.skip("no mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    done = subprocess.run(
        [sys.executable, "-c", MLFLOW, str(XOR)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("whole\n"), done.stderr


def test_a_server_of_mlflow_that_fails_costs_a_remark(tmp_path, monkeypatch):
    class Refusing:
        def __init__(self) -> None:
            raise OSError("connection refused")

    class Fake:
        MlflowClient = Refusing

    entities = type(sys)("mlflow.entities")
    entities.Param = entities.Metric = object  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "mlflow", Fake)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: True)
    with pytest.warns(Remark, match="MLflow is told nothing more: connection refused"):
        run = train(short("logging.mlflow=true"), tmp_path / "run")
    assert run.results["finished"] and math.isfinite(run.results["loss"])
