"""What a dataset of images is: files as published, checked, divided and turned into voltages."""

import dataclasses
import functools
import hashlib
import os
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float, Integer, UInt8

from eqprop_spice.datasets.augmentations import augmented
from eqprop_spice.datasets.base import AbstractDataset, Data, one_hot
from eqprop_spice.datasets.random_operations import RandomOperations
from eqprop_spice.errors import ConfigError

FOLDER_VARIABLE = "EQPROP_DATA"
"""Environment variable: the folder that holds datasets."""

LUMA = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue in a gray value (ITU-R BT.601)."""


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Images with their classes.

    Attributes:
        pixels: 0 is dark, 255 is bright.
        labels: Classes, from 0.
    """

    pixels: UInt8[np.ndarray, "sample channel row column"]
    labels: Integer[np.ndarray, " sample"]

    def __getitem__(self, samples: slice | Integer[np.ndarray, " some"]) -> "Labelled":
        """Return some of the images."""
        return Labelled(self.pixels[samples], self.labels[samples])

    def first_of_each(self, count: int) -> "Labelled":
        """Return the first images of every class, in the order that they stand in."""
        rows = [np.flatnonzero(self.labels == label)[:count] for label in np.unique(self.labels)]
        return self[np.sort(np.concatenate(rows))]


@dataclasses.dataclass(frozen=True)
class AbstractImages(AbstractDataset):
    """Classified images; an input per pixel, ordered by channel, then row, then column.

    Attributes:
        amplitude: Voltage of a pixel of 255; one of 0 is 0 V [V].
        target_on: Target of the right class [V].
        target_off: Target of the other classes [V].
        folder: Folder of the files; empty for the dataset's own, `SUBFOLDER`, in the folder that
            the environment variable EQPROP_DATA names.
        validation: How many training images, the last ones, to test on instead of the test images:
            choose settings with it, report without it.
        num_train: How many training images to use, the first ones; 0 for all.
        per_class: How many images of every class to train and to test on, the first ones: MNIST/100
            is [100, 10]. None for all.
        max_shift: Training images are shifted by up to so many pixels, anew whenever they are met.
        enters: What enters at the edges of a shifted image: black, or the edge's pixels again.
        padding: Width of a frame of black around every image [pixels].
        means: Per channel, the share of 255 that is subtracted from pixels before they are
            multiplied; none by default.
        deviations: Per channel, the share of 255 that they are divided by.
        random_operations: Training images are changed by so many operations drawn at random
            (RandAugment), anew whenever they are met; 0 for none.
        magnitude: How strong these are, from 0 to 30.
    """

    amplitude: float = 1.0
    target_on: float = 1.0
    target_off: float = 0.0
    folder: str = ""
    validation: int = 0
    num_train: int = 0
    per_class: tuple[int, int] | None = None
    max_shift: int = 0
    enters: Literal["black", "edge"] = "black"
    padding: int = 0
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()
    random_operations: int = 0
    magnitude: float = 9.0

    TITLE: ClassVar[str]
    """What people call the dataset."""

    SUBFOLDER: ClassVar[str]
    """Where its files lie in the folder of datasets."""

    EDITION: ClassVar[str]
    """Which files those are, where there are several of a kind."""

    CHECKSUMS: ClassVar[dict[str, str]]
    """Names of the files, with their checksums."""

    ALGORITHM: ClassVar[Literal["MD5", "SHA-256"]] = "MD5"
    """What the checksums are."""

    CHECKED: ClassVar[Literal["file", "content"]] = "file"
    """What they are of: the file as published, or what is compressed in it."""

    def __post_init__(self) -> None:
        """Refuse negative numbers."""
        for name in ("num_train", "max_shift", "padding", "random_operations"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative.")
        if self.per_class is not None and min(self.per_class) < 1:
            raise ConfigError(
                f"per_class is {list(self.per_class)}; it takes images of each class."
            )
        if min(self.deviations, default=1.0) <= 0.0:
            raise ConfigError(f"deviations is {list(self.deviations)}; they must be positive.")
        if self.max_shift and self.means and self.enters == "black":
            raise ConfigError(
                'enters is "black", but with means black is not 0 V. Set enters = "edge".'
            )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return 10

    def _read(self) -> tuple[Labelled, Labelled]:
        """Return the images for training and those for testing."""
        raise NotImplementedError

    def _flips(self) -> bool:
        """Return whether training images are mirrored; never where that makes another sign."""
        return False

    def _path(self, name: str) -> Path:
        if self.folder:
            return Path(self.folder) / name
        root = os.environ.get(FOLDER_VARIABLE)
        if root is None:
            raise ConfigError(
                f"{self.TITLE} needs its files. Set {FOLDER_VARIABLE} to a folder whose subfolder "
                f"`{self.SUBFOLDER}` holds {', '.join(self.CHECKSUMS)} ({self.EDITION}), or "
                "set dataset.folder."
            )
        return Path(root) / self.SUBFOLDER / name

    def _bytes(self, name: str) -> bytes:
        """Return a file as it is."""
        path = self._path(name)
        try:
            return path.read_bytes()
        except OSError as error:
            noun = "file" if len(self.CHECKSUMS) == 1 else "files"
            raise ConfigError(
                f"{path} cannot be read ({error.strerror}). The folder must hold the original "
                f"{self.TITLE} {noun} {', '.join(self.CHECKSUMS)}."
            ) from error

    def _verify(self, name: str, content: bytes) -> None:
        """Refuse what was not published; `content` is the file's or what it holds: `CHECKED`."""
        algorithm = self.ALGORITHM.replace("-", "").lower()
        checksum = self.CHECKSUMS[name]
        if hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() != checksum:
            what = "the file as published" if self.CHECKED == "file" else "its content"
            raise ConfigError(
                f"{self._path(name)} does not hold the original data: the {self.ALGORITHM} of "
                f"{what} is not {checksum}. Get the file again."
            )

    def _voltages(
        self, pixels: UInt8[np.ndarray, "sample channel row column"]
    ) -> Float[np.ndarray, "sample kept row column"]:
        """Return the images as voltages [V]."""
        return pixels * (self.amplitude / 255.0)

    def _prepared(
        self, pixels: UInt8[np.ndarray, "sample channel row column"]
    ) -> Float[np.ndarray, "sample kept row_padded column_padded"]:
        """Return the images as voltages [V], framed and standardized as far as asked."""
        frame = (self.padding, self.padding)
        voltages = self._voltages(np.pad(pixels, ((0, 0), (0, 0), frame, frame)))
        for name in ("means", "deviations"):
            values = getattr(self, name)
            if len(values) not in (0, 1, voltages.shape[1]):
                raise ConfigError(
                    f"{name} has {len(values)} values; there are {voltages.shape[1]} channels."
                )
        if self.means:
            voltages = voltages - self.amplitude * np.reshape(self.means, (-1, 1, 1))
        if self.deviations:
            voltages = voltages / np.reshape(self.deviations, (-1, 1, 1))
        return voltages

    def _operations(self, num_channels: int) -> RandomOperations | None:
        """Return the random operations, which know what became of pixels."""
        if not self.random_operations:
            return None
        scales = np.broadcast_to(self.deviations or (1.0,), num_channels) / self.amplitude
        means = np.broadcast_to(self.means or (0.0,), num_channels)
        count, strength = self.random_operations, self.magnitude
        return RandomOperations(count, strength, tuple(scales.tolist()), tuple(means.tolist()))

    def load(self) -> Data:
        """Return the images as voltages; see `AbstractDataset`."""
        train, test = self._read()
        if self.validation:
            count = len(train.labels)
            if not 0 < self.validation < count:
                raise ConfigError(
                    f"validation is {self.validation}; it must lie between 0 and {count}."
                )
            train, test = train[: -self.validation], train[-self.validation :]
        if self.num_train:
            train = train[: self.num_train]
        if self.per_class is not None:
            train, test = (
                train.first_of_each(self.per_class[0]),
                test.first_of_each(self.per_class[1]),
            )
        images, test_images = self._prepared(train.pixels), self._prepared(test.pixels)
        change = functools.partial(
            augmented,
            shape=images.shape[1:],
            max_shift=self.max_shift,
            edge=self.enters == "edge",
            flip=self._flips(),
            operations=self._operations(images.shape[1]),
        )
        changes = self.max_shift or self._flips() or self.random_operations
        return Data(
            images.reshape(len(images), -1),
            one_hot(train.labels, self.num_classes, self.target_on, self.target_off),
            test_images.reshape(len(test_images), -1),
            one_hot(test.labels, self.num_classes, self.target_on, self.target_off),
            "classes",
            augment=change if changes else None,
        )


@dataclasses.dataclass(frozen=True)
class AbstractColorImages(AbstractImages):
    """Images of a red, a green and a blue channel.

    Attributes:
        grayscale: Whether to make one channel of the three, their luma: a third of the inputs.
    """

    grayscale: bool = False

    def _voltages(
        self, pixels: UInt8[np.ndarray, "sample channel row column"]
    ) -> Float[np.ndarray, "sample kept row column"]:
        if not self.grayscale:
            return super()._voltages(pixels)
        gray = np.einsum("schw,c->shw", pixels, LUMA)
        return gray[:, None] * (self.amplitude / 255.0)
