"""Random changes of images, gray and in color."""

import numpy as np
import pytest

from eqprop_spice.datasets.augmentations import augmented, mirrored, shifted

HEIGHT, WIDTH = 5, 7


def colored(count: int) -> np.ndarray:
    """Return images whose every value says where it belongs: no two are equal, none is zero."""
    size = 3 * HEIGHT * WIDTH
    return np.tile(np.arange(1.0, size + 1), count).reshape(count, 3, HEIGHT, WIDTH)


def test_shifted_images_are_moved_as_a_whole() -> None:
    rng = np.random.default_rng(0)
    images = np.zeros((200, 1, 28, 28))
    images[:, :, 14, 14] = 1.0
    moved = shifted(images, rng, 2)[:, 0]
    assert (moved.sum((1, 2)) == 1.0).all()
    where = np.argwhere(moved)[:, 1:] - 14
    assert {tuple(w) for w in where.tolist()} == {
        (i, j) for i in range(-2, 3) for j in range(-2, 3)
    }
    edge = np.zeros((50, 1, 28, 28))
    edge[:, :, 0, :] = 1.0
    moved = shifted(edge, rng, 2)
    assert set(moved.sum((1, 2, 3)).tolist()) <= {0.0, 26.0, 27.0, 28.0}


def test_the_channels_of_an_image_move_together() -> None:
    images = colored(100)
    seen = set()
    for image, moved in zip(images, shifted(images, np.random.default_rng(0), 2), strict=True):
        # The value of the middle is nowhere else, and two pixels do not move it out.
        _, row, column = np.argwhere(moved == image[0, 2, 3])[0]
        down, right = row - 2, column - 3
        expected = np.zeros_like(image)
        for i in range(HEIGHT):
            for j in range(WIDTH):
                if 0 <= i + down < HEIGHT and 0 <= j + right < WIDTH:
                    expected[:, i + down, j + right] = image[:, i, j]
        np.testing.assert_array_equal(moved, expected)
        seen.add((int(down), int(right)))
    assert len(seen) > 15


def test_half_of_the_images_are_mirrored() -> None:
    images = colored(400)
    changed = mirrored(images, np.random.default_rng(0))
    turned = (changed == np.flip(images, 3)).all((1, 2, 3))
    same = (changed == images).all((1, 2, 3))
    assert (turned ^ same).all()
    # Three deviations of the binomial distribution: 3 sqrt(400) / 2.
    assert abs(turned.sum() - 200) <= 30


@pytest.mark.parametrize(("max_shift", "flip"), [(0, False), (2, False), (0, True), (2, True)])
def test_inputs_change_as_their_images_do(max_shift: int, flip: bool) -> None:
    images = colored(40)
    expected, rng = images, np.random.default_rng(3)
    if max_shift:
        expected = shifted(expected, rng, max_shift)
    if flip:
        expected = mirrored(expected, rng)
    inputs = images.reshape(40, -1)
    kept = inputs.copy()
    changed = augmented(
        inputs, np.random.default_rng(3), shape=(3, HEIGHT, WIDTH), max_shift=max_shift, flip=flip
    )
    np.testing.assert_array_equal(changed.reshape(images.shape), expected)
    np.testing.assert_array_equal(inputs, kept)
