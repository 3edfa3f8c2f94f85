"""MNIST from its original idx files."""

import dataclasses
import functools
import gzip
import hashlib
import math
import os
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from eqprop_spice.datasets.base import AbstractDataset, Data, one_hot
from eqprop_spice.errors import ConfigError

FOLDER_VARIABLE = "EQPROP_DATA"
"""Environment variable: the folder that holds datasets."""

IDX_UNSIGNED_BYTE = 0x08


def read_idx(content: bytes, name: str) -> UInt8[np.ndarray, "..."]:
    """Return the array of an idx file of unsigned bytes.

    Two zero bytes, the type, the number of dimensions, each dimension as a big-endian 32-bit
    integer, then the values.

    Args:
        content: The file, not compressed.
        name: Its name, for messages.

    Raises:
        ConfigError: If it is no such file, or shorter than its header says.
    """
    if len(content) < 4 or content[:3] != bytes([0, 0, IDX_UNSIGNED_BYTE]):
        raise ConfigError(f"{name} is not an idx file of unsigned bytes.")
    num_dimensions = content[3]
    start = 4 + 4 * num_dimensions
    shape = tuple(np.frombuffer(content[4:start], ">u4").astype(int).tolist())
    values = np.frombuffer(content[start:], np.uint8)
    if len(values) != np.prod(shape, dtype=int):
        raise ConfigError(
            f"{name} holds {len(values)} values, but its header says {shape}; it is damaged."
        )
    return values.reshape(shape)


def shifted(
    inputs: Float[np.ndarray, "batch input"], rng: np.random.Generator, *, max_shift: int
) -> Float[np.ndarray, "batch input"]:
    """Return square images, each shifted at random by up to `max_shift` pixels along both axes.

    What enters at the edges is 0 V, black.
    """
    count, side = len(inputs), math.isqrt(inputs.shape[1])
    padded = np.pad(
        inputs.reshape(count, side, side), ((0, 0), (max_shift, max_shift), (max_shift, max_shift))
    )
    corners = rng.integers(0, 2 * max_shift + 1, (2, count, 1))
    rows, columns = corners + np.arange(side)
    moved = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.reshape(count, -1)


@dataclasses.dataclass(frozen=True)
class Mnist(AbstractDataset):
    """Handwritten digits of 28x28 pixels: 60,000 for training, 10,000 for testing, 10 classes.

    Attributes:
        amplitude: Voltage of a white pixel; black is 0 V [V].
        target_on: Target of the right class [V].
        target_off: Target of the other classes [V].
        folder: Folder of the four .gz files; empty for `mnist` in the folder that the environment
            variable EQPROP_DATA names.
        validation: How many training images, the last ones, to test on instead of the test images:
            choose settings with it, report without it.
        num_train: How many training images to use, the first ones; 0 for all.
        max_shift: Training images are shifted by up to so many pixels, anew whenever they are met.
    """

    amplitude: float = 1.0
    target_on: float = 1.0
    target_off: float = 0.0
    folder: str = ""
    validation: int = 0
    num_train: int = 0
    max_shift: int = 0

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

    def _folder(self) -> Path:
        if self.folder:
            return Path(self.folder)
        root = os.environ.get(FOLDER_VARIABLE)
        if root is None:
            raise ConfigError(
                f"MNIST needs its files. Set {FOLDER_VARIABLE} to a folder whose subfolder `mnist` "
                f"holds {', '.join(self.CHECKSUMS)} (the original idx files, from any mirror), or "
                "set dataset.folder."
            )
        return Path(root) / "mnist"

    def _read(self, name: str) -> np.ndarray:
        path = self._folder() / name
        try:
            compressed = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read ({error.strerror}). The folder must hold the original "
                f"MNIST files {', '.join(self.CHECKSUMS)}."
            ) from error
        try:
            content = gzip.decompress(compressed)
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError(f"{path} is not a gzip file, or damaged: {error}.") from error
        if hashlib.sha256(content).hexdigest() != self.CHECKSUMS[name]:
            raise ConfigError(
                f"{path} does not hold the original data: the SHA-256 of its content is not "
                f"{self.CHECKSUMS[name]}. Get the file again."
            )
        return read_idx(content, str(path))

    def load(self) -> Data:
        """Return the images as voltages; see `AbstractDataset`."""
        arrays = [self._read(name) for name in self.CHECKSUMS]
        images, labels, test_images, test_labels = arrays
        if self.validation:
            if not 0 < self.validation < len(images):
                raise ConfigError(
                    f"validation is {self.validation}; it must lie between 0 and {len(images)}."
                )
            test_images, test_labels = images[-self.validation :], labels[-self.validation :]
            images, labels = images[: -self.validation], labels[: -self.validation]
        if self.num_train:
            images, labels = images[: self.num_train], labels[: self.num_train]

        def voltages(pixels: np.ndarray) -> np.ndarray:
            return pixels.reshape(len(pixels), -1) * (self.amplitude / 255.0)

        num_classes = 10
        return Data(
            voltages(images),
            one_hot(labels, num_classes, self.target_on, self.target_off),
            voltages(test_images),
            one_hot(test_labels, num_classes, self.target_on, self.target_off),
            "classes",
            augment=functools.partial(shifted, max_shift=self.max_shift)
            if self.max_shift
            else None,
        )
