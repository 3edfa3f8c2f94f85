"""Nodes as images: one plane of pixels per channel, and windows that slide over it."""

import numpy as np
from jaxtyping import Int

from eqprop_spice.errors import NetlistError

OUTSIDE = -1
"""Where a window covers no pixel."""


def planes(
    nodes: Int[np.ndarray, " node"], image: tuple[int, int], layer: str
) -> Int[np.ndarray, "channel pixel"]:
    """Return nodes in the order channel, row, column as one row of pixels per channel.

    Args:
        nodes: The nodes the previous layer ended with.
        image: Height and width [pixels].
        layer: What to call the layer in an error, with its position.

    Raises:
        NetlistError: If the nodes are no whole number of images.
    """
    check_positive(layer, image_height=image[0], image_width=image[1])
    size = image[0] * image[1]
    if len(nodes) % size:
        raise NetlistError(
            f"{layer} takes images of {image[0]} x {image[1]} pixels, but {len(nodes)} nodes come "
            f"in, which is no multiple of {size}. Set image to the height and width that the "
            "layer before it ends with."
        )
    return nodes.reshape(-1, size)


def windows(
    image: tuple[int, int], size: tuple[int, int], *, stride: tuple[int, int], padding: int = 0
) -> Int[np.ndarray, "tap window"]:
    """Return the pixel under every tap of every window, `OUTSIDE` in the padding.

    Pixels count row by row, and so do taps and windows. Windows that would reach beyond the padding
    are left out.

    Args:
        image: Height and width [pixels].
        size: Height and width of a window [pixels].
        stride: Distance between windows, down and to the right [pixels].
        padding: Width of the frame around the image [pixels].
    """
    pixels = np.arange(image[0] * image[1]).reshape(image)
    framed = np.pad(pixels, padding, constant_values=OUTSIDE)
    covered = np.lib.stride_tricks.sliding_window_view(framed, size)
    covered = covered[:: stride[0], :: stride[1]]
    return covered.reshape(-1, size[0] * size[1]).T


def check_positive(layer: str, **values: int) -> None:
    """Refuse a size below one.

    Raises:
        NetlistError: If so.
    """
    for name, value in values.items():
        if value < 1:
            raise NetlistError(f"{layer} has {name} {value}; it needs at least 1.")
