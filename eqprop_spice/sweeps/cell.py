"""One cell of a sweep: an experiment trained in memory, and what became of it."""

import dataclasses
import io
import time
from collections.abc import Sequence
from typing import Literal, get_args

import jax
import numpy as np

from eqprop_spice.errors import ConvergenceError, ParameterError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.training.trainer import TrainingState

Status = Literal["learned", "diverged", "stalled", "unconverged", "crashed"]
"""learned: the goal holds at the end. diverged: a conductance left the positive numbers, or the
loss ended above where it began. stalled: neither. unconverged: too many operating points were not
found. crashed: no verdict, as the process died, ran out of time, or raised another error, all of
which may lie with the machine; such a cell is computed again when the sweep is resumed."""

STATUSES: tuple[Status, ...] = get_args(Status)

MAX_ERROR_LENGTH = 2000
"""Characters of a cell's error that are kept."""

UNCONVERGED = "num_unconverged"
"""Samples that did not converge in every phase, of the epoch that follows; none follows the end."""

FIGURES = ("loss", "max_error", UNCONVERGED)
"""What is recorded by epoch; position e holds the network after e epochs of updates. That of test
samples is known before the first epoch, at the end, and wherever a goal is tried."""


@dataclasses.dataclass(frozen=True)
class CellResult:
    """What became of a cell.

    Attributes:
        figures: By name and epoch, NaN after the end: loss [V^2], largest error [V], and what
            else `figure_names` lists.
        status: What became of it.
        error: What went wrong, in words; empty if nothing did.
        seconds: How long it took [s]; of a batch, its share.
    """

    figures: dict[str, np.ndarray]
    status: Status
    error: str = ""
    seconds: float = 0.0

    @classmethod
    def crash(cls, error: str, seconds: float = 0.0) -> "CellResult":
        """Return the result of a cell that has none."""
        return cls({}, "crashed", error[:MAX_ERROR_LENGTH], seconds)


def figure_names(experiment: Experiment) -> tuple[str, ...]:
    """Return what is recorded by epoch for this experiment."""
    names = FIGURES
    regression = experiment.data.task == "regression"
    if not regression:
        names += ("accuracy",)
    if len(experiment.data.test_inputs):
        names += ("test_max_error" if regression else "test_accuracy",)
    return names


def is_full_batch(experiment: Experiment) -> bool:
    """Whether an epoch is one update from all samples, unchanged, without tests between."""
    size, count = experiment.table.training.batch_size, len(experiment.data.train_inputs)
    unchanged = experiment.data.augment is None
    return (size == 0 or size >= count) and unchanged and not len(experiment.data.test_inputs)


def run_cell(experiment: Experiment) -> CellResult:
    """Train an experiment in memory; it leaves no files.

    Errors that are no result of the physics are raised.
    """
    started = time.perf_counter()
    table = experiment.table
    columns = {
        name: np.full(table.training.epochs + 1, np.nan) for name in figure_names(experiment)
    }
    state = experiment.trainer.init(experiment.initial_params())
    error, learned = "", False
    status: Status | None = None
    try:
        while True:
            last = state.epoch == table.training.epochs
            following, figures = _figures(experiment, state, last=last)
            for name, column in columns.items():
                if name != UNCONVERGED:
                    column[state.epoch] = figures.get(name, np.nan)
            if last or table.goal.stop:
                learned = bool(table.goal.reached(figures))
            if last or learned:
                break
            if following is None:
                following, figures = experiment.trainer.epoch(state)
            columns[UNCONVERGED][state.epoch] = figures[UNCONVERGED]
            state = following
            _check_parameters(experiment, state)
    except ConvergenceError as failure:
        status, error = "unconverged", str(failure)
    except ParameterError as failure:
        status, error = "diverged", str(failure)
    status = status or final_status(columns["loss"], learned)
    return CellResult(columns, status, error, time.perf_counter() - started)


def final_status(loss: np.ndarray, learned: bool) -> Status:
    """Return the status of a cell that came to its end."""
    if learned:
        return "learned"
    known = loss[np.isfinite(loss)]
    return "diverged" if len(known) < 2 or known[-1] > known[0] else "stalled"


def _figures(
    experiment: Experiment, state: TrainingState, *, last: bool
) -> tuple[TrainingState | None, dict[str, float]]:
    """Return the figures of a state, and the state that follows where it came out as well.

    An epoch of one update reports the network before that update, so nothing is settled twice.
    """
    trainer = experiment.trainer
    if is_full_batch(experiment):
        return trainer.epoch(state)
    if not (last or experiment.table.goal.stop or state.epoch == 0):
        following, figures = trainer.epoch(state)
        return following, figures
    figures = trainer.evaluate(state.params, test=False)
    if len(experiment.data.test_inputs):
        figures |= trainer.evaluate(state.params, test=True)
    return None, {name.removeprefix("train_"): value for name, value in figures.items()}


def _check_parameters(experiment: Experiment, state: TrainingState) -> None:
    """Refuse parameters that a traced substrate does not see."""
    arrays = jax.tree.map(np.asarray, state.params)
    if not all(np.asarray(good).all() for good in experiment.substrate.admissible(arrays).values()):
        raise ParameterError(impossible(state.epoch))


def impossible(epoch: int) -> str:
    """Return in words that training has left what the system can be."""
    return (
        f"After epoch {epoch} a parameter is none that the system can have, such as a conductance "
        "that is not positive. Add a Box constraint or lower the learning rate."
    )


def to_bytes(results: Sequence[CellResult]) -> bytes:
    """Return results as bytes that any process reads without executing anything."""
    names = sorted({name for result in results for name in result.figures})
    buffer = io.BytesIO()
    arrays: dict[str, np.ndarray] = {f"figure.{name}": _stacked(results, name) for name in names}
    for name in ("status", "error", "seconds"):
        arrays[name] = np.array([getattr(result, name) for result in results])
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def _stacked(results: Sequence[CellResult], name: str) -> np.ndarray:
    """Return a figure of all cells, `cell epoch`; NaN where a cell has none."""
    columns = [result.figures.get(name, np.zeros(0)) for result in results]
    table = np.full((len(results), max(len(column) for column in columns)), np.nan)
    for row, column in zip(table, columns, strict=True):
        row[: len(column)] = column
    return table


def from_bytes(content: bytes) -> list[CellResult]:
    """Return the results that `to_bytes` wrote."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = dict(file)
    prefix = "figure."
    figures = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    rows = zip(*(arrays[name].tolist() for name in ("status", "error", "seconds")), strict=True)
    return [
        CellResult({name: table[i] for name, table in figures.items()}, *row)
        for i, row in enumerate(rows)
    ]
