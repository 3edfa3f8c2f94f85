"""A user's own table in a file: CSV, npz or parquet."""

import csv
import dataclasses
import io
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eqprop_spice.datasets.base import AbstractDataset, Data
from eqprop_spice.datasets.encoding import Standardize
from eqprop_spice.datasets.samples import Volts, samples
from eqprop_spice.errors import ConfigError
from eqprop_spice.files import read_bounded

MOST_BYTES = 4_000_000_000
"""Size of a file; its numbers have to fit into memory twice."""

Columns = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Table(AbstractDataset):
    """Samples in rows, features and target in columns.

    Attributes:
        path: The file: `.csv` with a first line of names; `.npz`, whose arrays are columns or, of
            two dimensions, several; `.parquet`. In a TOML a relative path counts from its folder.
        target: Name of the target's column; several with commas, for several numbers.
        features: Names of the features' columns, with commas; all others if empty.
        task: "classes", "regression", or "auto": texts and few whole numbers are classes.
        scale: Voltage of one standard deviation of a feature [V].
        standardize: Whether every feature is standardized, or the table as a whole, or none is.
        target_on: Target of the right class [V].
        target_off: Target of the other classes [V].
        target_scale: Voltage of one deviation of a number to be predicted [V]; 0 if targets are
            volts.
        test_size: Share of the samples kept for testing.
        split: Seed of the choice.
        separator: What stands between the columns of a CSV.
    """

    path: str
    target: str
    features: str = ""
    task: Literal["auto", "classes", "regression"] = "auto"
    scale: float = 10.0
    standardize: Standardize = "feature"
    target_on: float = 1.0
    target_off: float = 0.0
    target_scale: float = 1.0
    test_size: float = 0.2
    split: int = 0
    separator: str = ","

    def load(self) -> Data:
        """Return the samples as voltages; see `AbstractDataset`."""
        columns = self._columns()
        targets = self._named(self.target, columns, "target")
        given = self._named(self.features, columns, "features")
        chosen = given or [name for name in columns if name not in targets]
        if not chosen:
            raise ConfigError(f"path is {self.path}, which has no column beside the target.")
        table = np.stack([_numeric(columns[n], n, self.path) for n in chosen], axis=1)
        wanted = [columns[name] for name in targets]
        return samples(
            table,
            wanted[0] if len(wanted) == 1 else np.stack(wanted, axis=1),
            task=self.task,
            test_size=self.test_size,
            split=self.split,
            volts=Volts(
                self.scale, self.standardize, self.target_on, self.target_off, self.target_scale
            ),
        )

    def _named(self, listed: str, columns: Columns, key: str) -> list[str]:
        names = [name.strip() for name in listed.split(",")] if listed else []
        for name in names:
            if name not in columns:
                shown = ", ".join(list(columns)[:20])
                raise ConfigError(f"{key} names the column '{name}', but {self.path} has {shown}.")
        return names

    def _columns(self) -> Columns:
        """Return the columns of the file by name."""
        path = Path(self.path)
        readers = {".csv": self._csv, ".npz": _npz, ".parquet": _parquet}
        if path.suffix.lower() not in readers:
            raise ConfigError(f"path is {path}; its name must end with {', '.join(readers)}.")
        try:
            content = read_bounded(path, limit=MOST_BYTES)
        except OSError as error:
            raise ConfigError(f"path is {path}, which cannot be read: {error.strerror}.") from error
        columns = readers[path.suffix.lower()](content, path)
        if len({len(column) for column in columns.values()}) > 1:
            raise ConfigError(f"path is {path}, whose columns are not of one length.")
        return columns

    def _csv(self, content: bytes, path: Path) -> Columns:
        try:
            rows = [
                row
                for row in csv.reader(
                    io.StringIO(content.decode("utf-8-sig")), delimiter=self.separator
                )
                if row
            ]
        except (UnicodeDecodeError, csv.Error, TypeError) as error:
            raise ConfigError(f"path is {path}, which is no CSV in UTF-8: {error}.") from error
        if len(rows) < 2:
            raise ConfigError(f"path is {path}; it needs a line of names and a line per sample.")
        names = [name.strip() for name in rows[0]]
        if len(set(names)) < len(names):
            raise ConfigError(f"path is {path}; two of its columns have one name.")
        for number, row in enumerate(rows[1:], start=2):
            if len(row) != len(names):
                raise ConfigError(
                    f"path is {path}, whose line {number} has {len(row)} values, but there are "
                    f"{len(names)} names."
                )
        columns = zip(*rows[1:], strict=True)
        return {name: _typed(column) for name, column in zip(names, columns, strict=True)}


def _typed(values: Any) -> np.ndarray:
    """Return a column of texts as numbers if all of them are."""
    texts = np.array([value.strip() for value in values])
    for kind in (int, float):
        try:
            return texts.astype(kind)
        except (ValueError, OverflowError):
            continue
    return texts


def _npz(content: bytes, path: Path) -> Columns:
    columns: Columns = {}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ConfigError(f"path is {path}, which is no npz without pickles: {error}.") from error
    for name, array in arrays.items():
        if array.ndim == 1:
            columns[name] = array
        elif array.ndim == 2:
            columns |= {f"{name}_{k}": array[:, k] for k in range(array.shape[1])}
        else:
            raise ConfigError(f"path is {path}, whose array '{name}' has the shape {array.shape}.")
    return columns


def _parquet(content: bytes, path: Path) -> Columns:
    try:
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError(
            f"path is {path}: parquet needs pyarrow. Install it: "
            "pip install 'eqprop_spice[parquet]'"
        ) from None
    try:
        table = parquet.read_table(io.BytesIO(content))
    except Exception as error:
        # A parser of a foreign format raises whatever it runs into.
        raise ConfigError(f"path is {path}, which is no parquet file: {error}.") from error
    return {name: np.asarray(table[name].to_pylist()) for name in table.column_names}


def _numeric(column: np.ndarray, name: str, path: str) -> np.ndarray:
    """Return a feature as floats; a gap is told with its place."""
    try:
        values = column.astype(float)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"The feature '{name}' of {path} holds texts: {error}. Name the columns that are "
            "numbers in `features`."
        ) from error
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ConfigError(
            f"The feature '{name}' of {path} is not finite in sample {row}, counted from 0. Fill "
            "the gap in, or drop the sample."
        )
    return values
