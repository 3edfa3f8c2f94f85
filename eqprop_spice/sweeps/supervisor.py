"""Keeps the processes that compute cells: a crash or a hang of one becomes a cell's status."""

import contextlib
import json
import queue
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

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
            [sys.executable, "-m", "eqprop_spice.sweeps.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C in a terminal is for the sweep, which then stops its processes.
            start_new_session=True,
        )
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

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class Supervisor:
    """Computes cells in processes of their own, one per calling thread."""

    def __init__(self) -> None:
        """Start without a process; the first cell starts one."""
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()

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
        """
        started = time.monotonic()
        for attempt in range(1, attempts + 1):
            child = self._child()
            try:
                results = child.compute(text, cells, time_limit)
            except TimeoutError:
                child.kill()
                error = f"the cell took longer than {time_limit:g} s"
                break
            except _ChildEnded as ended:
                child.kill()
                error = f"{ended} (attempt {attempt} of {attempts})"
            except BaseException:
                child.kill()
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
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return _Child()

    def close(self) -> None:
        """End all idle processes."""
        while True:
            try:
                self._idle.get_nowait().kill()
            except queue.Empty:
                return
