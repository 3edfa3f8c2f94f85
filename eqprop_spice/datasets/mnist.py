"""MNIST from its original idx files."""

import dataclasses
from typing import ClassVar, Literal

from eqprop_spice.datasets.idx import AbstractIdxImages


@dataclasses.dataclass(frozen=True)
class Mnist(AbstractIdxImages):
    """Handwritten digits of 28x28 pixels: 60,000 for training, 10,000 for testing, 10 classes.

    Attributes as in `images.AbstractImages`.
    """

    TITLE: ClassVar[str] = "MNIST"
    SUBFOLDER: ClassVar[str] = "mnist"
    EDITION: ClassVar[str] = "the original idx files, from any mirror"
    CHECKSUMS: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte.gz": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    }
    """SHA-256 of the files' content; mirrors compress it differently."""

    ALGORITHM: ClassVar[Literal["MD5", "SHA-256"]] = "SHA-256"
    CHECKED: ClassVar[Literal["file", "content"]] = "content"
