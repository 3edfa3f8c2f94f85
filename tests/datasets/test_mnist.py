"""MNIST files: small ones in the same format, and the real ones where they are."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.datasets.mnist import FOLDER_VARIABLE, Mnist, read_idx, shifted
from eqprop_spice.errors import ConfigError


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    checksums = {}
    for name in Mnist.CHECKSUMS:
        count = 20 if name.startswith("train") else 8
        shape = (count, 28, 28) if "images" in name else (count,)
        content = idx(rng.integers(0, 256 if "images" in name else 10, shape))
        (tmp_path / name).write_bytes(gzip.compress(content))
        checksums[name] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(Mnist, "CHECKSUMS", checksums)
    return tmp_path


def test_images_become_voltages(folder: Path) -> None:
    data = Mnist(amplitude=30.0, folder=str(folder)).load()
    content = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(content[16:], np.uint8).reshape(20, 784)
    np.testing.assert_allclose(data.train_inputs, 30.0 * pixels / 255.0)
    assert data.test_inputs.shape == (8, 784)
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    assert data.test_targets.argmax(1).tolist() == list(labels)
    assert (data.test_targets.sum(1) == 1.0).all()


def test_validation_images_come_from_the_end_of_the_training_set(folder: Path) -> None:
    everything = Mnist(folder=str(folder)).load()
    data = Mnist(folder=str(folder), validation=5, num_train=10).load()
    np.testing.assert_array_equal(data.test_inputs, everything.train_inputs[-5:])
    np.testing.assert_array_equal(data.train_inputs, everything.train_inputs[:10])


def test_shifted_images_are_moved_as_a_whole() -> None:
    rng = np.random.default_rng(0)
    images = np.zeros((200, 28, 28))
    images[:, 14, 14] = 1.0
    moved = shifted(images.reshape(200, -1), rng, max_shift=2).reshape(200, 28, 28)
    assert (moved.sum((1, 2)) == 1.0).all()
    where = np.argwhere(moved)[:, 1:] - 14
    assert {tuple(w) for w in where.tolist()} == {
        (i, j) for i in range(-2, 3) for j in range(-2, 3)
    }
    edge = np.zeros((50, 28, 28))
    edge[:, 0, :] = 1.0
    moved = shifted(edge.reshape(50, -1), rng, max_shift=2).reshape(50, 28, 28)
    assert set(moved.sum((1, 2)).tolist()) <= {0.0, 26.0, 27.0, 28.0}


def test_folder_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mnist").symlink_to(folder)
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    assert len(Mnist().load().train_inputs) == 20


def test_no_folder_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=f"Set {FOLDER_VARIABLE} to a folder"):
        Mnist().load()


def test_missing_file_is_named(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ConfigError, match=r"t10k-labels-idx1-ubyte\.gz cannot be read"):
        Mnist(folder=str(folder)).load()


def test_damaged_files_are_refused(folder: Path) -> None:
    path = folder / "train-labels-idx1-ubyte.gz"
    good = path.read_bytes()
    path.write_bytes(good[:-9])
    with pytest.raises(ConfigError, match="not a gzip file, or damaged"):
        Mnist(folder=str(folder)).load()
    path.write_bytes(gzip.compress(gzip.decompress(good)[:-1] + b"\x63"))
    with pytest.raises(ConfigError, match="SHA-256"):
        Mnist(folder=str(folder)).load()


def test_validation_larger_than_the_training_set_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="validation is 20"):
        Mnist(folder=str(folder), validation=20).load()


@pytest.mark.parametrize(
    "content", [b"", b"\x00\x00\x0d\x01\x00\x00\x00\x00", idx(np.ones(3))[:-1]]
)
def test_files_of_another_format_are_refused(content: bytes) -> None:
    with pytest.raises(ConfigError):
        read_idx(content, "file")


@pytest.mark.skipif(FOLDER_VARIABLE not in os.environ, reason="the MNIST files are not here")
def test_the_real_files() -> None:
    data = Mnist().load()
    assert data.train_inputs.shape == (60_000, 784)
    assert data.test_targets.shape == (10_000, 10)
    # The published class counts of the test set.
    counts = data.test_targets.sum(0).astype(int).tolist()
    assert counts == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
