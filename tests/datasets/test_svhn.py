"""SVHN files: small ones in the same format."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from eqprop_spice.datasets.images import FOLDER_VARIABLE
from eqprop_spice.datasets.svhn import Svhn
from eqprop_spice.errors import ConfigError
from tests.datasets.files import md5

LABELS = {"train_32x32.mat": [10, 1, 2, 9, 10, 5, 7], "test_32x32.mat": [3, 10, 4]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    checksums = {}
    for name, labels in LABELS.items():
        images = rng.integers(0, 256, (32, 32, 3, len(labels))).astype(np.uint8)
        digits = np.array(labels, np.uint8)[:, None]
        savemat(tmp_path / name, {"X": images, "y": digits}, do_compression=True)
        np.save(tmp_path / f"{name}.npy", images)
        checksums[name] = md5((tmp_path / name).read_bytes())
    monkeypatch.setattr(Svhn, "CHECKSUMS", checksums)
    return tmp_path


def test_images_become_voltages(folder: Path) -> None:
    data = Svhn(amplitude=30.0, folder=str(folder)).load()
    assert data.train_inputs.shape == (7, 3072)
    images = np.load(folder / "test_32x32.mat.npy")
    for sample, channel, row, column in ((0, 0, 0, 0), (1, 2, 31, 0), (2, 1, 4, 30), (0, 0, 0, 1)):
        place = 1024 * channel + 32 * row + column
        expected = 30.0 * images[row, column, channel, sample] / 255.0
        assert data.test_inputs[sample, place] == pytest.approx(expected)


def test_the_tenth_class_is_the_digit_0(folder: Path) -> None:
    data = Svhn(folder=str(folder)).load()
    assert data.train_targets.argmax(1).tolist() == [0, 1, 2, 9, 0, 5, 7]
    assert data.test_targets.argmax(1).tolist() == [3, 0, 4]
    assert data.num_outputs == 10


def test_validation_and_grayscale(folder: Path) -> None:
    data = Svhn(folder=str(folder), validation=2, num_train=3, grayscale=True).load()
    assert data.train_inputs.shape == (3, 1024)
    assert data.test_targets.argmax(1).tolist() == [5, 7]
    image = np.load(folder / "train_32x32.mat.npy")[:, :, :, 5]
    luma = image @ np.array([0.299, 0.587, 0.114]) / 255.0
    np.testing.assert_allclose(data.test_inputs[0], luma.ravel())


def test_digits_have_no_mirror() -> None:
    with pytest.raises(TypeError, match="flip"):
        Svhn(flip=True)  # pyright: ignore[reportCallIssue]


def test_no_folder_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=r"`svhn` holds train_32x32\.mat, test_32x32\.mat"):
        Svhn().load()


def test_an_absent_file_is_named(folder: Path) -> None:
    (folder / "test_32x32.mat").unlink()
    with pytest.raises(ConfigError, match=r"test_32x32\.mat cannot be read"):
        Svhn(folder=str(folder)).load()


def test_a_damaged_file_is_refused(folder: Path) -> None:
    path = folder / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"train_32x32\.mat does not hold .* the MD5"):
        Svhn(folder=str(folder)).load()
