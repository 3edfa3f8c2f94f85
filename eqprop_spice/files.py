"""Files and folders that are complete or not there, whatever stops the process; data for JSON."""

import errno
import fcntl
import itertools
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eqprop_spice.errors import ConfigError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new, never less.

    Raises:
        OSError: If the content could not be written; the old file is intact then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def new_folder(path: Path, experiment: bytes) -> bool:
    """Make a folder that holds `experiment.toml`, complete from the start.

    The folder is filled under another name and then renamed: one of that name that another process
    made meanwhile holds an experiment too, and the kernel replaces only empty folders.

    Returns:
        False if the folder exists already.
    """
    if os.path.lexists(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    unfinished.mkdir(exist_ok=True)
    try:
        write_atomically(unfinished / "experiment.toml", experiment)
        os.rename(unfinished, path)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def numbered_folder(stem: Path, experiment: bytes) -> Path:
    """Make a folder as `new_folder` does under the first free name of stem_001, stem_002, ..."""
    names = (stem.with_name(f"{stem.name}_{number:03d}") for number in itertools.count(1))
    return next(path for path in names if new_folder(path, experiment))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing; the kernel releases it however this one ends.

    Raises:
        ConfigError: If another process is writing.
    """
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"{folder} is being written by another process; wait for it or stop it."
            ) from None
        yield


def for_json(value: Any) -> Any:
    """Return nested data with every float that JSON has no word for as None."""
    if isinstance(value, dict):
        return {key: for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [for_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
