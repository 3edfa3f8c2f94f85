"""A run: a folder that holds everything of one training, and survives whatever stops it."""

import contextlib
import dataclasses
import functools
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure

from eqprop_spice import __version__
from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.experiment.source import read_text
from eqprop_spice.files import (
    for_json,
    locked,
    new_folder,
    numbered_folder,
    remove_partials,
    write_atomically,
)
from eqprop_spice.logs.base import AbstractLog, Logs
from eqprop_spice.logs.callback import Callback, CallbackLog
from eqprop_spice.logs.chosen import check_installed, chosen_logs, flattened
from eqprop_spice.notebook import html_table
from eqprop_spice.progress import RunBar
from eqprop_spice.results.datasets import final_layout, final_state, history_layout, netcdf
from eqprop_spice.results.export import export
from eqprop_spice.results.netlists import trained_netlists
from eqprop_spice.results.plots import RUN_NAME
from eqprop_spice.results.predictions import outputs, predict
from eqprop_spice.results.provenance import provenance
from eqprop_spice.results.stored import (
    ANY,
    DIGEST,
    Expected,
    Layout,
    digest_of,
    like,
    read_arrays,
    read_dataset,
    read_results,
    written_by,
)
from eqprop_spice.training.history import History
from eqprop_spice.training.trainer import TrainingState

CHECKPOINT_SECONDS = 10.0
"""At most this much work is done again after a crash. Training is deterministic, so it is done
again exactly."""

Progress = Callable[[int, dict[str, float]], Any]
"""Called after every epoch with its number and figures."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: The folder. It holds `experiment.toml` (everything resolved), `checkpoint.npz`,
            `history.nc`, `history.csv`, `final.nc`, `results.json`, `free.cir`, `nudged.cir` and
            `figures/`; `data.npz` too if the samples were given as arrays.
    """

    path: Path

    @classmethod
    def create(cls, experiment: Experiment, out: str | Path | None = None) -> "Run":
        """Make a new folder for a run; no two runs share one.

        Args:
            experiment: What will run.
            out: The folder; None for the next free number under `runs/`.

        Raises:
            ConfigError: If the folder exists, or a log needs what is not installed.
        """
        check_installed(_log_names(experiment))
        content = experiment.to_toml().encode()
        if out is None:
            stem = Path("runs") / f"{experiment.table.name}_seed{experiment.table.seed}"
            return cls(numbered_folder(stem, content, experiment.files()))
        if not new_folder(Path(out), content, experiment.files()):
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
    def name(self) -> str:
        """What figures call it: the folder's own name, wherever it is opened from."""
        return self.path.resolve().name

    @property
    def experiment(self) -> Experiment:
        """The experiment of this run.

        Raises:
            ConfigError: If this version cannot read it, with the version that wrote it.
        """
        try:
            return Experiment.load(self.path / "experiment.toml", trusted=False)
        except ConfigError as error:
            writer = written_by(self.path / "history.nc")
            raise ConfigError(
                f"{error} The run was written by {writer}; this is {__version__}."
            ) from error

    @functools.cached_property
    def digest(self) -> str:
        """What every file of this run says of the experiment that it belongs to."""
        return digest_of(read_text(self.path / "experiment.toml"))

    @property
    def description(self) -> str:
        """What netlists and figures of this run say of themselves."""
        return f"experiment {self.digest}"

    def marked(self, netlist: str) -> str:
        """Return a netlist that says below its title to which experiment it belongs."""
        title, rest = netlist.split("\n", 1)
        return f"{title}\n* {self.description}\n{rest}"

    @property
    def history(self) -> xr.Dataset:
        """Figures and conductances by epoch."""
        experiment = self.experiment
        found = self._dataset("history.nc", history_layout(experiment))
        return found.assign_attrs({RUN_NAME: self.name})

    @property
    def final(self) -> xr.Dataset:
        """Inputs, outputs, targets and node voltages of training samples at the end."""
        experiment = self.experiment
        found = self._dataset("final.nc", final_layout(experiment))
        inputs = experiment.data.train_inputs[: found.sizes["sample"]]
        named = {"input": (("sample", "input_index"), inputs, {"units": "V"})}
        return found.assign(named).assign_attrs({RUN_NAME: self.name})

    def _dataset(self, name: str, layout: Layout) -> xr.Dataset:
        path = self.path / name
        if not path.exists():
            raise ConfigError(
                f"{self.path} has no {name} yet: the run has not ended. Continue it with "
                f"`eqprop-spice train --resume {self.path}`."
            )
        return read_dataset(path, layout, digest=self.digest)

    @property
    def results(self) -> dict[str, Any]:
        """The final figures; those of the last checkpoint if the run has not ended."""
        path = self.path / "results.json"
        if path.exists():
            return read_results(path, digest=self.digest)
        experiment = self.experiment
        _, history = self.load_checkpoint(experiment)
        return for_json(_results_so_far(experiment, history))

    @property
    def params(self) -> dict[str, np.ndarray]:
        """The conductances [S] of the last checkpoint."""
        state, _ = self.load_checkpoint(self.experiment)
        return {name: np.asarray(value) for name, value in state.params.items()}

    def predict(self, features: Any) -> np.ndarray:
        """Return labels, truth values or numbers for new samples, in the free phase.

        Args:
            features: `(samples, features)`: what the arrays or the table of the run held, or source
                voltages [V] where its dataset has no features.

        Raises:
            ConfigError: If the features are not what the circuit was trained with.
            ConvergenceError: If a sample does not settle.
        """
        return predict(self.experiment, self.params, features)

    def outputs(self, features: Any) -> Float[np.ndarray, "sample output"]:
        """Return the output voltages [V] for new samples; see `predict`."""
        experiment = self.experiment
        return outputs(experiment, self.params, experiment.data.voltages(features))

    def plot(self, name: str = "loss", path: str | Path | None = None) -> Figure:
        """Return a figure of the run, and write it into a file if a path is given.

        Args:
            name: "loss", "conductances", "voltages" or "predictions".
            path: The file, whose name ends with .png or .svg.

        Raises:
            ConfigError: If there is no such figure, or the run has not ended.
        """
        from eqprop_spice.results.plots import draw

        return draw(name, self.history, self.final, path)

    def export(self, folder: str | Path, *, sample: int = 0) -> list[Path]:
        """Write the trained circuit into a folder: netlists and conductances; see `export`."""
        return export(self.experiment, self.params, folder, sample=sample)

    def _repr_html_(self) -> str:
        """Show a notebook the figures of the run."""
        return html_table(f"Run {self.path}", self.results)

    def save_checkpoint(self, state: TrainingState, history: History) -> None:
        """Write all that the next update depends on, and the figures so far for other programs."""
        arrays: dict[str, Any] = {
            "epoch": state.epoch,
            **_named_leaves(state),
            **{f"history.{name}": value for name, value in history.arrays().items()},
            DIGEST: np.frombuffer(bytes.fromhex(self.digest), np.uint8),
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_atomically(self.path / "checkpoint.npz", buffer.getvalue())
        if len(history):
            write_atomically(self.path / "history.csv", history.to_csv().encode())

    def load_checkpoint(self, experiment: Experiment) -> tuple[TrainingState, History]:
        """Return the state and history of the last checkpoint; the start if there is none.

        Raises:
            ConfigError: If the file is damaged, not of this experiment, or missing from a run that
                has ended.
        """
        start = experiment.trainer.init(experiment.initial_params())
        history = History(experiment.substrate.parameter_shapes())
        path = self.path / "checkpoint.npz"
        if not path.exists():
            self._check_not_ended()
            return start, history
        expected = {
            "epoch": like(0),
            **{name: like(leaf) for name, leaf in _named_leaves(start).items()},
            f"history.column{ANY}": Expected((None,), finite=False),
            "history.conductances": Expected((None, len(history.labels))),
        }
        epochs = range(experiment.table.training.epochs + 1)
        arrays = read_arrays(path, expected, digest=self.digest, epochs=epochs)
        history.restore(_with_prefix(arrays, "history."))
        trees = {
            name: _with_leaves(tree, arrays, name)
            for name, tree in (("optimizer", start.optimizer_state), ("carry", start.carry))
        }
        params: dict[str, Array] = {
            name: jnp.asarray(value) for name, value in _with_prefix(arrays, "param.").items()
        }
        state = TrainingState(params, trees["optimizer"], int(arrays["epoch"]), trees["carry"])
        return state, history

    def _check_not_ended(self) -> None:
        """Refuse to take the start for the end of a run whose checkpoint is gone."""
        names = ("results.json", "history.nc", "final.nc")
        left = [name for name in names if (self.path / name).exists()]
        if left:
            raise ConfigError(
                f"{self.path} has ended, but its checkpoint.npz with the trained conductances is "
                f"missing. Put it back, or delete {', '.join(left)} too to start this run again."
            )


def _named_leaves(state: TrainingState) -> dict[str, np.ndarray]:
    """Return the arrays of a state under their names in a checkpoint."""
    trees = {"optimizer": state.optimizer_state, "carry": state.carry}
    return {
        **{f"param.{name}": np.asarray(value) for name, value in state.params.items()},
        **{
            f"{name}.{i}": np.asarray(leaf)
            for name, tree in trees.items()
            for i, leaf in enumerate(jax.tree.leaves(tree))
        },
    }


def _with_leaves(tree: Any, arrays: dict[str, np.ndarray], name: str) -> Any:
    """Return a tree like the given one with the leaves of a checkpoint."""
    structure = jax.tree.structure(tree)
    leaves = [jnp.asarray(arrays[f"{name}.{i}"]) for i in range(structure.num_leaves)]
    return jax.tree.unflatten(structure, leaves)


def _with_prefix(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def train(
    experiment: Experiment | None = None,
    out: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    progress: Progress | bool = True,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train an experiment in a new run folder, or continue an interrupted run.

    A continued run ends exactly as an uninterrupted one.

    Args:
        experiment: What to train; None with `resume`.
        out: The new folder; None for the next free number under `runs/`.
        resume: The folder of the run to continue.
        progress: Called after every epoch; True for a bar, where there is a terminal or a notebook
            to show it.
        callbacks: Called after every epoch with its number and figures. One that has a method
            `on_end` is told the results, too. One that raises is told nothing more; the training
            goes on.

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
    told = [CallbackLog(callback) for callback in callbacks]
    with locked(run.path), _shown(experiment, progress) as show:
        chosen = _chosen_logs(run, experiment)
        with Logs([*chosen, *told]) as logs:
            _continue(run, experiment, show, logs)
    return run


@contextlib.contextmanager
def _shown(experiment: Experiment, progress: Progress | bool) -> Iterator[Progress | None]:
    """Give what shows an epoch, if anything does."""
    if not isinstance(progress, bool):
        yield progress
    elif progress:
        with RunBar(experiment.table.training.epochs, len(experiment.data.train_inputs)) as bar:
            yield bar
    else:
        yield None


def _log_names(experiment: Experiment) -> tuple[str, ...]:
    """Return which logs the experiment asks for."""
    return () if experiment.table.logging is None else experiment.table.logging.names


def _chosen_logs(run: Run, experiment: Experiment) -> list[AbstractLog]:
    """Return the logs that the experiment asks for."""
    left_out = {"description", "sweep", "compare", "expected", "logging"}
    params = flattened(experiment.table.model_dump(exclude_none=True, exclude=left_out))
    names = _log_names(experiment)
    return chosen_logs(names, run.path, experiment.table.name, {"digest": run.digest, **params})


def record(
    experiment: Experiment, state: TrainingState, history: History, out: str | Path | None = None
) -> Run:
    """Write a training that was done in memory as a run folder, as if `train` had done it.

    Args:
        experiment: What was trained.
        state: Where it has come.
        history: What was recorded on the way, an entry per epoch.
        out: The new folder; None for the next free number under `runs/`.

    Raises:
        ConfigError: If the folder exists.
    """
    epochs = max(len(history), 1)
    training = experiment.table.training.model_copy(update={"epochs": epochs})
    table = experiment.table.model_copy(update={"training": training})
    experiment = dataclasses.replace(experiment, table=table)
    run = Run.create(experiment, out)
    state = dataclasses.replace(state, epoch=len(history))
    with locked(run.path):
        run.save_checkpoint(state, history)
        _finish(run, experiment, state, history)
    return run


def _continue(run: Run, experiment: Experiment, progress: Progress | None, logs: Logs) -> None:
    """Train from the last checkpoint to the end."""
    table = experiment.table
    trainer = experiment.trainer
    remove_partials(run.path)
    state, history = run.load_checkpoint(experiment)
    run.save_checkpoint(state, history)
    logs.begin(history.rows())
    saved = time.monotonic()
    done = table.goal.stop and _goal_reached(experiment, state)
    try:
        while state.epoch < table.training.epochs and not done:
            started = time.perf_counter()
            following, figures = trainer.epoch(state)
            params = {name: np.asarray(value) for name, value in following.params.items()}
            last = following.epoch == table.training.epochs
            if last or following.epoch % table.training.evaluate_every == 0:
                figures |= _checked(experiment, following)
            figures["seconds"] = time.perf_counter() - started
            history.append(figures, params)
            state = following
            done = table.goal.stop and _goal_reached(experiment, state)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                run.save_checkpoint(state, history)
                saved = time.monotonic()
            if progress is not None:
                progress(state.epoch, figures)
            logs.epoch(state.epoch, figures)
    except KeyboardInterrupt:
        # The state is that of the last complete epoch; the history may be ahead of it.
        history.truncate(state.epoch)
        run.save_checkpoint(state, history)
        raise
    run.save_checkpoint(state, history)
    _finish(run, experiment, state, history)
    logs.end(run.results)


def _checked(experiment: Experiment, state: TrainingState) -> dict[str, float]:
    """Return what is looked at between epochs: the test samples, and whether states are unique."""
    figures: dict[str, float] = {}
    if len(experiment.data.test_inputs):
        figures |= experiment.trainer.evaluate(state.params, test=True)
    params = {name: np.asarray(value) for name, value in state.params.items()}
    known = experiment.substrate.uniqueness(params, experiment.data.train_inputs)
    if known is not None and not known.guaranteed:
        figures["num_several_states"] = known.num_samples_with_several
    return figures


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
    seconds = float(np.nansum(history.columns.get("seconds", [0.0])))
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
    attributes = provenance() | {DIGEST: run.digest, "experiment": experiment.to_toml()}
    write_atomically(run.path / "history.nc", netcdf(history.to_xarray(attributes)))
    final = final_state(experiment, state).assign_attrs({DIGEST: run.digest})
    write_atomically(run.path / "final.nc", netcdf(final))
    able = "netlist" in experiment.substrate.abilities
    netlists = trained_netlists(experiment, state.params) if able else {}
    for name, text in netlists.items():
        write_atomically(run.path / f"{name}.cir", run.marked(text).encode())
    # After all that is computed, since its presence says that the run has ended; figures can be
    # drawn again by anybody.
    content = json.dumps(for_json(results | {DIGEST: run.digest}), indent=2) + "\n"
    write_atomically(run.path / "results.json", content.encode())
    save_figures(run.history, run.final, run.path / "figures", description=run.description)


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
