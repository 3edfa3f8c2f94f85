"""RandAugment: a few operations on an image, drawn at random, all of the same strength."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageEnhance, ImageOps

from eqprop_spice.errors import ConfigError

STRONGEST = 30
"""The magnitude at which every operation is at its strongest."""

MODES = {1: "L", 3: "RGB"}
"""Pillow's names of gray and color images."""

Operation = Callable[[Image.Image, float], Image.Image]
"""Changes an image by a strength from -1 to 1."""


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    """Return an image whose pixels come from where a matrix says; from outside comes black."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, strength: kind(image).enhance(1.0 + 0.9 * strength)


OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, _: image,
    "shear_x": lambda image, s: _affine(image, (1, 0.3 * s, 0, 0, 1, 0)),
    "shear_y": lambda image, s: _affine(image, (1, 0, 0, 0.3 * s, 1, 0)),
    "translate_x": lambda image, s: _affine(image, (1, 0, 0.45 * s * image.width, 0, 1, 0)),
    "translate_y": lambda image, s: _affine(image, (1, 0, 0, 0, 1, 0.45 * s * image.height)),
    "rotate": lambda image, s: image.rotate(30.0 * s),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "color": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "posterize": lambda image, s: ImageOps.posterize(image, 8 - round(4 * abs(s))),
    "solarize": lambda image, s: ImageOps.solarize(image, math.ceil(256 * (1.0 - abs(s)))),
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
}
"""The operations; their ranges are those of the paper, with up to 45 % of an image for shifts."""


@dataclasses.dataclass(frozen=True)
class RandomOperations:
    """Changes every image by some of `OPERATIONS`, each in either direction.

    Attributes:
        count: How many operations, one after the other; one may come twice.
        magnitude: Their strength, from 0 to 30.
        deviations: What a share of 255 was divided by, per channel [1/V].
        means: What was subtracted from it before [V].

    References:
        Cubuk, Zoph, Shlens and Le (2020), arXiv:1909.13719.
    """

    count: int
    magnitude: float
    deviations: tuple[float, ...]
    means: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse other strengths, and images that are neither gray nor colored."""
        if self.count < 1:
            raise ConfigError(f"random_operations is {self.count}; it must not be negative.")
        if not 0 <= self.magnitude <= STRONGEST:
            raise ConfigError(f"magnitude is {self.magnitude}; it must be from 0 to {STRONGEST}.")
        if len(self.means) not in MODES:
            raise ConfigError(f"Images of {len(self.means)} channels have no random operations.")

    def __call__(
        self, images: Float[np.ndarray, "batch channel row column"], rng: np.random.Generator
    ) -> Float[np.ndarray, "batch channel row column"]:
        """Return changed images [V], rounded to 255ths."""
        deviations, means = (np.reshape(a, (-1, 1, 1)) for a in (self.deviations, self.means))
        pixels = np.clip(np.round(255.0 * (images * deviations + means)), 0, 255).astype(np.uint8)
        drawn = rng.integers(len(OPERATIONS), size=(len(images), self.count))
        signs = rng.choice([-1.0, 1.0], size=drawn.shape)
        strengths = signs * self.magnitude / STRONGEST
        changed = [
            self._changed(*of_image) for of_image in zip(pixels, drawn, strengths, strict=True)
        ]
        return (np.array(changed).reshape(images.shape) / 255.0 - means) / deviations

    def _changed(self, pixels: np.ndarray, drawn: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        """Return the pixels of one image, `channel row column`."""
        rows = np.moveaxis(pixels, 0, -1) if len(pixels) > 1 else pixels[0]
        image = Image.fromarray(np.ascontiguousarray(rows), MODES[len(pixels)])
        operations = list(OPERATIONS.values())
        for number, strength in zip(drawn.tolist(), strengths.tolist(), strict=True):
            image = operations[number](image, strength)
        done = np.asarray(image)
        return np.moveaxis(done, -1, 0) if done.ndim > 2 else done[None]
