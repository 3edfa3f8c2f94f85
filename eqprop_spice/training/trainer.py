"""Training: what is visited in which order, and what is counted on the way."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.datasets.base import Data
from eqprop_spice.errors import ConvergenceError
from eqprop_spice.phases import Free
from eqprop_spice.settled import OperatingPoint
from eqprop_spice.training.update import Update

SAMPLES_PER_CALL = 2048
"""Samples of the minibatches that one call of a compiled program visits; calls are not free."""

EVALUATION_BATCH = 1000
"""Samples settled at a time for testing; bounds memory."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainingState:
    """All that the next update depends on.

    Attributes:
        params: Conductances [S] by group name.
        optimizer_state: What optax remembers.
        epoch: Number of epochs done.
    """

    params: dict[str, Array]
    optimizer_state: Any
    epoch: int


@dataclasses.dataclass
class _Tally:
    """Sums over the samples of an epoch."""

    data: Data
    cost: AbstractCost
    num_samples: int = 0
    num_unconverged: int = 0
    num_correct: int = 0
    total_cost: float = 0.0
    max_error: float = 0.0

    def add(self, outputs: np.ndarray, targets: np.ndarray, converged: np.ndarray) -> None:
        """Count a batch."""
        self.num_samples += len(outputs)
        self.num_unconverged += int((~converged).sum())
        self.num_correct += int(self.data.correct(outputs, targets)[converged].sum())
        if converged.any():
            good, wanted = outputs[converged], targets[converged]
            self.total_cost += float(self.cost.value(good, wanted).sum())
            self.max_error = max(self.max_error, float(np.abs(good - wanted).max()))

    def figures(self, prefix: str = "") -> dict[str, float]:
        """Return means over the samples that converged; a sample that did not is not correct."""
        counted = self.num_samples - self.num_unconverged
        figures = {
            f"{prefix}loss": self.total_cost / counted if counted else float("nan"),
            f"{prefix}max_error": self.max_error if counted else float("nan"),
            f"{prefix}num_unconverged": float(self.num_unconverged),
        }
        if self.data.task != "regression":
            figures[f"{prefix}accuracy"] = self.num_correct / max(self.num_samples, 1)
        return figures


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Everything that turns a state of training into the next.

    Attributes:
        update: What is done with a minibatch.
        learning_rate: The optimizer's.
        data: The samples.
        batch_size: Samples per update; 0 for all of them.
        seed: Seed of the order of the samples.
        max_unconverged: Share of a batch that may fail to converge before training stops.
        shuffle: Whether every epoch has its own order of the samples.
    """

    update: Update
    learning_rate: Any
    data: Data
    batch_size: int
    seed: int
    max_unconverged: float = 0.1
    shuffle: bool = True

    def init(self, params: dict[str, np.ndarray]) -> TrainingState:
        """Return the state before the first update."""
        arrays = {name: jnp.asarray(value) for name, value in params.items()}
        if self.update.constraint is not None:
            arrays = self.update.constraint(arrays)
        optimizer = self.update.optimizer(self.learning_rate)
        return TrainingState(arrays, optimizer.init(arrays), 0)

    def step(self, params, optimizer_state, inputs, targets, key=None):
        """Update once; return the new state, and outputs and convergence before it."""
        rate = self.learning_rate
        return self.update.step(params, optimizer_state, inputs, targets, rate, key)

    def key(self, epoch: Any, batch: int) -> Any:
        """Return the random key of a minibatch's readings; None where they are not random."""
        if not self.update.substrate.needs_key:
            return None
        key = jax.random.fold_in(jax.random.key(self.seed), epoch)
        return jax.random.fold_in(key, batch)

    @property
    def _full_size(self) -> int:
        """Samples of every minibatch but, perhaps, the last of an epoch."""
        count = len(self.data.train_inputs)
        return min(self.batch_size or count, count)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Return the sample numbers of each minibatch of an epoch, in a seeded order."""
        count, size = len(self.data.train_inputs), self._full_size
        if size == count:
            return [np.arange(count)]
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(count) if self.shuffle else np.arange(count)
        return [order[i : i + size] for i in range(0, count, size)]

    def epoch(self, state: TrainingState) -> tuple[TrainingState, dict[str, float]]:
        """Visit every training sample once.

        Returns:
            The next state, and loss, accuracy, largest error and number of unconverged samples, as
            the samples were met: each before the update it contributed to.

        Raises:
            ConvergenceError: If more than `max_unconverged` of a batch did not converge.
        """
        tally = _Tally(self.data, self.update.cost)
        rng = np.random.default_rng([self.seed, state.epoch, 1])
        after = state
        for first, rows in self._calls(state.epoch):
            inputs, targets = self.data.train_inputs[rows], self.data.train_targets[rows]
            if self.data.augment is not None:
                inputs = np.stack([self.data.augment(batch, rng) for batch in inputs])
            before, (after, outputs, converged) = after, self._visit(after, first, inputs, targets)
            if self._too_many(converged).any():
                self._refuse(before, first, rows, inputs, targets)
            width = targets.shape[-1]
            tally.add(outputs.reshape(-1, width), targets.reshape(-1, width), converged.ravel())
        return dataclasses.replace(after, epoch=state.epoch + 1), tally.figures()

    @functools.cached_property
    def _batches_per_call(self) -> int:
        """How many full minibatches one call visits at most."""
        if not self.update.substrate.engine.traceable:
            return 1
        return max(min(SAMPLES_PER_CALL, len(self.data.train_inputs)) // self._full_size, 1)

    def _calls(self, epoch: int) -> list[tuple[int, Int[np.ndarray, "batch sample"]]]:
        """Return what is visited by one call each: the first minibatch's number, the samples."""
        batches = self.batches(epoch)
        full = [batch for batch in batches if len(batch) == self._full_size]
        starts = range(0, len(full), self._batches_per_call)
        calls = [(i, np.stack(full[i : i + starts.step])) for i in starts]
        return [*calls, *((len(full), batch[None]) for batch in batches[len(full) :])]

    def _visit(
        self, state: TrainingState, first: int, inputs: np.ndarray, targets: np.ndarray
    ) -> tuple[TrainingState, np.ndarray, np.ndarray]:
        """Update once per minibatch; return also outputs and convergence, `batch sample`."""
        count, most = len(inputs), self._batches_per_call
        keys = [self.key(state.epoch, first + number) for number in range(count)]
        start = state.params, state.optimizer_state
        if most == 1 or inputs.shape[1] != self._full_size:
            params, optimizer_state, outputs, converged = self.step(
                *start, inputs[0], targets[0], keys[0]
            )
            outputs, converged = outputs[None], converged[None]
        else:
            padding = ((0, most - count), (0, 0), (0, 0))
            padded = [np.pad(array, padding) for array in (inputs, targets)]
            stacked = None if keys[0] is None else jnp.stack(keys + keys[:1] * (most - count))
            params, optimizer_state, outputs, converged = self.update.steps(
                *start, *padded, self.learning_rate, stacked, count
            )
        following = TrainingState(params, optimizer_state, state.epoch)
        return following, np.asarray(outputs)[:count], np.asarray(converged)[:count]

    def _too_many(self, converged: Bool[np.ndarray, "batch sample"]) -> Bool[np.ndarray, " batch"]:
        """Return in which minibatches more samples failed than may."""
        return (~converged).sum(1) > self.max_unconverged * converged.shape[1]

    def _refuse(
        self,
        state: TrainingState,
        first: int,
        batches: Int[np.ndarray, "batch sample"],
        all_inputs: np.ndarray,
        all_targets: np.ndarray,
    ) -> None:
        """Visit the minibatches one by one again, and name what failed first."""
        for number, (rows, inputs, targets) in enumerate(
            zip(batches, all_inputs, all_targets, strict=True)
        ):
            params = state.params
            state, _, converged = self._visit(state, first + number, inputs[None], targets[None])
            if self._too_many(converged)[0]:
                self._raise_unconverged(params, rows, inputs, converged[0])

    def _raise_unconverged(
        self, params: dict[str, Array], rows: np.ndarray, inputs: np.ndarray, converged: np.ndarray
    ) -> None:
        failed = int(np.argmin(converged))
        (point,) = self.update.substrate.settle(params, inputs[failed : failed + 1], [Free()])
        node = self.update.substrate.circuit.node_names[int(point.worst_node[0])]
        raise ConvergenceError(
            f"{int((~converged).sum())} of {len(rows)} samples of a batch have no operating point; "
            f"the first is sample {int(rows[failed])}, worst at node '{node}'. Lower the learning "
            "rate, tighten the Box constraint, or raise training.max_unconverged to drop them."
        )

    def settle_all(
        self, params: dict[str, Array], inputs: Float[np.ndarray, "sample input"]
    ) -> OperatingPoint:
        """Return the free operating points of many samples."""
        parts = [point for _, point in self._settle_parts(params, inputs)]
        return jax.tree.map(lambda *arrays: np.concatenate([np.asarray(a) for a in arrays]), *parts)

    def _settle_parts(
        self, params: dict[str, Array], inputs: Float[np.ndarray, "sample input"]
    ) -> Iterator[tuple[slice, OperatingPoint]]:
        """Yield the free operating points of a part of the samples after the other."""
        for start in range(0, len(inputs), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            yield part, self.update.free(params, inputs[part])

    def evaluate(self, params: dict[str, Array], *, test: bool) -> dict[str, float]:
        """Return loss, accuracy and largest error of the training or the test samples."""
        d = self.data
        inputs, targets = (
            (d.test_inputs, d.test_targets) if test else (d.train_inputs, d.train_targets)
        )
        tally = _Tally(d, self.update.cost)
        # All node voltages of all samples at once may not fit into memory.
        for part, point in self._settle_parts(params, inputs):
            outputs, converged = self.update.substrate.outputs(point), point.converged
            tally.add(np.asarray(outputs), targets[part], np.asarray(converged))
        return tally.figures("test_" if test else "train_")
