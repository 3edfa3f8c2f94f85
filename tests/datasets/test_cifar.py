"""CIFAR archives: small ones in the same format."""

from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.datasets.cifar import AbstractCifar, Cifar10, Cifar100, read_records
from eqprop_spice.datasets.images import FOLDER_VARIABLE
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.kinds import build
from tests.datasets.files import archive, md5, records

ROUNDING = 1e-12
"""Relative: a sum of three products in double precision, in two orders."""

NAMES = {
    Cifar10: ("cifar-10-binary.tar.gz", [f"data_batch_{i}.bin" for i in (1, 2, 3, 4, 5)]),
    Cifar100: ("cifar-100-binary.tar.gz", ["train.bin"]),
}


def write(
    cls: type[AbstractCifar], folder: Path, monkeypatch: pytest.MonkeyPatch, cut: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Write an archive of 20 training and 6 test images, `cut` bytes short in the last file.

    Returns:
        Labels and pixels of all of them, the test images last.
    """
    name, train = NAMES[cls]
    test = "test_batch.bin" if cls is Cifar10 else "test.bin"
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (26, 3, 32, 32)).astype(np.uint8)
    labels = rng.integers(0, 10, (26, 1))
    if cls is Cifar100:
        labels = np.stack([rng.integers(0, 20, 26), rng.integers(0, 100, 26)], 1)
    rows = np.split(np.arange(20), len(train))
    # An archive is in no order; the readme of the real one lies there, too.
    contents = {test: records(labels[20:], pixels[20:]), "readme.html": b"<html>"}
    for file, part in zip(train[::-1], rows[::-1], strict=True):
        contents[file] = records(labels[part], pixels[part])
    last = list(contents)[-1]
    contents[last] = contents[last][: len(contents[last]) - cut]
    content = archive(contents, "cifar")
    (folder / name).write_bytes(content)
    monkeypatch.setattr(cls, "CHECKSUMS", {name: md5(content)})
    return labels, pixels


@pytest.mark.parametrize("cls", [Cifar10, Cifar100])
def test_images_become_voltages(
    cls: type[AbstractCifar], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, pixels = write(cls, tmp_path, monkeypatch)
    data = cls(amplitude=30.0, folder=str(tmp_path)).load()
    assert data.train_inputs.shape == (20, 3072)
    assert data.test_inputs.shape == (6, 3072)
    for sample, channel, row, column in ((0, 0, 0, 0), (3, 1, 31, 0), (7, 2, 4, 30), (19, 0, 0, 1)):
        place = 1024 * channel + 32 * row + column
        expected = 30.0 * pixels[sample, channel, row, column] / 255.0
        assert data.train_inputs[sample, place] == pytest.approx(expected)
    np.testing.assert_allclose(data.test_inputs, 30.0 * pixels[20:].reshape(6, -1) / 255.0)
    assert data.train_targets.argmax(1).tolist() == labels[:20, -1].tolist()
    assert data.test_targets.argmax(1).tolist() == labels[20:, -1].tolist()
    assert data.num_outputs == (10 if cls is Cifar10 else 100)


def test_the_first_label_of_cifar_100_is_the_superclass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, _ = write(Cifar100, tmp_path, monkeypatch)
    table = {"kind": "cifar.Cifar100", "labels": "coarse", "folder": str(tmp_path)}
    data = build("datasets", table).load()
    assert data.train_targets.shape == (20, 20)
    assert data.train_targets.argmax(1).tolist() == labels[:20, 0].tolist()


def test_validation_images_come_from_the_end_of_the_training_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, pixels = write(Cifar10, tmp_path, monkeypatch)
    data = Cifar10(folder=str(tmp_path), validation=3, num_train=9).load()
    np.testing.assert_allclose(data.test_inputs, pixels[17:20].reshape(3, -1) / 255.0)
    assert data.test_targets.argmax(1).tolist() == labels[17:20, 0].tolist()
    np.testing.assert_allclose(data.train_inputs, pixels[:9].reshape(9, -1) / 255.0)


def test_grayscale_is_the_luma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, pixels = write(Cifar10, tmp_path, monkeypatch)
    data = Cifar10(amplitude=30.0, folder=str(tmp_path), grayscale=True, max_shift=1).load()
    red, green, blue = pixels[:20].astype(float).transpose(1, 0, 2, 3)
    expected = 30.0 * (0.299 * red + 0.587 * green + 0.114 * blue) / 255.0
    np.testing.assert_allclose(data.train_inputs, expected.reshape(20, 1024), rtol=ROUNDING)
    assert data.augment is not None
    changed = data.augment(data.train_inputs, np.random.default_rng(0)).reshape(20, 32, 32)
    # A value that is met nowhere else tells how far its image was moved.
    for image, moved in zip(expected, changed, strict=True):
        ((row, column),) = np.argwhere(np.isclose(moved, image[16, 16], rtol=ROUNDING))
        down, right = row - 16, column - 16
        assert max(abs(down), abs(right)) <= 1
        whole = np.roll(image, (down, right), (0, 1))
        np.testing.assert_allclose(moved[1:31, 1:31], whole[1:31, 1:31], rtol=ROUNDING)


def test_images_are_mirrored_and_shifted_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(Cifar10, tmp_path, monkeypatch)
    assert Cifar10(folder=str(tmp_path)).load().augment is None
    data = Cifar10(folder=str(tmp_path), flip=True, max_shift=3).load()
    assert data.augment is not None
    shape = (20, 3, 32, 32)
    images = data.train_inputs.reshape(shape)
    changed = data.augment(data.train_inputs, np.random.default_rng(0)).reshape(shape)
    found = []
    for image, moved in zip(images, changed, strict=True):
        # The middle of what is met is, in all channels at once, a part of one of the two.
        middle = moved[:, 8:24, 8:24]
        found.append(
            [
                (turned, i, j)
                for turned, source in ((False, image), (True, np.flip(image, 2)))
                for i in range(5, 12)
                for j in range(5, 12)
                if (source[:, i : i + 16, j : j + 16] == middle).all()
            ]
        )
    assert all(len(places) == 1 for places in found)
    assert {places[0][0] for places in found} == {False, True}
    assert len({places[0][1:] for places in found}) > 10


def test_no_folder_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=r"`cifar-100` holds cifar-100-binary\.tar\.gz \(the bin"):
        Cifar100().load()


def test_an_absent_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    expected = r"cifar-10/cifar-10-binary\.tar\.gz cannot be read .* CIFAR-10 file cifar-10-binary"
    with pytest.raises(ConfigError, match=expected):
        Cifar10().load()


def test_another_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(Cifar10, tmp_path, monkeypatch)
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"cifar-10-binary\.tar\.gz does not hold .* the MD5"):
        Cifar10(folder=str(tmp_path)).load()


@pytest.mark.parametrize("cls", [Cifar10, Cifar100])
def test_a_record_cut_off_is_refused(
    cls: type[AbstractCifar], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(cls, tmp_path, monkeypatch, cut=1)
    with pytest.raises(ConfigError, match=r"\.bin of .* no whole number of records of 307[34]"):
        cls(folder=str(tmp_path)).load()


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="file holds 0 bytes"):
        read_records(b"", "file", 1)
