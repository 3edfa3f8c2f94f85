"""What Fashion-MNIST does not share with MNIST; the files are small ones in the same format."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.datasets.fashion_mnist import FashionMnist
from eqprop_spice.errors import ConfigError
from tests.datasets.files import md5, write_idx


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = list(write_idx(tmp_path, list(FashionMnist.CHECKSUMS)))
    checksums = {name: md5((tmp_path / name).read_bytes()) for name in names}
    monkeypatch.setattr(FashionMnist, "CHECKSUMS", checksums)
    return tmp_path


def test_images_are_mirrored_in_training(folder: Path) -> None:
    data = FashionMnist(folder=str(folder), flip=True).load()
    assert data.augment is not None
    changed = data.augment(data.train_inputs, np.random.default_rng(0)).reshape(20, 28, 28)
    images = data.train_inputs.reshape(20, 28, 28)
    same = (changed == images).all((1, 2))
    turned = (changed == np.flip(images, 2)).all((1, 2))
    assert (same ^ turned).all()
    assert same.any()
    assert turned.any()


def test_files_compressed_anew_are_refused(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1))
    with pytest.raises(ConfigError, match="the MD5 of the file as published is not"):
        FashionMnist(folder=str(folder)).load()
