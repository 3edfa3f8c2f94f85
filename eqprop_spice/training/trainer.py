"""Training: what is visited in which order, and what is counted on the way."""

import dataclasses
import functools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.datasets.base import Data
from eqprop_spice.errors import ConvergenceError, Remark
from eqprop_spice.phases import Free
from eqprop_spice.settled import AnySettled
from eqprop_spice.training.tally import Tally, tally
from eqprop_spice.training.update import Update
from eqprop_spice.updates.base import seeded

SAMPLES_PER_CALL = 2048
"""Samples of the minibatches that one call of a compiled program visits; calls are not free."""

DIAGNOSED, TESTED = 2**31 - 1, 2**31 - 2
"""In place of the number of a minibatch, and of an epoch: keys that no update takes."""

EVALUATION_BATCH = 1000
"""Samples settled at a time for testing; bounds memory."""

COMPILED_BATCH = 256
"""The same of a compiled program. Blocks are filled up, so that it is compiled once."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainingState:
    """All that the next update depends on.

    Attributes:
        params: Conductances [S] by group name.
        optimizer_state: What optax remembers.
        epoch: Number of epochs done.
        carry: The states that the next minibatch starts from, of a substrate that is trained warm;
            else None.
    """

    params: dict[str, Array]
    optimizer_state: Any
    epoch: int
    carry: Any = None


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Everything that turns a state of training into the next.

    Attributes:
        update: What is done with a minibatch.
        learning_rate: The optimizer's.
        data: The samples.
        batch_size: Samples per update; 0 for all of them.
        seed: Seed of the order of the samples; traced where several trainings run as one.
        max_unconverged: Share of a batch that may fail to converge before training stops.
        shuffle: Whether every epoch has its own order of the samples.
        fill: Whether samples of the epoch's beginning fill its last minibatch up, so that all are
            of one size and one program is compiled.
    """

    update: Update
    learning_rate: Any
    data: Data
    batch_size: int
    seed: Any
    max_unconverged: float = 0.1
    shuffle: bool = True
    fill: bool = False

    def init(self, params: Mapping[str, Array]) -> TrainingState:
        """Return the state before the first update."""
        arrays, optimizer_state = self.update.start(dict(params), self.learning_rate)
        substrate = self.update.substrate
        carry = substrate.initial_state(self._full_size) if substrate.warm else None
        return TrainingState(arrays, seeded(optimizer_state, self.seed), 0, carry)

    def step(self, state: TrainingState, inputs, targets, key=None):
        """Update once; return the next state, and outputs and convergence before it."""
        params, optimizer_state, carry, outputs, converged = self.update.step(
            state.params,
            state.optimizer_state,
            state.carry,
            inputs,
            targets,
            self.learning_rate,
            key,
        )
        return TrainingState(params, optimizer_state, state.epoch, carry), outputs, converged

    def key(self, epoch: Any, batch: int) -> Any:
        """Return the random key of a minibatch's readings; None where they are not random."""
        if not self.update.substrate.random:
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
        if self.fill:
            order = np.concatenate([order, order[: -count % size]])
            count = len(order)
        return [order[i : i + size] for i in range(0, count, size)]

    def epoch(self, state: TrainingState) -> tuple[TrainingState, dict[str, float]]:
        """Visit every training sample once.

        Returns:
            The next state, and loss, accuracy, largest error and number of unconverged samples, as
            the samples were met: each before the update it contributed to.

        Raises:
            ConvergenceError: If more than `max_unconverged` of a batch did not converge.
        """
        total = Tally()
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
            total += tally(
                outputs.reshape(-1, width),
                targets.reshape(-1, width),
                converged.ravel(),
                data=self.data,
                cost=self.update.cost,
            )
        figures = total.figures(self.data) | self._diagnostics(after)
        return dataclasses.replace(after, epoch=state.epoch + 1), figures

    def _diagnostics(self, state: TrainingState) -> dict[str, float]:
        """Return what the system says of its states, and warn of what is wrong with them."""
        substrate = self.update.substrate
        if not (substrate.random and "sampling" in substrate.abilities):
            return {}
        inputs = self.data.train_inputs[: self._full_size]
        point = self.update.free(state.params, inputs, self.key(state.epoch, DIAGNOSED))
        figures = substrate.diagnostics(point.state)
        complaint = substrate.complaint(figures)
        if complaint is not None:
            warnings.warn(f"Epoch {state.epoch + 1}: {complaint}", Remark, stacklevel=2)
        return figures

    @functools.cached_property
    def _batches_per_call(self) -> int:
        """How many full minibatches one call visits at most."""
        if not self.update.substrate.traceable:
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
        if most == 1 or inputs.shape[1] != self._full_size:
            following, outputs, converged = self.step(state, inputs[0], targets[0], keys[0])
            return following, np.asarray(outputs)[None], np.asarray(converged)[None]
        padded = [inputs, targets]
        if count < most:
            room = (0, most - count)
            padded = [np.pad(array, (room, *[(0, 0)] * (array.ndim - 1))) for array in padded]
        stacked = None if keys[0] is None else jnp.stack(keys + keys[:1] * (most - count))
        params, optimizer_state, carry, outputs, converged = self.update.steps(
            state.params,
            state.optimizer_state,
            state.carry,
            *padded,
            self.learning_rate,
            stacked,
            count,
        )
        following = TrainingState(params, optimizer_state, state.epoch, carry)
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
            params, key = state.params, self.key(state.epoch, first + number)
            state, _, converged = self._visit(state, first + number, inputs[None], targets[None])
            if self._too_many(converged)[0]:
                self._raise_unconverged(params, rows, inputs, converged[0], key)

    def _raise_unconverged(
        self,
        params: Mapping[str, Array],
        rows: np.ndarray,
        inputs: np.ndarray,
        converged: np.ndarray,
        key: Any,
    ) -> None:
        failed = int(np.argmin(converged))
        substrate = self.update.substrate
        # What a sample draws depends on its place in the batch.
        met, place = (inputs, failed) if key is not None else (inputs[failed : failed + 1], 0)
        (point,) = substrate.settle(params, met, [Free()], key=key)
        reason = substrate.explain(point, place)
        if np.asarray(point.converged)[place]:
            reason = "which settles free, but not nudged: lower the rule's beta"
        raise ConvergenceError(
            f"{int((~converged).sum())} of {len(rows)} samples of a batch have no operating point; "
            f"the first is sample {int(rows[failed])}, {reason}. Lower the "
            "learning rate, tighten the Box constraint, or raise training.max_unconverged to drop "
            "them."
        )

    def settle_all(
        self, params: Mapping[str, Array], inputs: Float[np.ndarray, "sample input"]
    ) -> AnySettled:
        """Return the free operating points of many samples."""
        parts = [point for _, point in self.settle_parts(params, inputs)]
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)

    def settle_parts(
        self, params: Mapping[str, Array], inputs: Float[np.ndarray, "sample input"]
    ) -> Iterator[tuple[slice, AnySettled]]:
        """Yield the free operating points of a part of the samples after the other."""
        substrate = self.update.substrate
        filled = substrate.traceable and not substrate.random_tests
        size = self._block if filled else EVALUATION_BATCH
        for start in range(0, len(inputs), size):
            part = slice(start, start + size)
            block = inputs[part]
            count = len(block)
            if filled and count < size:
                block = np.concatenate([block, np.repeat(block[:1], size - count, axis=0)])
            key = self.key(TESTED, start) if substrate.random_tests else None
            point = self.update.free(params, block, key)
            yield part, jax.tree.map(lambda leaf, count=count: np.asarray(leaf)[:count], point)

    @property
    def _block(self) -> int:
        """Samples that a compiled program settles at a time."""
        most = max(len(self.data.train_inputs), len(self.data.test_inputs))
        return min(most, COMPILED_BATCH)

    def evaluate(self, params: Mapping[str, Array], *, test: bool) -> dict[str, float]:
        """Return loss, accuracy and largest error of the training or the test samples."""
        d = self.data
        inputs, targets = (
            (d.test_inputs, d.test_targets) if test else (d.train_inputs, d.train_targets)
        )
        total = Tally()
        # All node voltages of all samples at once may not fit into memory.
        for part, point in self.settle_parts(params, inputs):
            outputs = np.asarray(self.update.substrate.outputs(point.state))
            batch = outputs, targets[part], np.asarray(point.converged)
            total += tally(*batch, data=d, cost=self.update.cost)
        return total.figures(d, "test_" if test else "train_")
