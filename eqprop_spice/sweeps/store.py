"""The results of a sweep on disk: one labelled dataset in a zarr store, written cell by cell.

A cell's status is written last, after its figures are on the disk: a cell that has a status is
whole, whatever stopped the process or the machine, and writing it again changes nothing.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.files import locked, new_folder, numbered_folder, write_atomically
from eqprop_spice.results.run import provenance
from eqprop_spice.sweeps.axes import Axis, Sweep, sweep_of
from eqprop_spice.sweeps.batch import can_batch
from eqprop_spice.sweeps.cell import STATUSES, CellResult, figure_names
from eqprop_spice.training.history import UNITS

CELLS_PER_CHUNK = 512
"""Most cells that share a file, where cells come in batches; where they come one by one, each has
its own."""

DESCRIPTIONS = {
    "loss": "Mean cost after this many epochs of updates",
    "max_error": "Largest error of any output after this many epochs of updates",
    "num_unconverged": "Samples that did not converge in every phase, in the epoch that follows",
    "accuracy": "Share of samples decided rightly after this many epochs of updates",
    "test_max_error": "Largest error of any output of the test samples",
    "test_accuracy": "Share of test samples decided rightly",
    "seconds": "Time of the cell; of a batch, its share",
    "status": "What became of the cell; empty if it has not ended",
    "error": "What went wrong",
}


class _DurableStore(LocalStore):
    """A zarr store in a folder whose files are on the disk when a write returns."""

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(write_atomically, path, value.to_bytes())


class Store:
    """A folder with the sweep's `experiment.toml`, its results in `cells.zarr`, and figures."""

    def __init__(self, path: Path, sweep: Sweep) -> None:
        """Use `create` or `open` instead."""
        self.path, self.sweep = path, sweep
        group = zarr.open_group(_DurableStore(path / "cells.zarr"), mode="r+")
        # Looked up once: every lookup reads the array's metadata from the disk.
        self._arrays: dict[str, Any] = dict(group.arrays())

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
        """Make the empty dataset where it is not there yet, complete or not at all."""
        if not (path / "cells.zarr").is_dir():
            unfinished = path / f".cells.zarr.{os.getpid()}.partial"
            _create_arrays(unfinished, sweep)
            os.rename(unfinished, path / "cells.zarr")
        return cls(path, sweep)

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from writing; see `files.locked`."""
        return locked(self.path)

    def _array(self, name: str) -> Any:
        return self._arrays[name]

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
        return np.asarray(self._array("status")[...]).astype(object).ravel()

    def write(self, cells: Sequence[int], results: Sequence[CellResult]) -> None:
        """Write cells; those of one chunk together, their status last.

        Raises:
            OSError: If something cannot be written; the cells of earlier calls are intact.
        """
        status = self._array("status")
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
            array = self._array(name)
            if name == "error" and not any(result.error for result in results):
                if (np.asarray(array[region]) == "").all():
                    continue
            dtype = object if name in ("error", "status") else float
            if whole:
                block = np.empty((*size, *array.shape[len(size) :]), dtype)
            else:
                block = np.array(array[region]).astype(dtype)
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
        with xr.open_zarr(self.path / "cells.zarr", consolidated=False) as lazy:
            dataset = lazy.load()
        for name in ("status", "error"):
            dataset[name] = dataset[name].astype(object)
        return dataset

    def counts(self) -> dict[str, int]:
        """Return how many cells have each status."""
        statuses = self._statuses()
        return {name: int((statuses == name).sum()) for name in STATUSES}


def _create_arrays(path: Path, sweep: Sweep) -> None:
    """Make the dataset with nothing in it."""
    group = zarr.create_group(LocalStore(path), overwrite=True)
    dims = [axis.name for axis in sweep.axes]
    cells = _chunk_shape(sweep)
    epochs = sweep.num_epochs + 1
    for name in figure_names(sweep.experiment):
        _create(group, name, (*sweep.shape, epochs), (*cells, epochs), [*dims, "epoch"], np.nan)
    _create(group, "seconds", sweep.shape, cells, dims, np.nan)
    for name in ("error", "status"):
        _create(group, name, sweep.shape, cells, dims, "")
    _coordinate(group, "epoch", np.arange(epochs), {"units": "1"})
    for axis in sweep.axes:
        _coordinate(group, axis.name, _labels(axis), {"units": axis.unit, "keys": [*axis.keys]})
    group.attrs.update(
        {
            "name": sweep.experiment.table.name,
            "dimensions": dims,
            "experiment": sweep.text,
            "coordinates": " ".join(["epoch", *dims]),
            **provenance(),
        }
    )


def _labels(axis: Axis) -> np.ndarray:
    values = np.array(axis.labels)
    return values.astype(object) if values.dtype.kind == "U" else values


def _chunk_shape(sweep: Sweep) -> tuple[int, ...]:
    """Return how many cells share a file along each axis."""
    left = CELLS_PER_CHUNK if can_batch(sweep.cell(0)) else 1
    shape = []
    for length in reversed(sweep.shape):
        shape.append(max(min(length, left), 1))
        left //= shape[-1]
    return tuple(reversed(shape))


def _create(
    group: zarr.Group, name: str, shape: tuple, chunks: tuple, dims: list[str], empty: Any
) -> None:
    array = group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype=str if isinstance(empty, str) else "f8",
        fill_value=empty,
        dimension_names=dims,
    )
    array.attrs.update({"units": UNITS.get(name, "1"), "long_name": DESCRIPTIONS[name]})


def _coordinate(group: zarr.Group, name: str, values: np.ndarray, attributes: dict) -> None:
    dtype = str if values.dtype == object else values.dtype
    array = group.create_array(name, shape=values.shape, dtype=dtype, dimension_names=[name])
    array[...] = values
    array.attrs.update(attributes)
