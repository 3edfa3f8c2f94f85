"""Computes the cells that a store misses, on processes here or on dask workers anywhere.

This process alone writes the store. Processes that die, and a scheduler that is restarted, cost the
cells that were under way, which are computed again.
"""

import dataclasses
import logging
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

import numpy as np

from eqprop_spice.errors import ConfigError
from eqprop_spice.sweeps.axes import Sweep
from eqprop_spice.sweeps.batch import BATCHED_KEYS, can_batch
from eqprop_spice.sweeps.cell import CellResult
from eqprop_spice.sweeps.cells import CELLS_PER_CHUNK
from eqprop_spice.sweeps.pool import AbstractPool, LocalPool, PoolLost, Request
from eqprop_spice.sweeps.store import Store
from eqprop_spice.sweeps.supervisor import Supervisor

logger = logging.getLogger(__name__)

TASKS_PER_THREAD = 3
"""Tasks handed to a pool at a time: enough that no worker waits, few enough that little is computed
again when a scheduler dies."""

BATCHES_PER_THREAD = 4
"""Batches that a worker gets at least, so that the load balances."""

SMALLEST_BATCH = 64
"""Fewer cells per batch would not pay for its compilation."""

TICK_SECONDS = 0.5
"""How often the progress is shown while nothing ends, and the pool is looked at."""

ESTIMATE_EPOCHS = 25
"""Epochs of the cells that an estimate is made from."""

RETRY_SECONDS = 60.0
"""How long a scheduler may go away again and again before a sweep gives up."""

Progress = Callable[[int, Mapping[str, int]], None]
"""Called with the number of cells done and how many have each status."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Cells that one worker computes at a time."""

    cells: tuple[int, ...]


def tasks_of(sweep: Sweep, cells: Sequence[int], num_threads: int) -> list[Task]:
    """Return the cells in portions: batches where they run vectorised, else one by one."""
    groups: dict[str, list[int]] = {}
    for cell in cells:
        values = sweep.values(cell)
        key = repr({k: v for k, v in values.items() if k not in BATCHED_KEYS})
        groups.setdefault(key, []).append(cell)
    tasks = []
    for members in groups.values():
        size = 1
        if can_batch(sweep.cell(members[0])):
            share = -(-len(members) // (BATCHES_PER_THREAD * num_threads))
            size = min(max(share, SMALLEST_BATCH), CELLS_PER_CHUNK)
        tasks += [Task(tuple(members[i : i + size])) for i in range(0, len(members), size)]
    return tasks


def execute(
    store: Store,
    *,
    scheduler: str | None = None,
    num_workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Compute all cells that have no result yet, or crashed.

    Args:
        store: Where the results go.
        scheduler: Address of a dask scheduler; None for processes on this machine.
        num_workers: How many processes then.
        progress: Called whenever something changes.

    Raises:
        ConfigError: If there is no scheduler, no process can be started, or another process writes
            the store.
        OSError: If the store cannot be written; what was written before is intact.
    """
    with store.locked():
        work, was_lost = _Work(store, progress), False
        last_written = time.monotonic()
        while work.left:
            before = len(work.left)
            try:
                with _pool(scheduler, num_workers) as pool:
                    work.compute(pool)
            except PoolLost:
                logger.warning("The scheduler went away; waiting for it to come back.")
                was_lost = True
            except ConfigError:
                # A scheduler that starts again may refuse at first.
                if not was_lost:
                    raise
                time.sleep(TICK_SECONDS)
            if len(work.left) < before:
                last_written = time.monotonic()
            elif time.monotonic() - last_written > RETRY_SECONDS:
                raise ConfigError(
                    f"The scheduler at {scheduler} went away again and again. What was computed is "
                    f"kept; continue with: eqprop-spice sweep --resume {store.path}"
                )


def _pool(scheduler: str | None, num_workers: int) -> AbstractPool:
    if scheduler is None:
        return LocalPool(num_workers)
    from eqprop_spice.sweeps.cluster import ClusterPool

    return ClusterPool(scheduler)


class _Work:
    """The cells still to compute, in the order of their numbers."""

    def __init__(self, store: Store, progress: Progress | None) -> None:
        self._store, self._progress = store, progress
        self.left: dict[int, None] = dict.fromkeys(store.unfinished().tolist())
        # Those that crashed are computed again.
        self._counts = store.counts() | {"crashed": 0}

    def compute(self, pool: AbstractPool) -> None:
        """Compute and write all that is left.

        Raises:
            PoolLost: If the pool went away.
        """
        sweep = self._store.sweep
        num_threads, counted = pool.num_threads, time.monotonic()
        waiting = tasks_of(sweep, list(self.left), num_threads)[::-1]
        finished: queue.SimpleQueue[Future[list[CellResult]]] = queue.SimpleQueue()
        running: dict[Future[list[CellResult]], Task] = {}
        while waiting or running:
            if time.monotonic() - counted > TICK_SECONDS:
                # Workers come and go; asking a scheduler for every cell would cost more than it.
                num_threads, counted = pool.num_threads, time.monotonic()
            while waiting and len(running) < TASKS_PER_THREAD * num_threads:
                task = waiting.pop()
                values = [sweep.values(cell) for cell in task.cells]
                request = Request(sweep.text, values, sweep.time_limit, sweep.attempts)
                future = pool.submit(request)
                running[future] = task
                future.add_done_callback(finished.put)
            try:
                future = finished.get(timeout=TICK_SECONDS)
            except queue.Empty:
                if pool.is_lost:
                    raise PoolLost from None
            else:
                self._write(running.pop(future), future.result())
            if self._progress is not None:
                self._progress(sum(self._counts.values()), self._counts)

    def _write(self, task: Task, results: list[CellResult]) -> None:
        assert len(results) == len(task.cells)
        self._store.write(task.cells, results)
        for cell, result in zip(task.cells, results, strict=True):
            del self.left[cell]
            self._counts[result.status] += 1


def estimate_seconds(sweep: Sweep, num_workers: int) -> float:
    """Return about how long a sweep takes [s], from a few cells with few epochs.

    The first request compiles; the second is what counts.
    """
    cells = tasks_of(sweep, list(range(min(sweep.num_cells, SMALLEST_BATCH))), num_workers)[0].cells
    epochs = {"training.epochs": min(sweep.num_epochs, ESTIMATE_EPOCHS)}
    values = [sweep.values(cell) | epochs for cell in cells]
    supervisor = Supervisor()
    try:
        for _ in range(2):
            started = time.monotonic()
            supervisor.compute(sweep.text, values, time_limit=sweep.time_limit, attempts=1)
            seconds = time.monotonic() - started
    finally:
        supervisor.close()
    per_cell = seconds / len(cells) * sweep.num_epochs / epochs["training.epochs"]
    return float(np.ceil(sweep.num_cells * per_cell / num_workers))
