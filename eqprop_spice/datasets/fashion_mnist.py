"""Fashion-MNIST from its original idx files."""

import dataclasses
from typing import ClassVar, Literal

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
    EDITION: ClassVar[str] = "the original idx files, compressed anew or not"
    CHECKSUMS: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        "train-labels-idx1-ubyte.gz": (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    }
    """SHA-256 of the files' content. The authors publish the MD5 of their compressed files, which
    Debian's package dataset-fashion-mnist replaces: without the name and the time in their
    headers. With the two put back, its files have the published MD5."""

    ALGORITHM: ClassVar[Literal["MD5", "SHA-256"]] = "SHA-256"
    CHECKED: ClassVar[Literal["file", "content"]] = "content"

    def _flips(self) -> bool:
        return self.flip
