"""Random changes of training images, of any size and number of channels.

Positions and sides are drawn per image: its channels move together.
"""

import numpy as np
from jaxtyping import Float

from eqprop_spice.datasets.random_operations import RandomOperations


def shifted(
    images: Float[np.ndarray, "batch channel row column"],
    rng: np.random.Generator,
    max_shift: int,
    *,
    edge: bool = False,
) -> Float[np.ndarray, "batch channel row column"]:
    """Return the images, each shifted at random by up to `max_shift` pixels along both axes.

    What enters is 0 V, or the voltage of the nearest pixel at the edge.
    """
    count, channels, height, width = images.shape
    margin = (max_shift, max_shift)
    padded = np.pad(images, ((0, 0), (0, 0), margin, margin), mode="edge" if edge else "constant")
    corners = rng.integers(0, 2 * max_shift + 1, (2, count, 1))
    rows, columns = corners[0] + np.arange(height), corners[1] + np.arange(width)
    return padded[
        np.arange(count)[:, None, None, None],
        np.arange(channels)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def mirrored(
    images: Float[np.ndarray, "batch channel row column"], rng: np.random.Generator
) -> Float[np.ndarray, "batch channel row column"]:
    """Return the images, each turned left to right with probability 1/2."""
    turn = rng.random(len(images)) < 0.5
    return np.where(turn[:, None, None, None], images[..., ::-1], images)


def augmented(
    inputs: Float[np.ndarray, "batch input"],
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int],
    max_shift: int,
    edge: bool = False,
    flip: bool,
    operations: RandomOperations | None = None,
) -> Float[np.ndarray, "batch input"]:
    """Return flattened images, changed, shifted and mirrored at random as far as asked.

    Args:
        inputs: The images [V].
        rng: What to draw from.
        shape: Channels, rows and columns of an image.
        max_shift: As in `shifted`; 0 for none.
        edge: As in `shifted`.
        flip: Whether to turn them as `mirrored` does.
        operations: What else becomes of them, first.
    """
    images = inputs.reshape(-1, *shape)
    if operations is not None:
        images = operations(images, rng)
    if max_shift:
        images = shifted(images, rng, max_shift, edge=edge)
    if flip:
        images = mirrored(images, rng)
    return images.reshape(inputs.shape)
