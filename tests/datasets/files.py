"""Small files in the formats of the image datasets, with checksums of their own."""

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, names: list[str]) -> dict[str, bytes]:
    """Write 20 training and 8 test images with labels; return what is compressed in each file."""
    rng = np.random.default_rng(0)
    contents = {}
    for name in names:
        count = 20 if name.startswith("train") else 8
        shape = (count, 28, 28) if "images" in name else (count,)
        contents[name] = idx(rng.integers(0, 256 if "images" in name else 10, shape))
        (folder / name).write_bytes(gzip.compress(contents[name], mtime=0))
    return contents


def records(labels: np.ndarray, pixels: np.ndarray) -> bytes:
    """Return records of CIFAR from `sample label` and `sample channel row column`."""
    rows = zip(labels.tolist(), pixels, strict=True)
    return b"".join(bytes(label) + image.tobytes() for label, image in rows)


def archive(contents: dict[str, bytes], folder: str) -> bytes:
    """Return a compressed tar archive with the files in a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        directory = tarfile.TarInfo(folder)
        directory.type = tarfile.DIRTYPE
        tar.addfile(directory)
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
