"""Curves for TensorBoard, in files below the run folder."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eqprop_spice.errors import ConfigError
from eqprop_spice.logs.base import AbstractLog, Figures

FOLDER = "tensorboard"
"""Where the files lie in a run folder."""

FLUSH_SECONDS = 5
"""How old what TensorBoard shows may be."""


class TensorBoardLog(AbstractLog):
    """Writes a curve for every figure.

    The files are begun anew with all that the checkpoint knows, so that no epoch is in them twice.
    """

    name = "TensorBoard"
    module = "tensorboardX"
    extra = "tensorboard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._writer: Any = None

    def begin(self, rows: Sequence[Figures]) -> None:
        """Write the curves so far."""
        from tensorboardX import SummaryWriter

        if self._folder.is_symlink():
            raise ConfigError(f"{self._folder} is a link, and nothing is written through links.")
        for path in self._folder.glob("events.out.tfevents.*"):
            path.unlink()
        self._writer = SummaryWriter(
            str(self._folder), flush_secs=FLUSH_SECONDS, write_to_disk=True
        )
        for number, figures in enumerate(rows, start=1):
            self.epoch(number, figures)

    def epoch(self, number: int, figures: Figures) -> None:
        """Add a point to every curve."""
        for name, value in figures.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, value, number)

    def end(self, results: Mapping[str, Any]) -> None:
        """Write the results as a text."""
        lines = [f"    {name}: {value}" for name, value in results.items()]
        self._writer.add_text("results", "\n".join(lines))

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
