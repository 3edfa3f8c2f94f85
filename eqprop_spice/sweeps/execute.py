"""Computes the cells that a store misses, on dask workers here or anywhere.

This process alone writes the store. Workers that die, and a scheduler that is restarted, cost the
cells that were under way, which are computed again.
"""

import contextlib
import dataclasses
import logging
import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import distributed
import numpy as np

from eqprop_spice.errors import ConfigError
from eqprop_spice.sweeps.axes import Sweep
from eqprop_spice.sweeps.batch import BATCHED_KEYS, can_batch
from eqprop_spice.sweeps.cell import CellResult, from_bytes, to_bytes
from eqprop_spice.sweeps.store import CELLS_PER_CHUNK, Store
from eqprop_spice.sweeps.supervisor import Supervisor

logger = logging.getLogger(__name__)

PLUGIN = "eqprop-spice-cells"

TASKS_PER_THREAD = 3
"""Tasks handed to the scheduler at a time: enough that no worker waits, few enough that little is
computed again when the scheduler dies."""

BATCHES_PER_THREAD = 4
"""Batches that a worker gets at least, so that the load balances."""

SMALLEST_BATCH = 64
"""Fewer cells per batch would not pay for its compilation."""

TICK_SECONDS = 0.5
"""How often the progress is shown while nothing ends, and the scheduler is looked at."""

ESTIMATE_EPOCHS = 25
"""Epochs of the cells that an estimate is made from."""

RECONNECT_SECONDS = 60.0
"""How long to wait for a scheduler that went away."""

Progress = Callable[[int, Mapping[str, int]], None]
"""Called with the number of cells done and how many have each status."""


class CellPlugin(distributed.WorkerPlugin):
    """Gives a worker its supervisor."""

    name = PLUGIN

    def setup(self, worker: Any) -> None:
        """Start with the worker."""
        self.supervisor = Supervisor()

    def teardown(self, worker: Any) -> None:
        """End with the worker."""
        self.supervisor.close()

    def __getstate__(self) -> dict[str, Any]:
        """A supervisor is a worker's own; it does not travel."""
        return {}


@dataclasses.dataclass(frozen=True)
class Task:
    """Cells that one worker computes at a time."""

    cells: tuple[int, ...]


def compute_task(
    text: str, cells: Sequence[Mapping[str, Any]], time_limit: float, attempts: int
) -> bytes:
    """Compute cells on a worker; see `Supervisor.compute`."""
    plugin = distributed.get_worker().plugins[PLUGIN]
    assert isinstance(plugin, CellPlugin)
    results = plugin.supervisor.compute(text, cells, time_limit=time_limit, attempts=attempts)
    return to_bytes(results)


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


@contextlib.contextmanager
def connected(scheduler: str | None, num_workers: int) -> Iterator["distributed.Client"]:
    """Connect to a scheduler, or start workers here: processes, one thread each."""
    if scheduler is not None:
        try:
            client = distributed.Client(
                scheduler, timeout=RECONNECT_SECONDS, direct_to_workers=False
            )
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"There is no dask scheduler at {scheduler} ({error}). Start one with `dask "
                "scheduler`, and workers with `dask worker`."
            ) from error
        with client:
            yield client
        return
    with (
        distributed.LocalCluster(
            n_workers=num_workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            # Any free port: another sweep may run on this machine.
            dashboard_address=":0",
            silence_logs=logging.ERROR,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def execute(
    store: Store,
    *,
    scheduler: str | None = None,
    num_workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Compute all cells that the store misses.

    Args:
        store: Where the results go.
        scheduler: Address of a dask scheduler; None for processes on this machine.
        num_workers: How many processes then.
        progress: Called whenever something changes.

    Raises:
        ConfigError: If there is no scheduler, or another process writes the store.
        OSError: If the store cannot be written; what was written before is intact.
    """
    with store.locked(), _without_dask_logs():
        lost_since: float | None = None
        while len(missing := store.missing()):
            with connected(scheduler, num_workers) as client:
                try:
                    written = _round(store, client, missing.tolist(), progress)
                except _SchedulerLost:
                    logger.warning("The scheduler went away; waiting for it to come back.")
                    written = 0
            if written or lost_since is None:
                lost_since = time.monotonic()
            elif time.monotonic() - lost_since > RECONNECT_SECONDS:
                raise ConfigError(
                    f"The scheduler at {scheduler} went away again and again. What was computed is "
                    f"kept; continue with: eqprop-spice sweep --resume {store.path}"
                )


@contextlib.contextmanager
def _without_dask_logs() -> Iterator[None]:
    """Keep dask from printing tracebacks of lost connections, which are handled here."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class _SchedulerLost(Exception):
    """The scheduler went away, with all that it knew."""


def _round(
    store: Store,
    client: "distributed.Client",
    cells: list[int],
    progress: Progress | None,
) -> int:
    """Compute cells until all are written or the scheduler is lost; return how many were."""
    sweep = store.sweep
    client.register_plugin(CellPlugin())
    num_threads, counted = _num_threads(client), time.monotonic()
    waiting = tasks_of(sweep, cells, num_threads)[::-1]
    finished: queue.SimpleQueue[distributed.Future] = queue.SimpleQueue()
    running: dict[Any, tuple[distributed.Future, Task]] = {}
    counts = store.counts()
    written = 0
    while waiting or running:
        if time.monotonic() - counted > TICK_SECONDS:
            # Workers come and go; asking the scheduler for every cell would cost more than it.
            num_threads, counted = _num_threads(client), time.monotonic()
        while waiting and len(running) < TASKS_PER_THREAD * num_threads:
            task = waiting.pop()
            future = client.submit(
                compute_task,
                sweep.text,
                [sweep.values(cell) for cell in task.cells],
                sweep.time_limit,
                sweep.attempts,
                pure=False,
            )
            running[future.key] = (future, task)
            future.add_done_callback(finished.put)
        try:
            future = finished.get(timeout=TICK_SECONDS)
        except queue.Empty:
            if client.status != "running":
                raise _SchedulerLost from None
        else:
            _, task = running.pop(future.key)
            results = _results(future, task)
            store.write(task.cells, results)
            written += len(results)
            for result in results:
                counts[result.status] += 1
        if progress is not None:
            progress(sum(counts.values()), counts)
    return written


def _num_threads(client: "distributed.Client") -> int:
    """Return how many cells the workers compute at the same time."""
    threads: Any = client.nthreads()
    return max(sum(threads.values()), 1)


def _results(future: "distributed.Future", task: Task) -> list[CellResult]:
    """Return a task's results; those of cells whose worker died again and again are crashes."""
    if future.status in ("cancelled", "lost"):
        raise _SchedulerLost
    if future.status == "error":
        error = future.exception()
        text = f"{type(error).__name__}: {error}"
        return [CellResult.crash(text) for _ in task.cells]
    results = from_bytes(future.result())
    assert len(results) == len(task.cells)
    return results


def default_workers() -> int:
    """Return how many processes this machine computes with."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
