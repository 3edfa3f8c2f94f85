"""What the files of a run hold, checked before anything believes it.

Each file carries the digest of the experiment that it belongs to, is no larger than the experiment
makes it, and holds the arrays that the experiment has. Files of earlier versions carry no digest;
they are read, and the user is told.
"""

import dataclasses
import hashlib
import io
import json
import math
import warnings
import zipfile
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eqprop_spice.errors import ConfigError, Remark
from eqprop_spice.experiment.source import parse_toml
from eqprop_spice.files import read_bounded

DIGEST = "experiment_digest"
"""Name under which every file of a run has the digest of its experiment."""

SLACK = 1_000_000
"""Bytes that a file may have besides its numbers: headers, names, attributes."""

LONGEST_HEADER = 10_000
"""Bytes of the description of an array; that of three dimensions has 128."""

ANY = ".*"
"""Ends a name that stands for every array whose name begins like this."""

MOST_COLUMNS = 50
"""Arrays that such a name may stand for, to bound the size of a file."""


@dataclasses.dataclass(frozen=True)
class Expected:
    """An array that a file should hold.

    Attributes:
        shape: Its shape; None stands for the number of epochs done.
        dtype: The type of its elements.
        finite: Whether all of them have to be finite.
    """

    shape: tuple[int | None, ...]
    dtype: np.dtype = np.dtype(np.float64)  # noqa: RUF009 (a dtype is immutable)
    finite: bool = True

    def num_bytes(self, epochs: int) -> int:
        """Return the size of the array after some epochs."""
        return math.prod(epochs if n is None else n for n in self.shape) * self.dtype.itemsize


def like(array: Any) -> Expected:
    """Return what to expect of an array that has the shape and type of another."""
    array = np.asarray(array)
    return Expected(array.shape, array.dtype)


def digest_of(toml: str) -> str:
    """Return the SHA-256 of what an experiment says, whatever its layout and comments."""
    content = json.dumps(parse_toml(toml, "The experiment of the run"), sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


LARGEST_TOLD = 100_000_000
"""Bytes of a file that is read for its attributes alone."""


class _Damaged(Exception):
    """What is wrong with a file, in words that follow a colon."""


def read_arrays(
    path: Path, expected: Mapping[str, Expected], *, digest: str, epochs: range
) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file: those that are expected, all of them, and no other.

    Args:
        path: The file.
        expected: By name, or by the beginning of a name and `ANY`. One is "epoch", the number of
            epochs done.
        digest: The digest of the experiment.
        epochs: The numbers of epochs that the experiment allows.

    Raises:
        ConfigError: If the file is damaged, or of another experiment.
    """
    most = sum(
        e.num_bytes(epochs[-1]) * (MOST_COLUMNS if name.endswith(ANY) else 1)
        for name, e in expected.items()
    )
    try:
        arrays = _checked_arrays(path, expected, epochs, limit=2 * most + SLACK)
    except _Damaged as error:
        raise ConfigError(
            f"{path} is damaged, or not of the experiment in its folder: {error}. Delete it to "
            "start this run again from the beginning."
        ) from error.__cause__
    found = arrays.pop(DIGEST, None)
    _check_digest(path, None if found is None else bytes(found).hex(), digest)
    return arrays


def _checked_arrays(
    path: Path, expected: Mapping[str, Expected], epochs: range, limit: int
) -> dict[str, np.ndarray]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(read_bounded(path, limit=limit)))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise _Damaged(_words(error)) from error
    expected = {**expected, DIGEST: Expected((32,), np.dtype(np.uint8))}
    arrays: dict[str, np.ndarray] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        wanted = expected.get(name) or expected.get(name.rpartition(".")[0] + ANY)
        if wanted is None or name in arrays or name == info.filename:
            raise _Damaged(f"it has an array {name[:40]!r} too many")
        arrays[name] = _array(archive, info, name, wanted)
    missing = [n for n in expected if n not in arrays and n != DIGEST and not n.endswith(ANY)]
    if missing:
        raise _Damaged(f"it has no array {missing[0]!r}")
    epoch = int(arrays["epoch"])
    if epoch not in epochs:
        raise _Damaged(f"epoch is {epoch}, but the experiment has {epochs[0]} to {epochs[-1]}")
    for name, array in arrays.items():
        wanted = expected.get(name) or expected[name.rpartition(".")[0] + ANY]
        shape = tuple(epoch if n is None else n for n in wanted.shape)
        if array.shape != shape:
            raise _Damaged(f"{name!r} has the shape {array.shape}, not {shape}")
    return arrays


def _array(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, wanted: Expected
) -> np.ndarray:
    """Read an array whose description agrees with what is wanted and with the file's size."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise _Damaged(f"{name!r} is compressed or encrypted, which is never written")
    try:
        with archive.open(info) as member:
            if np.lib.format.read_magic(member) != (1, 0):
                raise _Damaged(f"{name!r} is in a format that is never written")
            header = np.lib.format.read_array_header_1_0(member, max_header_size=LONGEST_HEADER)
            shape, by_columns, dtype = header
            fits = len(shape) == len(wanted.shape) and all(
                size >= 0 and known in (None, size)
                for size, known in zip(shape, wanted.shape, strict=True)
            )
            if dtype != wanted.dtype or not fits:
                raise _Damaged(
                    f"{name!r} holds {dtype} of the shape {shape}, not {wanted.dtype} of "
                    f"{wanted.shape}"
                )
            size = math.prod(shape) * dtype.itemsize
            if size != info.file_size - member.tell():
                raise _Damaged(f"{name!r} does not have the size that it claims")
            content = member.read()
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, RuntimeError) as error:
        raise _Damaged(f"{name!r} cannot be read ({_words(error)})") from error
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C")
    if wanted.finite and dtype.kind == "f" and not np.isfinite(array).all():
        raise _Damaged(f"{name!r} holds numbers that are not finite")
    return array.copy()


@dataclasses.dataclass(frozen=True)
class Layout:
    """The content of a NetCDF file.

    Attributes:
        dimensions: The dimensions of every variable by name; `ANY` stands for the other names.
        sizes: The sizes that every dimension may have.
        attributes: The texts that attributes may have.
    """

    dimensions: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, range]
    attributes: Mapping[str, Container[str]] = dataclasses.field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """The most that the numbers of such a file take."""
        largest = {name: sizes[-1] for name, sizes in self.sizes.items()}
        counts = {
            name: math.prod(largest[d] for d in dims) for name, dims in self.dimensions.items()
        }
        return 8 * sum(MOST_COLUMNS * n if name == ANY else n for name, n in counts.items())


def written_by(path: Path) -> str:
    """Return the version, and the commit if it is known, that a NetCDF file says wrote it."""
    try:
        attributes = _parsed(read_bounded(path, limit=LARGEST_TOLD)).attrs
    except (_Damaged, ConfigError, OSError):
        attributes = {}
    version, commit = (str(attributes.get(k, ""))[:40] for k in ("eqprop_spice", "commit"))
    if not version:
        return "an unknown version of eqprop_spice"
    return f"eqprop_spice {version}" + (f", commit {commit[:12]}" if commit else "")


def read_dataset(path: Path, layout: Layout, *, digest: str) -> xr.Dataset:
    """Return the content of a NetCDF file.

    Args:
        path: The file.
        layout: What it should hold.
        digest: The digest of the experiment.

    Raises:
        ConfigError: If the file is damaged, or of another experiment.
    """
    try:
        dataset = _parsed(read_bounded(path, limit=2 * layout.num_bytes + SLACK))
        _check_layout(dataset, layout)
    except _Damaged as error:
        raise _rewritable(path, str(error)) from error.__cause__
    found = dataset.attrs.get(DIGEST)
    _check_digest(path, None if found is None else str(found), digest)
    return dataset


def _parsed(content: bytes) -> xr.Dataset:
    try:
        # Nothing is decoded but texts: an attribute could turn numbers into dates.
        dataset = xr.open_dataset(
            io.BytesIO(content), engine="scipy", mask_and_scale=False, decode_times=False
        )
        with dataset:
            return dataset.load()
    except Exception as error:
        # A parser that trusts its input raises whatever it runs into.
        raise _Damaged(_words(error)) from error


def _check_layout(dataset: xr.Dataset, layout: Layout) -> None:
    for name, variable in dataset.variables.items():
        wanted = layout.dimensions.get(str(name)) or layout.dimensions.get(ANY)
        if variable.dims != wanted:
            raise _Damaged(f"it has {str(name)[:40]!r} over {variable.dims}, not {wanted}")
        if variable.dtype.kind not in "fiUO":
            raise _Damaged(f"{str(name)[:40]!r} holds {variable.dtype}, no numbers or names")
    missing = [n for n in layout.dimensions if n not in dataset.variables and n != ANY]
    if missing:
        raise _Damaged(f"it has no {missing[0]!r}")
    for name, size in dataset.sizes.items():
        if size not in layout.sizes[str(name)]:
            raise _Damaged(f"it has {size} of the dimension {name!r}")
    for name, values in layout.attributes.items():
        if str(dataset.attrs.get(name)) not in values:
            raise _Damaged(f"its attribute {name!r} is missing or unknown")


class _Results(BaseModel):
    """results.json; figures that a later version adds are numbers too."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, int | float | bool | str | None]  # pyright: ignore

    name: str
    seed: int
    finished: Literal[True]
    epochs: int = Field(ge=0)
    learned: bool | None
    loss: float | None
    max_error: float | None
    num_unconverged: int = Field(ge=0)
    seconds: float = Field(ge=0)


def read_results(path: Path, *, digest: str) -> dict[str, Any]:
    """Return the figures of a run that has ended.

    Raises:
        ConfigError: If the file is damaged, or of another experiment.
    """
    try:
        content = json.loads(read_bounded(path, limit=SLACK))
        _Results.model_validate(content)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = _words(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))[:40]}: {first['msg']}"
        raise _rewritable(path, reason) from error
    found = content.pop(DIGEST, None)
    _check_digest(path, found, digest)
    return content


def _words(error: Exception) -> str:
    """Return what a foreign error says, in one line of bounded length."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def _rewritable(path: Path, reason: str) -> ConfigError:
    """Return the error for a file that is written anew from the checkpoint."""
    return ConfigError(
        f"{path} is damaged: {reason}. Write it anew from the checkpoint: eqprop-spice train "
        f"--resume {path.parent}"
    )


def _check_digest(path: Path, found: str | None, digest: str) -> None:
    """Refuse a file of another experiment; tell of one that does not say."""
    if found is None:
        warnings.warn(
            f"{path.parent} was written by a version whose files do not say which experiment they "
            "belong to, so nothing is checked against an exchange.",
            Remark,
            stacklevel=2,
        )
    elif found != digest:
        raise ConfigError(
            f"{path} belongs to another experiment than {path.with_name('experiment.toml')}: one "
            "of the two was exchanged or edited. Put it back, or train that experiment in a new "
            f"folder: eqprop-spice train {path.with_name('experiment.toml')}"
        )
