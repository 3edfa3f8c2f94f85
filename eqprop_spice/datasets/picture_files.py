"""A user's own images: a folder with a folder per class, or one npz file."""

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np

from eqprop_spice.datasets.base import AbstractDataset, Data
from eqprop_spice.datasets.samples import Volts, samples
from eqprop_spice.errors import ConfigError
from eqprop_spice.files import read_bounded

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}

MOST_BYTES = 4_000_000_000

MOST_PIXELS = 4_000_000
"""Pixels of an image before it is made smaller."""


@dataclasses.dataclass(frozen=True)
class PictureFiles(AbstractDataset):
    """Classified images as voltages; an input per pixel, row by row.

    Attributes:
        path: A folder that has a folder of images for every class, under the class's name; or an
            npz file with `images`, `(sample, row, column)` or `(sample, row, column, channel)`,
            values 0 to 255, and `labels`. In a TOML a relative path counts from its folder.
        size: Rows and columns that images of a folder are made; all are made gray.
        amplitude: Voltage of a pixel of 255; one of 0 is 0 V [V].
        target_on: Target of the right class [V].
        target_off: Target of the other classes [V].
        test_size: Share of the images kept for testing.
        split: Seed of the choice.
    """

    path: str
    size: tuple[int, int] = (28, 28)
    amplitude: float = 30.0
    target_on: float = 1.0
    target_off: float = 0.0
    test_size: float = 0.2
    split: int = 0

    def load(self) -> Data:
        """Return the images as voltages; see `AbstractDataset`."""
        path = Path(self.path)
        pixels, labels = self._folder(path) if path.is_dir() else self._npz(path)
        volts = Volts(self.amplitude / 255.0, "none", self.target_on, self.target_off)
        flat = pixels.reshape(len(pixels), -1)
        chosen = {"test_size": self.test_size, "split": self.split}
        return samples(flat, labels, task="classes", volts=volts, **chosen)

    def _folder(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        from PIL import Image, UnidentifiedImageError

        files = [
            (file, place.name)
            for place in sorted(path.iterdir())
            if place.is_dir()
            for file in sorted(place.iterdir())
            if file.suffix.lower() in ENDINGS
        ]
        if not files:
            raise ConfigError(f"path is {path}, which has no folders of images, one per class.")
        images = []
        for file, _ in files:
            try:
                with Image.open(file) as image:
                    if image.width * image.height > MOST_PIXELS:
                        raise ConfigError(f"{file} has more than {MOST_PIXELS:,} pixels.")
                    gray = image.convert("L").resize((self.size[1], self.size[0]))
                    images.append(np.asarray(gray, np.uint8))
            except (OSError, UnidentifiedImageError) as error:
                raise ConfigError(f"{file} cannot be read as an image: {error}.") from error
        return np.stack(images), np.array([label for _, label in files])

    def _npz(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        try:
            content = read_bounded(path, limit=MOST_BYTES)
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                images, labels = file["images"], file["labels"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ConfigError(
                f"path is {path}, neither a folder of images nor an npz file with the arrays "
                f"images and labels: {error}."
            ) from error
        if images.ndim not in (3, 4) or len(images) != len(labels):
            raise ConfigError(
                f"path is {path}, whose images have the shape {images.shape} and labels "
                f"{labels.shape}; (sample, row, column) and (sample,) are expected."
            )
        return images, labels
