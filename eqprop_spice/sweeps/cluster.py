"""A pool of dask workers, which compute cells anywhere.

Whoever reaches a scheduler can run code on it. The page on clusters says how to keep others out.
"""

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import distributed

from eqprop_spice.errors import ConfigError
from eqprop_spice.sweeps.cell import CellResult, from_bytes, to_bytes
from eqprop_spice.sweeps.pool import AbstractPool, PoolLost, Request
from eqprop_spice.sweeps.supervisor import Supervisor

PLUGIN = "eqprop-spice-cells"

CONNECT_SECONDS = 60.0
"""How long to wait for a scheduler that went away."""


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


class _Client(distributed.Client):
    """A client that ends with its connection; whoever wants to go on makes a new one.

    dask's own reconnects beside what closes the client, and where its attempt fails in a way that
    it does not expect (a TLS connection that ends while it begins), closing waits for minutes.
    """

    async def _reconnect(self) -> None:
        await self._close()


def compute_request(request: Request) -> bytes:
    """Compute cells on a worker; see `Supervisor.compute`."""
    plugin = distributed.get_worker().plugins[PLUGIN]
    assert isinstance(plugin, CellPlugin)
    results = plugin.supervisor.compute(
        request.text, request.cells, time_limit=request.time_limit, attempts=request.attempts
    )
    return to_bytes(results)


class ClusterPool(AbstractPool):
    """The workers of a dask scheduler."""

    def __init__(self, scheduler: str) -> None:
        """Connect to a scheduler.

        Raises:
            ConfigError: If there is none.
        """
        with contextlib.ExitStack() as surroundings:
            surroundings.enter_context(_without_dask_logs())
            try:
                client = _Client(scheduler, timeout=CONNECT_SECONDS, direct_to_workers=False)
            except (OSError, ValueError, RuntimeError, TypeError) as error:
                raise ConfigError(
                    f"There is no dask scheduler at {scheduler} ({error}). Start one with `dask "
                    "scheduler`, and workers with `dask worker`; a tls:// address needs the "
                    "settings of docs/cluster.md."
                ) from error
            surroundings.enter_context(client)
            client.register_plugin(CellPlugin())
            self._client, self._surroundings = client, surroundings.pop_all()

    @property
    def num_threads(self) -> int:
        """How many requests the workers compute at the same time."""
        with self._answering():
            threads: Any = self._client.nthreads()
        return max(sum(threads.values()), 1)

    @property
    def is_lost(self) -> bool:
        """Whether the scheduler went away."""
        return self._client.status != "running"

    def submit(self, request: Request) -> "Future[list[CellResult]]":
        """Return the future results of a request.

        Cells whose worker died again and again are crashes.
        """
        answer: Future[list[CellResult]] = Future()

        def pass_on(future: distributed.Future) -> None:
            if future.status in ("cancelled", "lost"):
                answer.set_exception(PoolLost())
            elif future.status == "error":
                error = future.exception()
                text = f"{type(error).__name__}: {error}"
                answer.set_result([CellResult.crash(text) for _ in request.cells])
            else:
                answer.set_result(from_bytes(future.result()))

        with self._answering():
            future = self._client.submit(compute_request, request, pure=False)
            future.add_done_callback(pass_on)
        return answer

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Call a pool lost whose scheduler does not answer; dask says it in many ways."""
        try:
            yield
        except Exception as error:
            if self.is_lost or isinstance(error, OSError):
                raise PoolLost from error
            raise

    def __exit__(self, *error: Any) -> None:
        """Forget what is under way, and disconnect."""
        self._surroundings.__exit__(*error)


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
