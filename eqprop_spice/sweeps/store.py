"""The results of a sweep on disk: one labelled dataset in a zarr store, written cell by cell.

A cell's status is written last, after its figures are on the disk: a cell that has a status is
whole, whatever stopped the process or the machine, and writing it again changes nothing.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import xarray as xr

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.files import locked, new_folder, numbered_folder, unused_name
from eqprop_spice.results.provenance import provenance
from eqprop_spice.sweeps.axes import Sweep, sweep_of
from eqprop_spice.sweeps.cell import STATUSES, CellResult
from eqprop_spice.sweeps.cells import (
    coordinates,
    create_arrays,
    data_attributes,
    described,
    open_arrays,
    read,
    read_attributes,
)
from eqprop_spice.sweeps.earlier import convert, is_earlier

EARLIER = "cells_earlier.zarr"
"""Where results that an earlier version wrote are kept as they were."""


class Store:
    """A folder with the sweep's `experiment.toml`, its results in `cells.zarr`, and figures."""

    def __init__(self, path: Path, sweep: Sweep) -> None:
        """Use `create` or `open` instead."""
        self.path, self.sweep = path, sweep
        self._arrays = open_arrays(path / "cells.zarr", sweep)

    @classmethod
    def create(
        cls, sweep: Sweep, out: str | Path | None = None, *, suffix: str = "sweep"
    ) -> "Store":
        """Make a new folder for a sweep.

        Args:
            sweep: What will be computed.
            out: The folder; None for the next free number under `runs/`.
            suffix: What the name of such a folder ends with, before the number.

        Raises:
            ConfigError: If the folder exists.
        """
        content = sweep.text.encode()
        if out is None:
            stem = Path("runs") / f"{sweep.experiment.table.name}_{suffix}"
            return cls._filled(numbered_folder(stem, content), sweep)
        if not new_folder(Path(out), content):
            raise ConfigError(
                f"{out} exists already. Choose another --out, or compute what is missing there "
                f"with --resume {out}."
            )
        return cls._filled(Path(out), sweep)

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open the folder of a sweep.

        Raises:
            ConfigError: If it is none.
        """
        path = Path(path)
        if not (path / "experiment.toml").is_file():
            raise ConfigError(
                f"{path} is not the folder of a sweep: it has no experiment.toml. `eqprop-spice "
                "sweep` prints the folder it writes."
            )
        experiment = Experiment.load(path / "experiment.toml", trusted=False)
        return cls._filled(path, sweep_of(experiment, needs_goal=False))

    @classmethod
    def _filled(cls, path: Path, sweep: Sweep) -> "Store":
        """Make the dataset where it is not there yet, complete or not at all.

        That of an earlier version is set aside, and what is made holds its results.
        """
        cells, earlier = path / "cells.zarr", path / EARLIER
        if is_earlier(cells, sweep):
            with locked(path):
                os.rename(cells, earlier)
        if not cells.is_dir():
            unfinished = path / unused_name()
            try:
                if earlier.is_dir():
                    convert(earlier, unfinished, sweep)
                else:
                    create_arrays(unfinished, sweep, provenance())
                os.rename(unfinished, cells)
            except OSError as error:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise ConfigError(
                    f"The results of a sweep cannot be laid out in {path}: {error.strerror}. "
                    f"Make room, and begin with --resume {path}."
                ) from error
        return cls(path, sweep)

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from writing; see `files.locked`."""
        return locked(self.path)

    def missing(self) -> np.ndarray:
        """Return the numbers of the cells that have no status, in ascending order."""
        return np.flatnonzero(self._statuses() == "")

    def unfinished(self) -> np.ndarray:
        """Return the numbers of the cells without a verdict, in ascending order.

        A cell that crashed has none: its process died, ran out of time or raised an error, all of
        which may lie with the machine.
        """
        statuses = self._statuses()
        return np.flatnonzero((statuses == "") | (statuses == "crashed"))

    def _statuses(self) -> np.ndarray:
        return read(self._arrays["status"]).astype(object).ravel()

    def write(self, cells: Sequence[int], results: Sequence[CellResult]) -> None:
        """Write cells; those of one chunk together, their status last.

        Raises:
            OSError: If something cannot be written; the cells of earlier calls are intact.
        """
        status = self._arrays["status"]
        positions = np.stack(np.unravel_index(np.asarray(cells, int), self.sweep.shape), axis=1)
        chunks = positions // np.array(status.chunks)
        for chunk in np.unique(chunks, axis=0):
            which = np.flatnonzero((chunks == chunk).all(1)).tolist()
            low = chunk * np.array(status.chunks)
            high = np.minimum(low + np.array(status.chunks), self.sweep.shape)
            region = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
            inside = [tuple((positions[i] - low).tolist()) for i in which]
            self._write_chunk(region, inside, [results[i] for i in which])

    def _write_chunk(
        self, region: tuple[slice, ...], inside: list[tuple], results: list[CellResult]
    ) -> None:
        # The folder of an earlier version may have fewer.
        names = sorted({n for result in results for n in result.figures if n in self._arrays})
        size = tuple(part.stop - part.start for part in region)
        whole = len(inside) == np.prod(size)
        for name in (*names, "seconds", "error", "status"):
            array = self._arrays[name]
            if name == "error" and not any(result.error for result in results):
                if (read(array, region) == "").all():
                    continue
            dtype = object if name in ("error", "status") else float
            if whole:
                block = np.empty((*size, *array.shape[len(size) :]), dtype)
            else:
                block = read(array, region).astype(dtype)
            for position, result in zip(inside, results, strict=True):
                if name in names:
                    column = result.figures.get(name, np.zeros(0))
                    block[position] = np.nan
                    block[(*position, slice(len(column)))] = column
                else:
                    block[position] = getattr(result, name)
            array[region] = block

    def dataset(self) -> xr.Dataset:
        """Return everything as a labelled dataset in memory."""
        variables = {}
        for name, array in self._arrays.items():
            values = read(array)
            if values.dtype.kind != "f":
                values = values.astype(object)
            variables[name] = (array.metadata.dimension_names, values, data_attributes(name))
        labels = {
            name: (name, values, dict(attributes))
            for name, (values, attributes) in coordinates(self.sweep).items()
        }
        # What the sweep itself says is not taken from a file that may be damaged.
        attributes = read_attributes(self.path / "cells.zarr") | described(self.sweep)
        return xr.Dataset(variables, labels, attributes)

    def counts(self) -> dict[str, int]:
        """Return how many cells have each status."""
        statuses = self._statuses()
        return {name: int((statuses == name).sum()) for name in STATUSES}
