"""Fashion-MNIST from its original idx files."""

import dataclasses
from typing import ClassVar

from eqprop_spice.datasets.idx import AbstractIdxImages


@dataclasses.dataclass(frozen=True)
class FashionMnist(AbstractIdxImages):
    """Articles of clothing of 28x28 pixels: 60,000 for training, 10,000 for testing, 10 classes.

    Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747. Further attributes as in
    `images.AbstractImages`.

    Attributes:
        flip: Whether training images are mirrored left to right with probability 1/2, anew
            whenever they are met.
    """

    flip: bool = False

    TITLE: ClassVar[str] = "Fashion-MNIST"
    SUBFOLDER: ClassVar[str] = "fashion-mnist"
    EDITION: ClassVar[str] = "the original idx files, compressed as published"
    CHECKSUMS: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }
    """MD5 of the files, published by the authors in the README of zalandoresearch/fashion-mnist."""

    def _flips(self) -> bool:
        return self.flip
