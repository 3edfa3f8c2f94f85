"""Keeps the processes that compute cells: a crash or a hang of one becomes a cell's status."""

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from eqprop_spice.arrays import CORES_VARIABLE
from eqprop_spice.errors import ConfigError
from eqprop_spice.sweeps.cell import CellResult, from_bytes
from eqprop_spice.sweeps.child import HEADER

START_SECONDS = 120.0
"""How long a process may take to import what it needs, on a loaded machine."""

PART = 1 << 20
"""Bytes read at a time."""


class _ChildEnded(Exception):
    """The process ended by itself: a signal or an exit status."""


class _Child:
    """One process that computes cells."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            # Only what is installed can be imported, nothing from the working folder.
            [sys.executable, "-P", "-m", "eqprop_spice.sweeps.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_safe_environment(),
            # Ctrl-C in a terminal is for the sweep, which then stops its processes.
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        """Wait until the process has imported what it needs.

        Raises:
            TimeoutError: If it takes too long.
            _ChildEnded: If the process ends.
        """
        self._receive(START_SECONDS)

    def compute(
        self, text: str, cells: Sequence[Mapping[str, Any]], seconds: float
    ) -> list[CellResult]:
        """Return the results of cells.

        Raises:
            TimeoutError: If they take longer.
            _ChildEnded: If the process ends.
        """
        request = json.dumps({"text": text, "cells": list(cells)}).encode() + b"\n"
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise _ChildEnded(self._last_words()) from None
        return from_bytes(self._receive(seconds))

    def _receive(self, seconds: float) -> bytes:
        """Return the next answer."""
        deadline = time.monotonic() + seconds
        (length,) = HEADER.unpack(self._read(HEADER.size, deadline))
        return self._read(length, deadline)

    def _read(self, count: int, deadline: float) -> bytes:
        pipe = self._process.stdout
        assert pipe is not None
        parts = []
        while count:
            ready, _, _ = select.select([pipe], [], [], max(deadline - time.monotonic(), 0.0))
            if not ready:
                raise TimeoutError
            part = pipe.raw.read(min(count, PART))  # pyright: ignore[reportAttributeAccessIssue]
            if not part:
                raise _ChildEnded(self._last_words())
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _last_words(self) -> str:
        """Return what ended the process."""
        status = self._process.wait()
        if status < 0:
            return f"the process was ended by {signal.Signals(-status).name}"
        return f"the process ended with status {status}"

    def signal(self) -> None:
        """End the process, whatever it does; who waits for its answer learns it from the pipe."""
        self._process.kill()

    def kill(self) -> None:
        """End the process and close its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _safe_environment() -> dict[str, str]:
    """Return the environment, without what makes Python import from the working folder.

    Every core has a process, so that a process has one core unless the user says otherwise.
    """
    environment = {CORES_VARIABLE: "1"} | os.environ
    if "PYTHONPATH" in environment:
        # An empty or relative entry means a place that depends on the working folder.
        entries = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(filter(os.path.isabs, entries))
    return environment


class Supervisor:
    """Computes cells in processes of their own, one per calling thread."""

    def __init__(self) -> None:
        """Start without a process; the first cell starts one."""
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._children: set[_Child] = set()
        self._closed = False

    def compute(
        self,
        text: str,
        cells: Sequence[Mapping[str, Any]],
        *,
        time_limit: float,
        attempts: int,
    ) -> list[CellResult]:
        """Return the results of cells, whatever happens to the process that computes them.

        Several cells whose process dies or runs out of time are computed again in halves, until
        the one that is to blame stands alone.

        Args:
            text: The TOML of the experiment.
            cells: The values by key that each cell puts in.
            time_limit: How long the request may take [s].
            attempts: How often a single cell is tried whose process dies.

        Raises:
            ConfigError: If no process can be started.
        """
        started = time.monotonic()
        for attempt in range(1, attempts + 1):
            child = self._child()
            try:
                results = child.compute(text, cells, time_limit)
            except TimeoutError:
                self._end(child)
                error = f"the cell took longer than {time_limit:g} s"
                break
            except _ChildEnded as ended:
                self._end(child)
                error = f"{ended} (attempt {attempt} of {attempts})"
            except BaseException:
                self._end(child)
                raise
            else:
                self._idle.put(child)
                return results
            if len(cells) > 1:
                break
        if len(cells) > 1:
            half = len(cells) // 2
            parts = (cells[:half], cells[half:])
            return [
                result
                for part in parts
                for result in self.compute(text, part, time_limit=time_limit, attempts=attempts)
            ]
        return [CellResult.crash(error, time.monotonic() - started)]

    def _child(self) -> _Child:
        """Return a process that waits for requests."""
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            pass
        try:
            with self._lock:
                if self._closed:
                    raise _ChildEnded("the sweep was stopped")
                child = _Child()
                self._children.add(child)
            try:
                child.wait_until_ready()
            except BaseException:
                self._end(child)
                raise
        except (OSError, _ChildEnded) as error:
            raise ConfigError(
                f"No process that computes cells can be started: {error or 'it took too long'}. "
                "What it printed stands above; fewer workers need less memory and fewer files."
            ) from error
        return child

    def _end(self, child: _Child) -> None:
        child.kill()
        with self._lock:
            self._children.discard(child)

    def close(self) -> None:
        """End all processes, whatever they do; none is started any more."""
        with self._lock:
            self._closed = True
            for child in self._children:
                child.signal()
        with contextlib.suppress(queue.Empty):
            while True:
                self._end(self._idle.get_nowait())
