import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

from eqprop_spice.errors import ConfigError, ConvergenceError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free
from eqprop_spice.results.run import Run, train
from eqprop_spice.training.update import first_like

pytestmark = pytest.mark.ngspice

XOR = Path(__file__).parents[2] / "experiments" / "xor.toml"

SAME_SOLUTION = 1e-9
"""Difference of two solutions of one circuit [V]: both solvers stop below 1e-12 V; the netlist adds
the rounding of 1/g."""

SHORT = ["training.epochs=30"]

CLOCK = ("seconds", "samples_per_second")
"""The only figures that two equal runs do not share."""


def short_xor(*assignments: str) -> Experiment:
    return Experiment.load(XOR, [*SHORT, *assignments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return train(
        short_xor('description="µ-circuit of 2 Ω"'), tmp_path_factory.mktemp("runs") / "finished"
    )


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Draw the figures of `finished` alone; as a wider fixture it is made before this one."""
    monkeypatch.setattr("eqprop_spice.results.plots.save_figures", lambda *arguments, **more: [])


def without_clock(results: dict) -> dict:
    return {name: value for name, value in results.items() if name not in CLOCK}


def test_a_run_folder_holds_everything(finished):
    names = {str(path.relative_to(finished.path)) for path in finished.path.rglob("*")}
    figures = {
        f"figures/{name}.{suffix}"
        for name in ("loss", "conductances", "voltages", "predictions")
        for suffix in ("png", "svg")
    }
    assert names == figures | {
        "checkpoint.npz",
        "experiment.toml",
        "figures",
        "final.nc",
        "free.cir",
        "history.csv",
        "history.nc",
        "lock",
        "nudged.cir",
        "results.json",
    }


def test_the_experiment_is_written_resolved(finished):
    experiment = Experiment.load(finished.path / "experiment.toml")
    assert experiment.table == finished.experiment.table
    assert experiment.table.training.epochs == 30
    assert experiment.table.description == "µ-circuit of 2 Ω"


def test_the_results_are_those_of_the_trained_network(finished):
    results = json.loads((finished.path / "results.json").read_text())
    assert results == finished.results | {"experiment_digest": finished.digest}
    assert results["finished"] is True
    assert results["epochs"] == 30
    assert results["train_accuracy"] == 1.0
    assert results["num_unconverged"] == 0
    assert results["seconds"] > 0
    assert "test_accuracy" not in results
    experiment = finished.experiment
    (point,) = experiment.network.settle(finished.params, experiment.data.train_inputs, [Free()])
    errors = experiment.circuit.outputs(point.voltages) - experiment.data.train_targets
    assert results["max_error"] == pytest.approx(np.abs(errors).max(), abs=SAME_SOLUTION)
    assert results["loss"] == pytest.approx(0.5 * (errors**2).sum(1).mean(), abs=SAME_SOLUTION)
    assert results["learned"] == (results["max_error"] < 0.1)


def test_the_history_opens_in_xarray(finished):
    with xr.open_dataset(finished.path / "history.nc") as history:
        assert dict(history.sizes) == {"epoch": 30, "conductance_label": 48}
        assert history["epoch"].values.tolist() == list(range(1, 31))
        assert history["loss"].attrs["units"] == "V^2"
        assert history["conductance"].attrs["units"] == "S"
        assert history["conductance_label"].values[0] == "dense_0[0,0]"
        assert Experiment.parse(history.attrs["experiment"]).table == finished.experiment.table
        for name in ("commit", "python", "jax", "ngspice"):
            assert history.attrs[name]
        last = history["conductance"].values[-1]
    everything = np.concatenate([np.ravel(value) for value in finished.params.values()])
    np.testing.assert_array_equal(last, everything)


def test_the_final_state_opens_in_xarray(finished):
    with xr.open_dataset(finished.path / "final.nc") as final:
        assert dict(final.sizes) == {"sample": 4, "output_index": 1, "node": 8}
        assert final.attrs["task"] == "binary"
        errors = final["output"].values - final["target"].values
    assert np.abs(errors).max() == finished.results["max_error"]


def plain_ngspice(path: Path) -> dict[str, float]:
    """Return the node voltages [V] that plain ngspice prints for a netlist."""
    done = subprocess.run(
        ["ngspice", "-b", str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "error" not in (done.stdout + done.stderr).lower()
    found = re.findall(r"^v\((\w+)\) = (\S+)$", done.stdout, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_plain_ngspice_finds_the_same_voltages(finished):
    experiment = finished.experiment
    circuit, data = experiment.circuit, experiment.data
    (free,) = experiment.network.settle(finished.params, data.train_inputs[:1], [Free()])
    outputs = circuit.outputs(free.voltages)
    nudge = experiment.rule.shown_phase(outputs, data.train_targets[:1], experiment.cost)
    free, nudged = experiment.network.settle(
        finished.params, data.train_inputs[:1], [Free(), nudge]
    )
    assert np.abs(nudged.voltages - free.voltages).max() > 100 * SAME_SOLUTION
    for name, point in (("free", free), ("nudged", nudged)):
        printed = plain_ngspice(finished.path / f"{name}.cir")
        assert len(printed) == len(circuit.free_nodes)
        for node in circuit.free_nodes:
            expected = float(point.voltages[0, node])
            assert printed[circuit.node_names[node]] == pytest.approx(expected, abs=SAME_SOLUTION)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(finished, tmp_path):
    again = train(finished.experiment, tmp_path / "again")
    assert without_clock(again.results) == without_clock(finished.results)
    for name, values in finished.params.items():
        np.testing.assert_array_equal(again.params[name], values)
    xr.testing.assert_equal(
        again.history.drop_vars("seconds"), finished.history.drop_vars("seconds")
    )
    other = train(short_xor("seed=1"), tmp_path / "other")
    assert other.results["loss"] != finished.results["loss"]


def test_a_finished_run_resumed_is_the_same_run(finished):
    before = {
        name: (finished.path / name).read_bytes()
        for name in ("results.json", "free.cir", "nudged.cir", "history.nc")
    }
    train(resume=finished.path)
    for name, content in before.items():
        assert (finished.path / name).read_bytes() == content


def test_five_lines_of_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = Experiment.load(XOR, ["training.epochs=3"])
    run = train(experiment)
    assert run.path == Path("runs/xor_seed0_001")
    assert run.history["loss"].shape == (3,)
    assert run.results["learned"] is False


def test_progress_is_told_every_epoch(tmp_path):
    told = []
    train(
        short_xor("training.epochs=3"),
        tmp_path / "run",
        progress=lambda epoch, figures: told.append((epoch, figures["loss"])),
    )
    assert [epoch for epoch, _ in told] == [1, 2, 3]
    np.testing.assert_array_equal([loss for _, loss in told], Run(tmp_path / "run").history["loss"])


def test_training_stops_at_the_goal_if_asked(tmp_path):
    experiment = Experiment.load(XOR, ["goal.stop=true", "training.epochs=300"])
    run = train(experiment, tmp_path / "run")
    assert run.results["learned"] is True
    assert run.results["epochs"] < 300
    assert run.results["max_error"] < 0.1
    # The history has the error before each update, so none of the earlier states had learned.
    assert (run.history["max_error"].values >= 0.1).all()


def test_a_goal_of_every_kind_counts():
    figures = {"train_max_error": 0.05, "train_accuracy": 0.9, "test_accuracy": 0.8}
    iris = Experiment.load(XOR.with_name("iris.toml"), ["goal={}"])
    assert iris.table.goal.reached(figures) is None
    for goal, learned in (
        ("max_error=0.1", True),
        ("max_error=0.05", False),
        ("train_accuracy=0.9", True),
        ("test_accuracy=0.81", False),
        ("max_error=0.1, test_accuracy=0.81", False),
        ("max_error=0.1, train_accuracy=0.8, test_accuracy=0.8", True),
    ):
        experiment = Experiment.load(XOR.with_name("iris.toml"), [f"goal={{{goal}}}"])
        assert experiment.table.goal.reached(figures) is learned


def test_test_samples_show_in_results_and_history(tmp_path):
    iris = XOR.with_name("iris.toml")
    assignments = ["training.epochs=3", "training.evaluate_every=2", "goal={}", "seed=4"]
    run = train(Experiment.load(iris, assignments), tmp_path / "iris")
    assert 0 <= run.results["test_accuracy"] <= 1
    assert run.results["learned"] is None
    # Tested every second epoch, and at the end.
    tested = np.isfinite(run.history["test_accuracy"].values)
    assert tested.tolist() == [False, True, True]
    assert run.results["test_accuracy"] == run.history["test_accuracy"].values[-1]


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_an_existing_path_is_refused(tmp_path, make):
    make(tmp_path / "taken")
    with pytest.raises(ConfigError, match="exists already"):
        Run.create(short_xor(), tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_default_folders_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = short_xor()
    paths = [Run.create(experiment).path for _ in range(3)]
    assert [path.name for path in paths] == ["xor_seed0_001", "xor_seed0_002", "xor_seed0_003"]
    assert Run.create(short_xor("seed=5")).path.name == "xor_seed5_001"
    assert not list(Path("runs").glob(".*"))


RACER = """
import sys
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.run import Run

experiment = Experiment.load(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    print(Run.create(experiment).path, flush=True)
"""


def test_processes_that_race_get_different_folders(tmp_path):
    count = 40
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(XOR), str(count)],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    folders = [racer.communicate(timeout=60)[0].split() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert len(set(folders[0] + folders[1])) == 2 * count
    for folder in folders[0] + folders[1]:
        assert Run.open(tmp_path / folder).path.is_dir()


HOLDER = """
import sys
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.run import train

def hold(epoch, figures):
    print(epoch, flush=True)
    sys.stdin.read()

train(Experiment.load(sys.argv[1]), sys.argv[2], progress=hold)
"""


def test_a_folder_that_a_living_process_writes_is_refused(tmp_path):
    path = tmp_path / "held"
    experiment = tmp_path / "short.toml"
    experiment.write_text(short_xor("training.epochs=3").to_toml())
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(experiment), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "1\n"
        before = (path / "checkpoint.npz").read_bytes()
        with pytest.raises(ConfigError, match="is being written by another process"):
            train(resume=path)
        assert (path / "checkpoint.npz").read_bytes() == before
        # Reading is no writing.
        assert Run.open(path).results["finished"] is False
        holder.kill()
    # The kernel has released the lock of the dead.
    assert train(resume=path).results["epochs"] == 3


def test_what_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match="is not a run folder"):
            Run.open(path)
        with pytest.raises(ConfigError, match="is not a run folder"):
            train(resume=path)
    with pytest.raises(ConfigError, match="needs an experiment"):
        train()


def test_a_run_that_has_not_begun_shows_its_start(tmp_path):
    experiment = short_xor("seed=9")
    run = Run.create(experiment, tmp_path / "run")
    assert run.results == {
        "name": "xor",
        "seed": 9,
        "finished": False,
        "epochs": 0,
        "learned": None,
        "num_unconverged": 0,
        "seconds": 0.0,
    }
    for name, values in experiment.initial_params().items():
        np.testing.assert_array_equal(run.params[name], values)
    with pytest.raises(ConfigError, match="has not ended"):
        _ = run.history


def test_the_results_do_not_wait_for_the_figures(tmp_path, monkeypatch):
    def stop(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("eqprop_spice.results.plots.save_figures", stop)
    with pytest.raises(KeyboardInterrupt):
        train(short_xor("training.epochs=1"), tmp_path / "run")
    assert Run.open(tmp_path / "run").results["finished"] is True


def test_a_compiled_training_that_is_continued_ends_as_if_it_had_not_stopped(tmp_path):
    """It is compiled anew, from what its folder says, just as the first part was."""
    settings = ["engine=native", "training.epochs=6", "goal={}"]
    whole = train(short_xor(*settings), tmp_path / "whole")

    def stop(epoch, figures):
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(short_xor(*settings), tmp_path / "part", progress=stop)
    before = short_xor(*settings).trainer.update
    first_like.cache_clear()
    jax.clear_caches()
    part = train(resume=tmp_path / "part")
    after = part.experiment.trainer.update
    assert after is not before
    assert after.quick == before.quick
    for name, values in whole.params.items():
        np.testing.assert_array_equal(part.params[name], values)
    assert {k: v for k, v in part.results.items() if k not in CLOCK} == {
        k: v for k, v in whole.results.items() if k not in CLOCK
    }


def test_remains_of_a_killed_process_are_removed(tmp_path):
    run = Run.create(short_xor("training.epochs=1"), tmp_path / "run")
    (run.path / ".checkpoint.npz.1.partial").write_bytes(b"half")
    train(resume=run.path)
    assert not list(run.path.glob(".*"))


def test_training_refuses_what_does_not_converge(tmp_path):
    # Tolerances below rounding: no sample can meet them.
    experiment = short_xor("ngspice.residual_tolerance=1e-20", "ngspice.vntol=1e-40")
    with pytest.raises(ConvergenceError, match=r"4 of 4 samples .*sample 0, worst at node 'n"):
        train(experiment, tmp_path / "run")
    # The run is as it was before the update, and says so.
    results = Run.open(tmp_path / "run").results
    assert (results["finished"], results["epochs"]) == (False, 0)
