"""The process that computes cells: requests come in as JSON lines, results go out as bytes.

It is one process per ngspice, so that a crash or a hang of ngspice takes nothing else along. It
ends as soon as its parent does, whatever ended that.
"""

import json
import os
import queue
import struct
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from eqprop_spice.errors import Remark
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.sweeps.batch import BATCHED_KEYS, can_batch, run_batch
from eqprop_spice.sweeps.cell import CellResult, run_cell, to_bytes

HEADER = struct.Struct("<q")
"""Length of the answer that follows."""

LINES_KEPT = 3
"""Lines of a traceback that become a cell's error text: where it happened, and what."""


def compute(text: str, cells: Sequence[Mapping[str, Any]]) -> list[CellResult]:
    """Compute cells of one experiment, vectorised where it can be.

    Args:
        text: The TOML of the experiment.
        cells: The values by key that each cell puts in. Several cells differ in `BATCHED_KEYS`
            only.
    """
    try:
        experiment = Experiment.parse(text, source="cell", values=cells[0])
        if can_batch(experiment):
            varied = [{k: v for k, v in cell.items() if k in BATCHED_KEYS} for cell in cells]
            return run_batch(experiment, varied)
        if len(cells) == 1:
            return [run_cell(experiment)]
    except Exception as error:
        # The one place where any error becomes a result: of this cell, with its words.
        if len(cells) == 1:
            return [_crash(error)]
    return [result for cell in cells for result in compute(text, [cell])]


def _crash(error: Exception) -> CellResult:
    """Return an error as a result: what it is, and where it was raised."""
    where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
    lines = f"{type(error).__name__}: {error}\n{where}".splitlines()
    return CellResult.crash(" | ".join(line.strip() for line in lines[:LINES_KEPT]))


def _read_requests(source: BinaryIO, requests: "queue.Queue[bytes]") -> None:
    """Pass requests on until the parent closes the pipe, by design or by its end."""
    for line in source:
        requests.put(line)
    # The computation may hang inside ngspice: no cleaning up, no waiting.
    os._exit(0)


def main() -> None:
    """Answer requests until the standard input closes."""
    # What a cell should be told of stands in its figures.
    warnings.simplefilter("ignore", Remark)
    # What ngspice or a library prints goes to the standard error, not between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests: queue.Queue[bytes] = queue.Queue()
    reader = threading.Thread(target=_read_requests, args=(sys.stdin.buffer, requests), daemon=True)
    reader.start()
    answers.write(HEADER.pack(0))
    answers.flush()
    while True:
        request = json.loads(requests.get())
        content = to_bytes(compute(request["text"], request["cells"]))
        answers.write(HEADER.pack(len(content)) + content)
        answers.flush()


if __name__ == "__main__":
    main()
