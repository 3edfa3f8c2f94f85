"""Samples that were given to Python as arrays, in the file that their run folder has of them."""

import dataclasses
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from eqprop_spice.datasets.base import AbstractDataset, Data
from eqprop_spice.datasets.encoding import Encoding
from eqprop_spice.errors import ConfigError
from eqprop_spice.files import read_bounded

MOST_BYTES = 20_000_000_000
"""Size of such a file; all images of SVHN take 2.4 GB."""

PREFIX = "encoding."

ARRAYS = ("train_inputs", "train_targets", "test_inputs", "test_targets")


def _arrays(data: Data) -> dict[str, np.ndarray]:
    """Return all that a file of samples holds."""
    arrays = {name: getattr(data, name) for name in ARRAYS}
    arrays |= {"task": np.array(data.task), "threshold": np.array(data.threshold)}
    if data.encoding is not None:
        arrays |= {f"{PREFIX}{k}": v for k, v in data.encoding.arrays().items()}
    # Objects could only be stored as a pickle.
    return {k: v.astype(str) if v.dtype.kind == "O" else v for k, v in arrays.items()}


def stored(data: Data) -> bytes:
    """Return samples as the content of an .npz file, without any pickle."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **_arrays(data))
    return buffer.getvalue()


def checksum(data: Data) -> str:
    """Return the SHA-256 of samples, whatever their file looks like."""
    return _checksum(_arrays(data))


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()


@dataclasses.dataclass(frozen=True)
class Stored(AbstractDataset):
    """Samples in a file of this package: voltages, targets and how they were made.

    Attributes:
        path: The file.
        checksum: The SHA-256 of what it holds, as written with the experiment.
    """

    path: str
    checksum: str

    def load(self) -> Data:
        """Return the samples; see `AbstractDataset`."""
        path = Path(self.path)
        try:
            content = read_bounded(path, limit=MOST_BYTES)
        except OSError as error:
            raise ConfigError(
                f"path is {path}, which cannot be read: {error.strerror}. It holds the samples "
                "that this experiment was made with, and belongs beside it."
            ) from error
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (ValueError, zipfile.BadZipFile, KeyError, EOFError) as error:
            raise ConfigError(f"{path} is damaged: {error}.") from error
        if _checksum(arrays) != self.checksum:
            raise ConfigError(f"{path} does not hold the samples of this experiment (checksum).")
        of_encoding = {k[len(PREFIX) :]: v for k, v in arrays.items() if k.startswith(PREFIX)}
        return Data(
            *(arrays[name] for name in ARRAYS),
            task=str(arrays["task"]),  # pyright: ignore[reportArgumentType]
            threshold=float(arrays["threshold"]),
            encoding=Encoding.restored(of_encoding) if of_encoding else None,
        )
