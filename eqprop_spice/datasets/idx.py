"""Images in idx files, the format of MNIST and of what was made in its place."""

import dataclasses
import gzip
import io
import zlib

import numpy as np
from jaxtyping import UInt8

from eqprop_spice.datasets.images import AbstractImages, Labelled
from eqprop_spice.errors import ConfigError

IDX_UNSIGNED_BYTE = 0x08

MAX_CONTENT = 100_000_000
"""Largest content of a compressed file [bytes]; the images of MNIST take 47,040,016."""


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


@dataclasses.dataclass(frozen=True)
class AbstractIdxImages(AbstractImages):
    """Gray images of 28x28 pixels in four compressed idx files.

    `CHECKSUMS` names them in this order: images and labels for training, images and labels for
    testing. Attributes as in `AbstractImages`.
    """

    def _array(self, name: str) -> np.ndarray:
        compressed, path = self._bytes(name), self._path(name)
        try:
            with gzip.open(io.BytesIO(compressed)) as file:
                content = file.read(MAX_CONTENT + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError(f"{path} is not a gzip file, or damaged: {error}.") from error
        if len(content) > MAX_CONTENT:
            raise ConfigError(f"{path} expands to more than {MAX_CONTENT:,} bytes; get it again.")
        self._verify(name, compressed if self.CHECKED == "file" else content)
        return read_idx(content, str(path))

    def _read(self) -> tuple[Labelled, Labelled]:
        images, labels, test_images, test_labels = (self._array(name) for name in self.CHECKSUMS)
        return Labelled(images[:, None], labels), Labelled(test_images[:, None], test_labels)
