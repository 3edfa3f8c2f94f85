"""MNIST files: small ones in the same format, and the real ones where they are."""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.datasets.images import FOLDER_VARIABLE
from eqprop_spice.datasets.mnist import Mnist
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.kinds import build
from tests.datasets.files import write_idx


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    contents = write_idx(tmp_path, list(Mnist.CHECKSUMS))
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
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
    np.testing.assert_array_equal(data.test_targets, everything.train_targets[-5:])
    np.testing.assert_array_equal(data.train_targets, everything.train_targets[:10])


def test_the_first_images_of_every_class_can_be_chosen(folder: Path) -> None:
    everything = Mnist(folder=str(folder)).load()
    data = Mnist(folder=str(folder), per_class=(1, 1)).load()
    labels = everything.train_targets.argmax(1)
    first = [i for i, label in enumerate(labels) if label not in labels[:i]]
    np.testing.assert_array_equal(data.train_inputs, everything.train_inputs[first])
    np.testing.assert_array_equal(data.train_targets, everything.train_targets[first])
    assert (data.test_targets.sum(0) == (everything.test_targets.sum(0) > 0)).all()
    with pytest.raises(ConfigError, match="per_class"):
        Mnist(folder=str(folder), per_class=(0, 1))


def test_files_compressed_anew_are_accepted(folder: Path) -> None:
    for name in Mnist.CHECKSUMS:
        path = folder / name
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1))
    assert len(Mnist(folder=str(folder)).load().train_inputs) == 20


def test_shifted_images_are_met_in_training(folder: Path) -> None:
    data = Mnist(folder=str(folder), max_shift=1).load()
    assert data.augment is not None
    changed = data.augment(data.train_inputs, np.random.default_rng(0)).reshape(20, 28, 28)
    images = data.train_inputs.reshape(20, 28, 28)
    # Off the edges, what is met is the image of one of the nine shifts.
    inner = [images[:, 1 + i : 27 + i, 1 + j : 27 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    matches = np.array([(changed[:, 1:27, 1:27] == shift).all((1, 2)) for shift in inner])
    assert (matches.sum(0) == 1).all()
    assert matches.any(1).sum() > 5


def test_framed_and_standardized_images(folder: Path) -> None:
    options = {"padding": 2, "means": (0.13,), "deviations": (0.3,), "max_shift": 2}
    data = Mnist(folder=str(folder), enters="edge", **options).load()
    images = np.pad(Mnist(folder=str(folder)).load().train_inputs.reshape(20, 28, 28), 2)[2:-2]
    expected = (images - 0.13) / 0.3
    np.testing.assert_allclose(data.train_inputs, expected.reshape(20, -1), atol=1e-12)
    assert data.augment is not None
    changed = data.augment(data.train_inputs, np.random.default_rng(0)).reshape(20, 32, 32)
    # A frame of black goes on as black, which is no longer 0 V.
    padded = np.pad(images, 2)[2:-2]
    shifts = [padded[:, i : 32 + i, j : 32 + j] for i in range(5) for j in range(5)]
    close = [np.isclose(changed, (shift - 0.13) / 0.3).all((1, 2)) for shift in shifts]
    assert (np.sum(close, axis=0) == 1).all()
    with pytest.raises(ConfigError, match='Set enters = "edge"'):
        Mnist(**options)
    with pytest.raises(ConfigError, match="means has 3 values; there are 1 channels"):
        Mnist(folder=str(folder), means=(0.1, 0.1, 0.1)).load()
    with pytest.raises(ConfigError, match="deviations"):
        Mnist(deviations=(0.0,))


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
    with pytest.raises(ConfigError, match="SHA-256 of its content"):
        Mnist(folder=str(folder)).load()


def test_validation_larger_than_the_training_set_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="validation is 20"):
        Mnist(folder=str(folder), validation=20).load()


@pytest.mark.parametrize("name", ["num_train", "max_shift"])
def test_negative_numbers_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is -1; it must not be negative"):
        build("datasets", {"kind": "mnist.Mnist", name: -1})


@pytest.mark.skipif(FOLDER_VARIABLE not in os.environ, reason="the MNIST files are not here")
def test_the_real_files() -> None:
    data = Mnist().load()
    assert data.train_inputs.shape == (60_000, 784)
    assert data.test_targets.shape == (10_000, 10)
    # The published class counts of the test set.
    counts = data.test_targets.sum(0).astype(int).tolist()
    assert counts == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
