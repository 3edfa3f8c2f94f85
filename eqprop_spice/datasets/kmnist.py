"""Kuzushiji-MNIST from its original idx files."""

import dataclasses
from typing import ClassVar

from eqprop_spice.datasets.idx import AbstractIdxImages


@dataclasses.dataclass(frozen=True)
class Kmnist(AbstractIdxImages):
    """Cursive hiragana of 28x28 pixels: 60,000 for training, 10,000 for testing, 10 classes.

    Clanuwat et al. (2018), arXiv:1812.01718. Attributes as in `images.AbstractImages`.
    """

    TITLE: ClassVar[str] = "KMNIST"
    SUBFOLDER: ClassVar[str] = "kmnist"
    EDITION: ClassVar[str] = "the original idx files, compressed as published"
    CHECKSUMS: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
    }
    """MD5 of the files, from torchvision (`datasets/mnist.py`); the authors publish none."""
