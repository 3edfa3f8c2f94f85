"""Files and folders that are complete or not there, whatever stops the process; data for JSON.

What is written goes nowhere else: links are never followed below the folder that a user named, so
that a folder from a stranger cannot name a file of ours to overwrite. What is read ends: pipes and
devices are refused, and so is more than the reader has use for.
"""

import contextlib
import errno
import fcntl
import functools
import itertools
import math
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from eqprop_spice.errors import ConfigError

PARTIAL = ".partial"
"""How the names of unfinished files and folders end; a process that is killed leaves them."""


def unused_name() -> str:
    """Return a name that no other thread, process or machine takes: a process number is none."""
    return f".{secrets.token_hex(8)}{PARTIAL}"


def write_inside(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a folder so that a reader finds the old content or the new, never less.

    Links are not followed below the folder: one in the place of the file is replaced, one in the
    place of a folder is refused.

    Args:
        folder: The folder, which exists.
        name: The file, relative to the folder; folders between the two are made.
        content: What it shall hold.

    Raises:
        ConfigError: If a part of the name is a link or a file, and no folder, or its last part a
            folder, and no file.
        OSError: If the content could not be written, with the file's name; the old file is intact.
    """
    *parts, last = PurePosixPath(name).parts
    try:
        with _opened(folder, parts) as place:
            _replace(place, last, content)
    except IsADirectoryError:
        raise ConfigError(
            f"{folder / name} is a folder where a file should be, and nothing is written over it. "
            "Remove it."
        ) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder / name)) from error


@contextmanager
def _opened(folder: Path, parts: list[str]) -> Iterator[int]:
    """Open a folder some levels below another, step by step."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    place, path = os.open(folder, flags), folder
    try:
        for part in parts:
            path = path / part
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=place)
            try:
                below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=place)
            except NotADirectoryError:
                raise ConfigError(
                    f"{path} is a link or a file where a folder should be, and nothing is written "
                    "through it. Remove it."
                ) from None
            os.close(place)
            place = below
        yield place
    finally:
        os.close(place)


def _replace(place: int, name: str, content: bytes) -> None:
    """Put a file into an opened folder, over what has its name."""
    temporary = unused_name()
    opener = functools.partial(os.open, mode=0o666, dir_fd=place)
    try:
        with open(temporary, "xb", opener=opener) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=place)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file as `write_inside` does."""
    write_inside(path.parent, path.name, content)


def write_named(path: Path, content: bytes) -> None:
    """Write a file that the user named: links are followed, and a pipe or device is no file."""
    path = Path(os.path.realpath(path))
    if not path.exists() or path.is_file():
        write_atomically(path, content)
    else:
        path.write_bytes(content)


def read_bounded(path: Path, *, limit: int) -> bytes:
    """Return the content of a file.

    Raises:
        ConfigError: If it is no file, such as a pipe or a device, or is larger than the limit.
        OSError: If it cannot be read.
    """
    # Opening a pipe waits for a writer unless told not to.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is no file but a folder, a pipe or a device.")
        if status.st_size > limit:
            raise ConfigError(f"{path} is larger than {limit:,} bytes, which no such file is.")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(descriptor)


def new_folder(
    path: Path, experiment: bytes, others: Mapping[str, bytes] = MappingProxyType({})
) -> bool:
    """Make a folder that holds `experiment.toml` and other files by name, complete at once.

    The folder is filled under another name and then renamed: one of that name that another process
    made meanwhile holds an experiment too, and the kernel replaces only empty folders.

    Returns:
        False if the folder exists already.
    """
    if os.path.lexists(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(unused_name())
    unfinished.mkdir()
    try:
        for name, content in {**others, "experiment.toml": experiment}.items():
            write_atomically(unfinished / name, content)
        os.rename(unfinished, path)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def numbered_folder(
    stem: Path, experiment: bytes, others: Mapping[str, bytes] = MappingProxyType({})
) -> Path:
    """Make a folder as `new_folder` does under the first free name of stem_001, stem_002, ..."""
    names = (stem.with_name(f"{stem.name}_{number:03d}") for number in itertools.count(1))
    return next(path for path in names if new_folder(path, experiment, others))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others from writing; the kernel releases it however this process ends.

    Raises:
        ConfigError: If another process or thread is writing, or the lock is no file.
    """
    # Not truncated: a hard link of this name is somebody's file.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(folder / "lock", flags, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR):
            raise
        raise ConfigError(
            f"{folder / 'lock'} is a link or a folder, and no file. Remove it."
        ) from None
    with open(descriptor, "rb", buffering=0):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder} is being written by another process; wait for it or stop it."
            ) from None
        yield


def remove_partials(folder: Path) -> None:
    """Remove what a killed process left unfinished; nobody has read it. Call it `locked`."""
    for partial in folder.glob(f".*{PARTIAL}"):
        if partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial)
        else:
            partial.unlink()


def for_json(value: Any) -> Any:
    """Return nested data with every float that JSON has no word for as None."""
    if isinstance(value, dict):
        return {key: for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [for_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
