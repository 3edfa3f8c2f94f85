"""Arrays of earlier versions, which were compressed, brought into today's format.

Only the one layout that version 0.1.0 wrote before its files had checksums is known: today's, with
zstd in the place of the checksum. A frame of zstd says what it expands to, and is expanded only if
it is what the array must hold.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd

from eqprop_spice.errors import ConfigError
from eqprop_spice.files import read_bounded
from eqprop_spice.sweeps.axes import Sweep
from eqprop_spice.sweeps.cell import MAX_ERROR_LENGTH
from eqprop_spice.sweeps.cells import (
    MAX_METADATA,
    METADATA,
    create_arrays,
    damaged,
    metadata_of,
    open_arrays,
    parsed,
    read_attributes,
    stated,
)

COMPRESSION = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}

MAX_TEXTS = 50_000_000
"""Largest chunk of texts [bytes]."""

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def is_earlier(folder: Path, sweep: Sweep) -> bool:
    """Whether the arrays in a folder are those that an earlier version wrote for a sweep."""
    try:
        return _has_earlier(folder, "status", metadata_of(sweep)["status"])
    except (ConfigError, OSError):
        return False


def convert(earlier: Path, folder: Path, sweep: Sweep) -> None:
    """Write the arrays of an earlier version into a new folder, in today's format.

    Raises:
        ConfigError: If one of them is not what the earlier version wrote for this sweep.
    """
    arrays = {
        name: metadata
        for name, metadata in metadata_of(sweep).items()
        if name == "status" or (earlier / name).is_dir()
    }
    for name, metadata in arrays.items():
        if not _has_earlier(earlier, name, metadata):
            raise damaged(earlier / name / METADATA, "its type, shape, chunks or codecs are others")
    noted = read_attributes(earlier)
    noted.pop("coordinates", None)
    create_arrays(folder, sweep, noted)
    opened = open_arrays(folder, sweep)
    for name, metadata in arrays.items():
        for region, values in _chunks(earlier / name, metadata):
            opened[name][region] = values


def _has_earlier(folder: Path, name: str, metadata: Mapping[str, Any]) -> bool:
    path = folder / name / METADATA
    codecs = [metadata["codecs"][0], COMPRESSION]
    return stated(parsed(path, read_bounded(path, limit=MAX_METADATA))) == stated(
        {**metadata, "codecs": codecs}
    )


def _chunks(
    folder: Path, metadata: Mapping[str, Any]
) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Yield the chunks of an array that were written: where they lie, and their values."""
    shape, sizes = metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"]
    counts = [-(-length // size) for length, size in zip(shape, sizes, strict=True)]
    for place in itertools.product(*(range(count) for count in counts)):
        path = folder.joinpath("c", *map(str, place))
        try:
            content = read_bounded(path, limit=MAX_TEXTS)
        except FileNotFoundError:
            continue
        values = _values(path, content, metadata).reshape(sizes)
        low = [i * size for i, size in zip(place, sizes, strict=True)]
        high = [min(a + size, n) for a, size, n in zip(low, sizes, shape, strict=True)]
        region = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        yield region, values[tuple(slice(b - a) for a, b in zip(low, high, strict=True))]


def _values(path: Path, content: bytes, metadata: Mapping[str, Any]) -> np.ndarray:
    """Return the values of a chunk."""
    count = math.prod(metadata["chunk_grid"]["configuration"]["chunk_shape"])
    size, is_text = expanded_size(content), metadata["data_type"] == "string"
    if size is None or (size > MAX_TEXTS if is_text else size != 8 * count):
        raise damaged(path, f"it should hold {count} values")
    try:
        expanded = bytes(Zstd().decode(content))
        if not is_text:
            return np.frombuffer(expanded, "<f8")
        if int.from_bytes(expanded[:4], "little") != count:
            raise damaged(path, f"it should hold {count} texts")
        return np.array([text[:MAX_ERROR_LENGTH] for text in VLenUTF8().decode(expanded)], object)
    except (ValueError, RuntimeError) as error:
        raise damaged(path, str(error)) from error


def expanded_size(frame: bytes) -> int | None:
    """Return how many bytes a frame of zstd expands to; None if it does not say so.

    References:
        RFC 8878, section 3.1.1.1: magic number, descriptor, window, dictionary, content size.
    """
    if frame[:4] != ZSTD_MAGIC or len(frame) < 5:
        return None
    descriptor = frame[4]
    is_single = descriptor >> 5 & 1
    start = 5 + (not is_single) + (0, 1, 2, 4)[descriptor & 3]
    width = (is_single, 2, 4, 8)[descriptor >> 6]
    field = frame[start : start + width]
    if not width or len(field) < width:
        return None
    return int.from_bytes(field, "little") + (256 if width == 2 else 0)
