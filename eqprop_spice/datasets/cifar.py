"""CIFAR-10 and CIFAR-100 from the archives of their binary version.

Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images. The Python version is
made of pickles, which run code when they are read; this one is made of bytes.
"""

import dataclasses
import io
import tarfile
from pathlib import PurePosixPath
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import UInt8

from eqprop_spice.datasets.images import AbstractColorImages, Labelled
from eqprop_spice.errors import ConfigError

IMAGE_SHAPE = (3, 32, 32)


def read_records(
    content: bytes, name: str, num_labels: int
) -> tuple[UInt8[np.ndarray, "sample label"], UInt8[np.ndarray, "sample channel row column"]]:
    """Return labels and images of a file of records: a byte per label, then a byte per pixel.

    Args:
        content: The file.
        name: Its name, for messages.
        num_labels: How many labels an image has.

    Raises:
        ConfigError: If a record is cut off, or there is none.
    """
    size = num_labels + int(np.prod(IMAGE_SHAPE))
    if not content or len(content) % size:
        raise ConfigError(
            f"{name} holds {len(content)} bytes, which are no whole number of records of {size}; "
            "it is damaged."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    return records[:, :num_labels], records[:, num_labels:].reshape(-1, *IMAGE_SHAPE)


@dataclasses.dataclass(frozen=True)
class AbstractCifar(AbstractColorImages):
    """Color images of 32x32 pixels in one archive; it is read without being unpacked to disk.

    Further attributes as in `images.AbstractColorImages`.

    Attributes:
        flip: Whether training images are mirrored left to right with probability 1/2, anew
            whenever they are met.
    """

    flip: bool = False

    EDITION: ClassVar[str] = "the binary version as published, not unpacked"

    TRAIN: ClassVar[tuple[str, ...]]
    """Files in the archive, for training."""

    TEST: ClassVar[str]
    """The one for testing."""

    NUM_LABELS: ClassVar[int]
    """How many labels an image has."""

    def _flips(self) -> bool:
        return self.flip

    def _label(self) -> int:
        """Return which of its labels is the class of an image."""
        return 0

    def _read(self) -> tuple[Labelled, Labelled]:
        (archive,) = self.CHECKSUMS
        packed = self._bytes(archive)
        self._verify(archive, packed)
        contents: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                file = tar.extractfile(member) if name in (*self.TRAIN, self.TEST) else None
                if file is not None:
                    contents[name] = file.read()

        def labelled(*names: str) -> Labelled:
            parts = [
                read_records(contents[name], f"{name} of {self._path(archive)}", self.NUM_LABELS)
                for name in names
            ]
            labels, pixels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            return Labelled(pixels, labels[:, self._label()])

        return labelled(*self.TRAIN), labelled(self.TEST)


@dataclasses.dataclass(frozen=True)
class Cifar10(AbstractCifar):
    """Animals and vehicles of 32x32 pixels: 50,000 for training, 10,000 for testing, 10 classes.

    Attributes as in `AbstractCifar`.
    """

    TITLE: ClassVar[str] = "CIFAR-10"
    SUBFOLDER: ClassVar[str] = "cifar-10"
    CHECKSUMS: ClassVar[dict[str, str]] = {
        "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"
    }
    """MD5 of the archive, published on the author's page (cs.toronto.edu/~kriz/cifar.html)."""

    TRAIN: ClassVar[tuple[str, ...]] = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
    TEST: ClassVar[str] = "test_batch.bin"
    NUM_LABELS: ClassVar[int] = 1


@dataclasses.dataclass(frozen=True)
class Cifar100(AbstractCifar):
    """Things of 32x32 pixels: 50,000 for training, 10,000 for testing, in 100 or in 20 classes.

    Further attributes as in `AbstractCifar`.

    Attributes:
        labels: "fine" for the 100 classes, "coarse" for the 20 superclasses.
    """

    labels: Literal["fine", "coarse"] = "fine"

    TITLE: ClassVar[str] = "CIFAR-100"
    SUBFOLDER: ClassVar[str] = "cifar-100"
    CHECKSUMS: ClassVar[dict[str, str]] = {
        "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"
    }
    """MD5 of the archive, published on the author's page (cs.toronto.edu/~kriz/cifar.html)."""

    TRAIN: ClassVar[tuple[str, ...]] = ("train.bin",)
    TEST: ClassVar[str] = "test.bin"
    NUM_LABELS: ClassVar[int] = 2

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return 100 if self.labels == "fine" else 20

    def _label(self) -> int:
        # The superclass comes first in a record.
        return 1 if self.labels == "fine" else 0
