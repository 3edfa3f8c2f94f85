"""Where cells are computed: a pool takes requests and answers each with results.

The pool of this machine is threads that each hold a process on a pipe: it opens no port and gives
nobody a way in. That of a cluster is in `cluster.py`.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from eqprop_spice.sweeps.cell import CellResult
from eqprop_spice.sweeps.supervisor import Supervisor


@dataclasses.dataclass(frozen=True)
class Request:
    """Cells to compute at a time.

    Attributes:
        text: The TOML of the experiment.
        cells: The values by key that each cell puts in.
        time_limit: How long the request may take [s].
        attempts: How often a single cell is tried whose process dies.
    """

    text: str
    cells: Sequence[Mapping[str, Any]]
    time_limit: float
    attempts: int


class PoolLost(Exception):
    """A pool went away, with the requests that it had; a new one may take them."""


class AbstractPool(abc.ABC):
    """Computes requests; a context manager that ends what is under way."""

    @property
    @abc.abstractmethod
    def num_threads(self) -> int:
        """How many requests are computed at the same time."""

    @property
    @abc.abstractmethod
    def is_lost(self) -> bool:
        """Whether the pool went away."""

    @abc.abstractmethod
    def submit(self, request: Request) -> "Future[list[CellResult]]":
        """Return the future results of a request; they raise `PoolLost` if the pool went away."""

    def __enter__(self) -> "AbstractPool":
        """Use the pool."""
        return self

    @abc.abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """End what is under way."""


class LocalPool(AbstractPool):
    """Processes of this machine, each on a pipe."""

    def __init__(self, num_workers: int) -> None:
        """Start nothing yet: processes start as requests come."""
        self._num_workers = num_workers
        self._supervisor = Supervisor()
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix="cells")

    @property
    def num_threads(self) -> int:
        """How many requests are computed at the same time."""
        return self._num_workers

    @property
    def is_lost(self) -> bool:
        """Never: the pool lives in this process."""
        return False

    def submit(self, request: Request) -> "Future[list[CellResult]]":
        """Return the future results of a request."""
        return self._threads.submit(
            self._supervisor.compute,
            request.text,
            request.cells,
            time_limit=request.time_limit,
            attempts=request.attempts,
        )

    def __exit__(self, *_: object) -> None:
        """End the processes, whatever they do."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._supervisor.close()
        self._threads.shutdown(wait=True)
