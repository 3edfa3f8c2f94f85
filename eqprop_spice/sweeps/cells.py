"""The zarr arrays of a store, in the one format that this package writes.

What an array is follows from the sweep alone: its shape, type, chunks and codecs. So the folder of
a stranger is compared with that before zarr opens anything of it, since a codec that its metadata
name may execute code; and a chunk is read only if it has the size that it must have. The
coordinates follow from the sweep too: they are written for others and never read.
"""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import ByteRequest
from zarr.codecs import BytesCodec, Crc32cCodec, VLenUTF8Codec
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore, MemoryStore

from eqprop_spice.errors import ConfigError
from eqprop_spice.files import read_bounded, write_inside
from eqprop_spice.sweeps.axes import Axis, Sweep
from eqprop_spice.sweeps.batch import can_batch
from eqprop_spice.sweeps.cell import MAX_ERROR_LENGTH, figure_names
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

METADATA = "zarr.json"
MAX_METADATA = 10_000_000
"""Largest file of metadata that is read [bytes]: it holds the experiment's text."""

CHECKSUM_BYTES = 4
LENGTH_BYTES = 4
"""A text is stored behind its length, all texts of a chunk behind their number."""

MAX_CHARACTER_BYTES = 4

CODECS: dict[bool, dict[str, Any]] = {
    False: {"serializer": BytesCodec(), "compressors": [Crc32cCodec()], "filters": None},
    True: {"serializer": VLenUTF8Codec(), "compressors": [Crc32cCodec()], "filters": None},
}
"""How arrays of numbers and of texts are stored: as they are, with a checksum. Nothing is
compressed, so that the size of a file tells what reading it takes."""


class CellFiles(LocalStore):
    """A folder of zarr arrays whose files are on the disk when a write returns.

    Chunks are read only if they have the size that they must have.
    """

    def __init__(self, root: Path, arrays: Mapping[str, Mapping[str, Any]]) -> None:
        """Use a folder whose arrays have this metadata, by name."""
        super().__init__(root)
        self._metadata = arrays

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the content of a file, None if there is none."""
        try:
            content = await asyncio.to_thread(self._content, key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return (prototype or default_buffer_prototype()).buffer.from_bytes(content)

    def _content(self, key: str) -> bytes:
        path = self.root / key
        if path.name == METADATA:
            return read_bounded(path, limit=MAX_METADATA)
        array = self._metadata[key.split("/")[0]]
        count = math.prod(array["chunk_grid"]["configuration"]["chunk_shape"])
        if array["data_type"] != "string":
            size = count * np.dtype(array["data_type"]).itemsize + CHECKSUM_BYTES
            content = read_bounded(path, limit=size)
            good = len(content) == size
        else:
            text = LENGTH_BYTES + MAX_CHARACTER_BYTES * MAX_ERROR_LENGTH
            content = read_bounded(path, limit=LENGTH_BYTES + count * text + CHECKSUM_BYTES)
            good = int.from_bytes(content[:LENGTH_BYTES], "little") == count
        if not good:
            raise damaged(path, f"it should hold {count} values")
        return content

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        name = f"{self.root.name}/{key}"
        await asyncio.to_thread(write_inside, self.root.parent, name, value.to_bytes())


def damaged(path: Path, why: str) -> ConfigError:
    """Return the error that names a file which is not what it should be."""
    return ConfigError(
        f"{path} was not written by this version of the program: {why}. Remove it, if only this "
        "file is damaged: what it held is computed again by --resume. Else sweep into a new folder."
    )


ALWAYS_RECORDED = ("loss", "max_error")
"""Figures that stores of every version have."""


def open_arrays(folder: Path, sweep: Sweep) -> dict[str, Any]:
    """Open the arrays of a sweep.

    Returns:
        Them by name; those that an earlier version did not record are left out.

    Raises:
        ConfigError: If one of them is not what this package writes for this sweep.
    """
    found = {}
    for name, metadata in metadata_of(sweep).items():
        path = folder / name / METADATA
        try:
            content = read_bounded(path, limit=MAX_METADATA)
        except FileNotFoundError:
            if name in figure_names(sweep.experiment) and name not in ALWAYS_RECORDED:
                continue
            raise damaged(path, "it is missing") from None
        except OSError as error:
            raise damaged(path, str(error)) from error
        if stated(parsed(path, content)) != stated(metadata):
            raise damaged(path, "its type, shape, chunks or codecs are others")
        found[name] = metadata
    files = CellFiles(folder, found)
    return {name: zarr.open_array(files, path=name, mode="r+", zarr_format=3) for name in found}


def read(array: Any, region: Any = ...) -> np.ndarray:
    """Return a part of an opened array.

    Raises:
        ConfigError: If a file is damaged.
    """
    try:
        return np.asarray(array[region])
    except ConfigError:
        raise
    except (ValueError, OSError) as error:
        raise damaged(Path(array.store.root) / array.path, str(error)) from error


def read_attributes(folder: Path) -> dict[str, Any]:
    """Return what is noted of a store as a whole, such as the versions that made it."""
    path = folder / METADATA
    try:
        found = parsed(path, read_bounded(path, limit=MAX_METADATA)).get("attributes")
    except OSError as error:
        raise damaged(path, str(error)) from error
    if not isinstance(found, dict):
        raise damaged(path, "it has no attributes")
    return found


def parsed(path: Path, content: bytes) -> dict[str, Any]:
    """Return the object that a file of JSON holds."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise damaged(path, "it is no JSON") from error
    if not isinstance(found, dict):
        raise damaged(path, "it is no JSON object")
    return found


def stated(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what metadata say of the data; an empty value says nothing."""
    return {key: value for key, value in metadata.items() if key != "attributes" and value}


def metadata_of(sweep: Sweep) -> dict[str, dict[str, Any]]:
    """Return the metadata that the arrays of a sweep have, by name, coordinates left out."""
    files: dict[str, Buffer] = {}
    _create_data(zarr.create_group(MemoryStore(files), zarr_format=3), sweep)
    names = [key for key in files if key.endswith(f"/{METADATA}")]
    return {key.split("/")[0]: json.loads(files[key].to_bytes()) for key in names}


def create_arrays(folder: Path, sweep: Sweep, noted: Mapping[str, Any]) -> None:
    """Make a folder with the arrays of a sweep, and nothing in them.

    Args:
        folder: Where.
        sweep: The sweep.
        noted: What is noted of the store as a whole.
    """
    group = zarr.create_group(LocalStore(folder), overwrite=True, zarr_format=3)
    _create_data(group, sweep)
    for name, (values, attributes) in coordinates(sweep).items():
        _create_coordinate(group, name, values, attributes)
    group.attrs.update(described(sweep) | dict(noted))


def described(sweep: Sweep) -> dict[str, Any]:
    """Return what a store says of its sweep."""
    return {
        "name": sweep.experiment.table.name,
        "dimensions": [axis.name for axis in sweep.axes],
        "experiment": sweep.text,
    }


def coordinates(sweep: Sweep) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """Return values and attributes of every dimension of a sweep."""
    labels = {
        axis.name: (_labels(axis), {"units": axis.unit, "keys": [*axis.keys]})
        for axis in sweep.axes
    }
    return {"epoch": (np.arange(sweep.num_epochs + 1), {"units": "1"}), **labels}


def data_attributes(name: str) -> dict[str, Any]:
    """Return what an array says of itself."""
    return {"units": UNITS.get(name, "1"), "long_name": DESCRIPTIONS[name]}


def _create_data(group: zarr.Group, sweep: Sweep) -> None:
    dims = [axis.name for axis in sweep.axes]
    cells = _chunk_shape(sweep)
    epochs = sweep.num_epochs + 1
    for name in figure_names(sweep.experiment):
        _create(group, name, (*sweep.shape, epochs), (*cells, epochs), [*dims, "epoch"], np.nan)
    _create(group, "seconds", sweep.shape, cells, dims, np.nan)
    for name in ("error", "status"):
        _create(group, name, sweep.shape, cells, dims, "")


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
    group: zarr.Group,
    name: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    dims: list[str],
    empty: float | str,
) -> None:
    is_text = isinstance(empty, str)
    array = group.create_array(
        name,
        shape=tuple(shape),
        chunks=tuple(chunks),
        dtype=str if is_text else "f8",
        fill_value=empty,
        dimension_names=dims,
        **CODECS[is_text],
    )
    array.attrs.update(data_attributes(name))


def _create_coordinate(group: zarr.Group, name: str, values: np.ndarray, attributes: dict) -> None:
    is_text = values.dtype == object
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=str if is_text else values.dtype,
        dimension_names=[name],
        **CODECS[is_text],
    )
    array[...] = values
    array.attrs.update(attributes)
