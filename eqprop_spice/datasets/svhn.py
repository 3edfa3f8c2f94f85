"""Street View House Numbers from their MATLAB files."""

import dataclasses
import io
from typing import ClassVar

import numpy as np

from eqprop_spice.datasets.images import AbstractColorImages, Labelled


@dataclasses.dataclass(frozen=True)
class Svhn(AbstractColorImages):
    """House numbers cut to digits of 32x32 pixels: 73,257 for training, 26,032 for testing.

    Netzer et al. (2011), Reading Digits in Natural Images with Unsupervised Feature Learning. The
    classes are the ten digits, 0 first. Attributes as in `images.AbstractColorImages`.
    """

    TITLE: ClassVar[str] = "SVHN"
    SUBFOLDER: ClassVar[str] = "svhn"
    EDITION: ClassVar[str] = "format 2, cropped digits"
    CHECKSUMS: ClassVar[dict[str, str]] = {
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    }
    """MD5 of the files, from torchvision (`datasets/svhn.py`); the authors publish none."""

    def _labelled(self, name: str) -> Labelled:
        # It takes a while, and every experiment looks through this folder.
        from scipy.io import loadmat

        content = self._bytes(name)
        self._verify(name, content)
        variables = loadmat(io.BytesIO(content), variable_names=("X", "y"))
        # The files have row, column, channel, sample, and call the digit 0 the tenth.
        pixels = np.ascontiguousarray(variables["X"].transpose(3, 2, 0, 1))
        return Labelled(pixels, variables["y"].ravel() % 10)

    def _read(self) -> tuple[Labelled, Labelled]:
        train, test = (self._labelled(name) for name in self.CHECKSUMS)
        return train, test
