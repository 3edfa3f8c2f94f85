"""A run: a folder that holds everything of one training, and survives whatever stops it."""

import dataclasses
import io
import json
import platform
import subprocess
import time
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import eqprop_spice
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.files import for_json, locked, new_folder, numbered_folder, write_atomically
from eqprop_spice.results.netlists import SHOWN_SAMPLES, trained_netlists
from eqprop_spice.training.history import History
from eqprop_spice.training.trainer import TrainingState

CHECKPOINT_SECONDS = 10.0
"""At most this much work is done again after a crash. Training is deterministic, so it is done
again exactly."""

Progress = Callable[[int, dict[str, float]], None]
"""Called after every epoch with its number and figures."""


def provenance() -> dict[str, str]:
    """Return what a result depends on besides its experiment: versions and the commit."""
    from eqprop_spice.spice.session import Session

    where = Path(eqprop_spice.__file__).parent
    git = subprocess.run(
        ["git", "-C", str(where), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    packages = ("jax", "numpy", "optax", "PySpice")
    return {
        "eqprop_spice": eqprop_spice.__version__,
        "commit": git.stdout.strip() if git.returncode == 0 else "unknown",
        "python": platform.python_version(),
        "ngspice": Session.do(lambda session: session.version),
        **{name: metadata.version(name) for name in packages},
    }


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: The folder. It holds `experiment.toml` (everything resolved), `checkpoint.npz`,
            `history.nc`, `final.nc`, `results.json`, `free.cir`, `nudged.cir` and `figures/`.
    """

    path: Path

    @classmethod
    def create(cls, experiment: Experiment, out: str | Path | None = None) -> "Run":
        """Make a new folder for a run; no two runs share one.

        Args:
            experiment: What will run.
            out: The folder; None for the next free number under `runs/`.

        Raises:
            ConfigError: If the folder exists.
        """
        content = experiment.to_toml().encode()
        if out is None:
            stem = Path("runs") / f"{experiment.table.name}_seed{experiment.table.seed}"
            return cls(numbered_folder(stem, content))
        if not new_folder(Path(out), content):
            raise ConfigError(
                f"{out} exists already. Choose another --out, or continue that run with "
                f"--resume {out}."
            )
        return cls(Path(out))

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Open an existing run folder.

        Raises:
            ConfigError: If it is none.
        """
        path = Path(path)
        if not (path / "experiment.toml").is_file():
            raise ConfigError(
                f"{path} is not a run folder: it has no experiment.toml. `eqprop-spice train` "
                "prints the folder it writes."
            )
        return cls(path)

    @property
    def experiment(self) -> Experiment:
        """The experiment of this run."""
        return Experiment.load(self.path / "experiment.toml", trusted=False)

    @property
    def history(self) -> xr.Dataset:
        """Figures and conductances by epoch."""
        return self._dataset("history.nc")

    @property
    def final(self) -> xr.Dataset:
        """Outputs, targets and node voltages of training samples at the end."""
        return self._dataset("final.nc")

    def _dataset(self, name: str) -> xr.Dataset:
        path = self.path / name
        if not path.is_file():
            raise ConfigError(
                f"{self.path} has no {name} yet: the run has not ended. Continue it with "
                f"`eqprop-spice train --resume {self.path}`."
            )
        return xr.load_dataset(path, engine="scipy")

    @property
    def results(self) -> dict[str, Any]:
        """The final figures; those of the last checkpoint if the run has not ended."""
        path = self.path / "results.json"
        if path.is_file():
            return json.loads(path.read_text())
        experiment = self.experiment
        _, history = self.load_checkpoint(experiment)
        return for_json(_results_so_far(experiment, history))

    @property
    def params(self) -> dict[str, np.ndarray]:
        """The conductances [S] of the last checkpoint."""
        state, _ = self.load_checkpoint(self.experiment)
        return {name: np.asarray(value) for name, value in state.params.items()}

    def save_checkpoint(self, state: TrainingState, history: History) -> None:
        """Write all that the next update depends on."""
        leaves = jax.tree.leaves(state.optimizer_state)
        arrays: dict[str, Any] = {
            "epoch": state.epoch,
            **{f"param.{name}": np.asarray(value) for name, value in state.params.items()},
            **{f"optimizer.{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)},
            **{
                f"carry.{i}": np.asarray(leaf)
                for i, leaf in enumerate(jax.tree.leaves(state.carry))
            },
            **{f"history.{name}": value for name, value in history.arrays().items()},
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_atomically(self.path / "checkpoint.npz", buffer.getvalue())

    def load_checkpoint(self, experiment: Experiment) -> tuple[TrainingState, History]:
        """Return the state and history of the last checkpoint; the start if there is none.

        Raises:
            ConfigError: If the file is damaged, or not of this experiment.
        """
        start = experiment.trainer.init(experiment.initial_params())
        history = History(experiment.substrate.parameter_shapes())
        path = self.path / "checkpoint.npz"
        if not path.is_file():
            return start, history
        structures = {
            "optimizer": jax.tree.structure(start.optimizer_state),
            "carry": jax.tree.structure(start.carry),
        }
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                arrays = dict(file)
            history.restore(_with_prefix(arrays, "history."))
            trees = {
                name: jax.tree.unflatten(
                    structure,
                    [jnp.asarray(arrays[f"{name}.{i}"]) for i in range(structure.num_leaves)],
                )
                for name, structure in structures.items()
            }
        except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ConfigError(
                f"{path} is damaged, or not of the experiment in its folder ({error}). Delete it "
                "to start this run again from the beginning."
            ) from error
        params = {
            name: jnp.asarray(value) for name, value in _with_prefix(arrays, "param.").items()
        }
        state = TrainingState(params, trees["optimizer"], int(arrays["epoch"]), trees["carry"])
        return state, history


def _with_prefix(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def train(
    experiment: Experiment | None = None,
    out: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Train an experiment in a new run folder, or continue an interrupted run.

    A continued run ends exactly as an uninterrupted one.

    Args:
        experiment: What to train; None with `resume`.
        out: The new folder; None for the next free number under `runs/`.
        resume: The folder of the run to continue.
        progress: Called after every epoch.

    Raises:
        ConfigError: If the folder is in use, exists already, or is no run.
        ConvergenceError: If too many operating points are not found.
        OSError: If a file cannot be written; the previous checkpoint is intact.
    """
    if resume is not None:
        run = Run.open(resume)
        experiment = run.experiment
    elif experiment is not None:
        run = Run.create(experiment, out)
    else:
        raise ConfigError("train needs an experiment, or the folder of a run to resume.")
    with locked(run.path):
        _continue(run, experiment, progress)
    return run


def _continue(run: Run, experiment: Experiment, progress: Progress | None) -> None:
    """Train from the last checkpoint to the end."""
    table = experiment.table
    trainer = experiment.trainer
    for partial in run.path.glob(".*.partial"):
        partial.unlink()  # left by a process that was killed; it was never read
    state, history = run.load_checkpoint(experiment)
    run.save_checkpoint(state, history)
    saved = time.monotonic()
    done = table.goal.stop and _goal_reached(experiment, state)
    try:
        while state.epoch < table.training.epochs and not done:
            started = time.perf_counter()
            following, figures = trainer.epoch(state)
            params = {name: np.asarray(value) for name, value in following.params.items()}
            last = following.epoch == table.training.epochs
            if len(experiment.data.test_inputs) and (
                last or following.epoch % table.training.evaluate_every == 0
            ):
                figures |= trainer.evaluate(following.params, test=True)
            figures["seconds"] = time.perf_counter() - started
            history.append(figures, params)
            state = following
            done = table.goal.stop and _goal_reached(experiment, state)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                run.save_checkpoint(state, history)
                saved = time.monotonic()
            if progress is not None:
                progress(state.epoch, figures)
    except KeyboardInterrupt:
        # The state is that of the last complete epoch; the history may be ahead of it.
        history.truncate(state.epoch)
        run.save_checkpoint(state, history)
        raise
    run.save_checkpoint(state, history)
    _finish(run, experiment, state, history)


def _goal_reached(experiment: Experiment, state: TrainingState) -> bool:
    """Whether the network as it is now reaches the goal."""
    figures = experiment.trainer.evaluate(state.params, test=False)
    if len(experiment.data.test_inputs):
        figures |= experiment.trainer.evaluate(state.params, test=True)
    return bool(experiment.table.goal.reached(figures))


def _finish(run: Run, experiment: Experiment, state: TrainingState, history: History) -> None:
    """Write the final figures, the history, the netlists and the figures."""
    from eqprop_spice.results.plots import save_figures

    trainer, table = experiment.trainer, experiment.table
    figures = trainer.evaluate(state.params, test=False)
    if len(experiment.data.test_inputs):
        figures |= trainer.evaluate(state.params, test=True)
    seconds = float(np.sum(history.columns.get("seconds", [0.0])))
    seen = len(history) * len(experiment.data.train_inputs)
    results = {
        "name": table.name,
        "seed": table.seed,
        "finished": True,
        "epochs": len(history),
        "loss": figures.pop("train_loss"),
        "max_error": figures["train_max_error"],
        **{k: v for k, v in figures.items() if k.endswith(("accuracy", "test_loss"))},
        "learned": _as_bool(table.goal.reached(figures)),
        "num_unconverged": int(np.nansum(history.columns.get("num_unconverged", [0.0]))),
        "seconds": seconds,
        "samples_per_second": seen / seconds if seconds else None,
    }
    attributes = provenance() | {"experiment": experiment.to_toml()}
    write_atomically(run.path / "history.nc", _netcdf(history.to_xarray(attributes)))
    write_atomically(run.path / "final.nc", _netcdf(_final_state(experiment, state)))
    able = "netlist" in experiment.substrate.abilities
    netlists = trained_netlists(experiment, state.params) if able else {}
    for name, text in netlists.items():
        write_atomically(run.path / f"{name}.cir", text.encode())
    save_figures(run.history, run.final, run.path / "figures")
    # Last, since its presence says that the run has ended.
    content = json.dumps(for_json(results), indent=2) + "\n"
    write_atomically(run.path / "results.json", content.encode())


def _as_bool(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _results_so_far(experiment: Experiment, history: History) -> dict[str, Any]:
    """Return the figures of a run that has not ended, under the names of one that has."""
    columns = {name: np.array(values) for name, values in history.columns.items()}
    known = {name: values[np.isfinite(values)] for name, values in columns.items()}
    last = {name: float(values[-1]) if len(values) else None for name, values in known.items()}
    shown = ("loss", "max_error", "accuracy", "test_loss", "test_accuracy")
    return {
        "name": experiment.table.name,
        "seed": experiment.table.seed,
        "finished": False,
        "epochs": len(history),
        **{f"train_{n}" if n == "accuracy" else n: last[n] for n in shown if n in last},
        "learned": None,
        "num_unconverged": int(np.nansum(columns.get("num_unconverged", 0.0))),
        "seconds": float(np.nansum(columns.get("seconds", 0.0))),
    }


def _netcdf(dataset: xr.Dataset) -> bytes:
    return bytes(dataset.to_netcdf(engine="scipy"))


def _final_state(experiment: Experiment, state: TrainingState) -> xr.Dataset:
    """Return outputs, targets and hidden voltages of training samples."""
    data, substrate = experiment.data, experiment.substrate
    inputs = data.train_inputs[:SHOWN_SAMPLES]
    settled = experiment.trainer.settle_all(state.params, inputs)
    outputs = np.asarray(substrate.outputs(settled.state))
    names, values = substrate.named_state(settled.state)
    return xr.Dataset(
        {
            "output": (("sample", "output_index"), outputs, {"units": "V"}),
            "target": (
                ("sample", "output_index"),
                data.train_targets[:SHOWN_SAMPLES],
                {"units": "V"},
            ),
            "voltage": (("sample", "node"), values, {"units": "V"}),
        },
        coords={"node": names},
        attrs={"task": data.task},
    )
