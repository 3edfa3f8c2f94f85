"""Datasets in idx files beside MNIST; the files are small ones in the same format."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.datasets.fashion_mnist import FashionMnist
from eqprop_spice.datasets.idx import AbstractIdxImages, read_idx
from eqprop_spice.datasets.images import FOLDER_VARIABLE
from eqprop_spice.datasets.kmnist import Kmnist
from eqprop_spice.errors import ConfigError
from tests.datasets.files import idx, md5, sha256, write_idx

TRAIN, TRAIN_LABELS, TEST, TEST_LABELS = NAMES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]


@pytest.fixture(params=[(FashionMnist, "fashion-mnist"), (Kmnist, "kmnist")])
def dataset(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AbstractIdxImages]:
    """Return the class of a dataset whose folder holds small files, with their checksums."""
    cls, subfolder = request.param
    folder = tmp_path / subfolder
    folder.mkdir()
    contents = write_idx(folder, NAMES)
    if cls.CHECKED == "content":
        checksums = {name: sha256(content) for name, content in contents.items()}
    else:
        checksums = {name: md5((folder / name).read_bytes()) for name in NAMES}
    monkeypatch.setattr(cls, "CHECKSUMS", checksums)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return cls


def test_images_become_voltages(dataset: Callable[..., AbstractIdxImages], tmp_path: Path) -> None:
    data = dataset(amplitude=30.0, target_on=2.0, target_off=-1.0).load()
    (folder,) = tmp_path.iterdir()
    pixels = np.frombuffer(gzip.decompress((folder / TEST).read_bytes())[16:], np.uint8)
    np.testing.assert_allclose(data.test_inputs, 30.0 * pixels.reshape(8, 784) / 255.0)
    assert data.train_inputs.shape == (20, 784)
    labels = gzip.decompress((folder / TRAIN_LABELS).read_bytes())[8:]
    assert data.train_targets.argmax(1).tolist() == list(labels)
    assert (data.train_targets.sum(1) == 2.0 - 9.0).all()
    assert data.task == "classes"
    assert data.augment is None


def test_a_file_with_another_checksum_is_refused(
    dataset: Callable[..., AbstractIdxImages], tmp_path: Path
) -> None:
    (folder,) = tmp_path.iterdir()
    images = gzip.decompress((folder / TEST).read_bytes())
    (folder / TEST).write_bytes(gzip.compress(images[:-1] + bytes([images[-1] ^ 1])))
    with pytest.raises(ConfigError, match=f"{TEST} does not hold the original data"):
        dataset().load()


def test_a_file_cut_off_is_refused(
    dataset: Callable[..., AbstractIdxImages], tmp_path: Path
) -> None:
    (folder,) = tmp_path.iterdir()
    (folder / TEST).write_bytes((folder / TEST).read_bytes()[:-9])
    with pytest.raises(ConfigError, match=f"{TEST} is not a gzip file, or damaged"):
        dataset().load()


def test_a_file_that_expands_without_end_is_refused(
    dataset: Callable[..., AbstractIdxImages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = tmp_path.iterdir()
    monkeypatch.setattr("eqprop_spice.datasets.idx.MAX_CONTENT", 100_000)
    (folder / TEST).write_bytes(gzip.compress(bytes(100_001)))
    with pytest.raises(ConfigError, match=f"{TEST} expands to more than 100,000 bytes"):
        dataset().load()


def test_an_absent_file_is_named(dataset: Callable[..., AbstractIdxImages], tmp_path: Path) -> None:
    (folder,) = tmp_path.iterdir()
    (folder / TEST_LABELS).unlink()
    with pytest.raises(ConfigError, match=f"{folder.name}/{TEST_LABELS} cannot be read"):
        dataset().load()


def test_no_folder_is_explained(
    dataset: Callable[..., AbstractIdxImages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE)
    (folder,) = tmp_path.iterdir()
    expected = f"Set {FOLDER_VARIABLE} .* `{folder.name}` holds {TRAIN}, {TRAIN_LABELS}"
    with pytest.raises(ConfigError, match=expected):
        dataset().load()


@pytest.mark.parametrize(
    "content", [b"", b"\x00\x00\x0d\x01\x00\x00\x00\x00", idx(np.ones(3))[:-1]]
)
def test_files_of_another_format_are_refused(content: bytes) -> None:
    with pytest.raises(ConfigError):
        read_idx(content, "file")
