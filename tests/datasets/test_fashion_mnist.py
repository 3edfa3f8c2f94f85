"""What Fashion-MNIST does not share with MNIST; the files are small ones in the same format."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.datasets.fashion_mnist import FashionMnist
from eqprop_spice.errors import ConfigError
from tests.datasets.files import sha256, write_idx


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    contents = write_idx(tmp_path, list(FashionMnist.CHECKSUMS))
    checksums = {name: sha256(content) for name, content in contents.items()}
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


def test_files_compressed_anew_are_accepted_and_changed_ones_are_not(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content, compresslevel=1))
    assert len(FashionMnist(folder=str(folder)).load().train_inputs) == 20
    path.write_bytes(gzip.compress(content[:-1] + bytes([content[-1] ^ 1])))
    with pytest.raises(ConfigError, match="the SHA-256 of its content is not"):
        FashionMnist(folder=str(folder)).load()
