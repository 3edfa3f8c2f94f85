"""Cells of one circuit as one vectorised computation of the native engine.

Cells that differ in nothing but learning rate, beta and seed share their compiled program: `vmap`
runs all of them at once. Cells that have ended leave the batch, so that a few slow ones do not keep
it large.
"""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eqprop_spice.experiment.experiment import RATE, SEED, Experiment
from eqprop_spice.sweeps.cell import (
    UNCONVERGED,
    CellResult,
    figure_names,
    final_status,
    impossible,
    is_full_batch,
)
from eqprop_spice.training.compilation import compiled
from eqprop_spice.training.tally import tally
from eqprop_spice.training.trainer import Trainer, TrainingState
from eqprop_spice.updates.base import seeded

BETA = "rule.beta"

BATCHED_KEYS = frozenset({RATE, BETA, SEED})
"""Keys that may differ between the cells of a batch."""

EPOCHS_PER_CALL = 25
"""Updates between two looks at which cells have ended."""

SMALLEST_BATCH = 32
"""Batches have 32, 64, 128, ... cells: every size compiles once."""

SHRINK = 8
"""A batch is packed when this times fewer cells are left: each size costs a compilation."""


def can_batch(experiment: Experiment) -> bool:
    """Whether cells of this experiment run vectorised.

    They do on systems that are traced in full, such as circuits that the native engine solves layer
    by layer, where an epoch is one update and starts from no state of the last one.
    """
    substrate = experiment.substrate
    if not is_full_batch(experiment) or substrate.warm:
        return False
    return substrate.vectorizable(holding="hold" in experiment.rule.needs)


@dataclasses.dataclass
class _Lanes:
    """The cells still running: which they are, and their states."""

    numbers: np.ndarray
    params: dict[str, Any]
    optimizer_state: Any
    rates: np.ndarray
    betas: np.ndarray
    seeds: np.ndarray

    def take(self, which: np.ndarray) -> "_Lanes":
        """Return some lanes, the last repeated up to the size of a batch."""
        size = _size(len(which))
        padded = np.concatenate([which, np.full(size - len(which), which[-1])])
        pick = functools.partial(jax.tree.map, lambda leaf: leaf[padded])
        numbers = self.numbers[padded]
        numbers[len(which) :] = -1
        return _Lanes(
            numbers,
            pick(self.params),
            pick(self.optimizer_state),
            self.rates[padded],
            self.betas[padded],
            self.seeds[padded],
        )


def _size(count: int) -> int:
    """Return the batch size that holds a number of cells."""
    size = SMALLEST_BATCH
    while size < count:
        size *= 2
    return size


def run_batch(experiment: Experiment, cells: Sequence[Mapping[str, Any]]) -> list[CellResult]:
    """Train an experiment with several sets of values at once.

    Args:
        experiment: The experiment, with all other values put in; `can_batch` holds for it.
        cells: For each cell, its values of `BATCHED_KEYS`.
    """
    started = time.perf_counter()
    num_epochs = experiment.table.training.epochs
    advance = _program(_Program(experiment))
    records = _Records(experiment, len(cells))
    lanes = _lanes(experiment, cells)
    lanes = lanes.take(np.arange(len(cells)))
    for epoch in range(0, num_epochs + 1, EPOCHS_PER_CALL):
        varied = lanes.rates, lanes.betas, lanes.seeds
        out = advance(lanes.params, lanes.optimizer_state, *varied, epoch)
        lanes.params, lanes.optimizer_state, seen = out
        records.add(lanes.numbers, epoch, jax.tree.map(np.asarray, seen))
        running = np.flatnonzero((lanes.numbers >= 0) & ~records.ended[lanes.numbers])
        if not len(running):
            break
        if _size(len(running)) * SHRINK <= len(lanes.numbers):
            lanes = lanes.take(running)
    return records.results((time.perf_counter() - started) / len(cells))


def _lanes(experiment: Experiment, cells: Sequence[Mapping[str, Any]]) -> _Lanes:
    """Return the states before the first update."""
    table = experiment.table
    beta = experiment.rule.nudge_strength or 1.0
    shapes = experiment.substrate.parameter_shapes()
    starts: dict[int, dict[str, np.ndarray]] = {}
    drawn = []
    for cell in cells:
        seed = cell.get(SEED, table.seed)
        if seed not in starts:
            starts[seed] = experiment.drawn_params(np.random.default_rng(seed))
        drawn.append(starts[seed])
    params = {name: np.stack([start[name] for start in drawn]) for name in shapes}
    state = jax.vmap(lambda p: experiment.trainer.init(p).optimizer_state)(params)
    constrained = jax.vmap(lambda p: experiment.trainer.init(p).params)(params)
    seeds = np.array([cell.get(SEED, table.seed) for cell in cells])
    state = jax.vmap(seeded)(state, seeds)
    return _Lanes(
        np.arange(len(cells)),
        constrained,
        state,
        np.array([cell.get(RATE, table.optimizer.learning_rate) for cell in cells], float),
        np.array([cell.get(BETA, beta) for cell in cells], float),
        seeds,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Program:
    """What a compiled batch depends on: the experiment without the values that differ."""

    experiment: Experiment

    def _key(self) -> str:
        return self.experiment.content_but(*sorted(BATCHED_KEYS))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Program) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


@functools.lru_cache(maxsize=8)
def _program(program: _Program):
    """Return a compiled function that takes a batch some epochs further.

    It returns the states, and by epoch and cell: outputs [V] and convergence of every sample
    before the update, and whether the conductances after it are positive numbers.
    """
    experiment = program.experiment
    data = experiment.data
    inputs, targets = jnp.asarray(data.train_inputs), jnp.asarray(data.train_targets)

    def update(params, optimizer_state, rate, beta, seed, epoch):
        trainer = _trainer(experiment, rate, beta, seed)
        state = TrainingState(params, optimizer_state, 0)
        state, outputs, converged = trainer.step(state, inputs, targets, trainer.key(epoch, 0))
        good = [g.all() for g in experiment.substrate.admissible(state.params).values()]
        seen = outputs, converged, jnp.stack(good).all()
        return state.params, state.optimizer_state, seen

    def advance(params, optimizer_state, rates, betas, seeds, first):
        each = (0, 0, 0, 0, 0, None)

        def body(carry, epoch):
            params, state, seen = jax.vmap(update, each)(
                carry[0], carry[1], rates, betas, seeds, epoch
            )
            return (params, state), seen

        carry, seen = jax.lax.scan(
            body, (params, optimizer_state), first + jnp.arange(EPOCHS_PER_CALL)
        )
        return (*carry, seen)

    return compiled(advance, quick=experiment.trainer.update.quick)


def _trainer(experiment: Experiment, rate: Any, beta: Any, seed: Any) -> Trainer:
    """Return the experiment's trainer with a traced learning rate, beta and seed."""
    trainer = experiment.trainer
    # Part of a larger program, which is compiled as a whole.
    rule = experiment.rule.nudged_by(beta)
    update = dataclasses.replace(trainer.update, rule=rule, quick=False, spread=False)
    return dataclasses.replace(trainer, update=update, learning_rate=rate, seed=seed)


class _Records:
    """Figures of every cell by epoch, and when and how each ended."""

    def __init__(self, experiment: Experiment, num_cells: int) -> None:
        self.experiment = experiment
        self.length = experiment.table.training.epochs + 1
        names = figure_names(experiment)
        self.figures = {name: np.full((num_cells, self.length), np.nan) for name in names}
        self.ended = np.zeros(num_cells, bool)
        self.learned = np.zeros(num_cells, bool)
        self.failure: dict[int, tuple[str, str]] = {}

    def add(self, numbers: np.ndarray, first: int, seen: tuple[np.ndarray, ...]) -> None:
        """Record some epochs of a batch, `epoch cell ...`; cells that have ended take no part."""
        seen = tuple(part[: self.length - first] for part in seen)
        experiment, (outputs, converged) = self.experiment, seen[:2]
        data, goal = experiment.data, experiment.table.goal
        targets = np.broadcast_to(data.train_targets, outputs.shape)
        figures = tally(outputs, targets, converged, data=data, cost=experiment.cost).figures(data)
        unconverged = 1.0 - converged.mean(-1)
        lanes = np.flatnonzero((numbers >= 0) & ~self.ended[numbers])
        reached = np.isfinite(figures["loss"]) & goal.has_bounds
        if goal.has_bounds:
            reached &= goal.reached(figures)
        too_many = unconverged > self.experiment.table.training.max_unconverged
        stopping = too_many | (reached if goal.stop else False)
        # What an update did to the conductances is found at the next epoch.
        lost = np.concatenate([np.zeros_like(seen[2][:1]), ~seen[2][:-1]]) | (~seen[2] & too_many)
        stopping |= lost
        count = len(stopping)
        ends = np.where(stopping.any(0), stopping.argmax(0), count)
        for lane in lanes.tolist():
            cell, end = int(numbers[lane]), int(ends[lane])
            failed = end < count and bool(too_many[end, lane] or lost[end, lane])
            upto = end if failed else min(end + 1, count)
            for name, column in self.figures.items():
                column[cell, first : first + upto] = figures[name][:upto, lane]
            if not failed and (end < count or first + count == self.length):
                # The network at the end is tested, and not trained any more.
                self.figures[UNCONVERGED][cell, first + upto - 1] = np.nan
            if end < count or first + count == self.length:
                self.ended[cell] = True
                self.learned[cell] = not failed and bool(reached[min(end, count - 1), lane])
            if failed:
                self.failure[cell] = _failure(first + end, bool(lost[end, lane]))

    def results(self, seconds: float) -> list[CellResult]:
        """Return what became of every cell."""
        found = []
        for cell in range(len(self.ended)):
            columns = {name: table[cell] for name, table in self.figures.items()}
            status, error = self.failure.get(
                cell, (final_status(columns["loss"], bool(self.learned[cell])), "")
            )
            found.append(CellResult(columns, status, error, seconds))  # pyright: ignore[reportArgumentType]
        return found


def _failure(epoch: int, lost: bool) -> tuple[str, str]:
    """Return status and words for a cell that could not go on."""
    if lost:
        return "diverged", impossible(epoch)
    return "unconverged", (
        f"Too many samples have no operating point in epoch {epoch}. Lower the learning rate, "
        "tighten the Box constraint, or raise training.max_unconverged to drop them."
    )
