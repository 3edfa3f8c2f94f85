"""Random operations on images."""

import dataclasses

import numpy as np
import pytest

from eqprop_spice.datasets.random_operations import OPERATIONS, RandomOperations
from eqprop_spice.errors import ConfigError

GRAY = RandomOperations(2, 9.0, (0.5,), (0.25,))
COLORED = RandomOperations(3, 9.0, (0.5, 0.4, 0.3), (0.4, 0.5, 0.6))


def voltages(operations: RandomOperations, count: int) -> np.ndarray:
    """Return images of random pixels as a dataset makes voltages of them."""
    shape = (count, len(operations.means), 8, 6)
    pixels = np.random.default_rng(0).integers(256, size=shape) / 255.0
    scales, means = (np.reshape(a, (-1, 1, 1)) for a in (operations.deviations, operations.means))
    return (pixels - means) / scales


@pytest.mark.parametrize("operations", [GRAY, COLORED])
def test_without_strength_only_the_contrast_of_images_changes(operations):
    images = voltages(operations, 200)
    changed = dataclasses.replace(operations, magnitude=0.0)(images, np.random.default_rng(1))
    same = np.isclose(changed, images, rtol=0, atol=1e-12).all((1, 2, 3))
    # Of 14 operations two have no strength, and Pillow equalizes no image of so few pixels.
    expected = (13 / 14) ** operations.count
    assert abs(same.mean() - expected) < 3 * np.sqrt(expected * (1 - expected) / 200)
    assert changed.shape == images.shape


def test_each_operation_at_a_known_strength():
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    found = {}
    for number, name in enumerate(OPERATIONS):
        only = np.array([number]), np.array([1.0])
        found[name] = GRAY._changed(ramp[None], *only)[0]
    np.testing.assert_array_equal(found["identity"], ramp)
    # 45 % of 8 pixels, to the nearest: the pixels four further, and black from outside.
    np.testing.assert_array_equal(found["translate_x"][:, :4], ramp[:, 4:])
    assert not found["translate_x"][:, 4:].any() and not found["translate_y"][4:].any()
    np.testing.assert_array_equal(found["translate_y"][:4], ramp[4:])
    np.testing.assert_array_equal(found["shear_x"][0], ramp[0])
    np.testing.assert_array_equal(found["posterize"], ramp // 16 * 16)
    np.testing.assert_array_equal(found["solarize"], 255 - ramp)
    np.testing.assert_array_equal(found["brightness"], np.floor(1.9 * ramp + 1e-4))
    assert found["autocontrast"].min() == 0 and found["autocontrast"].max() == 255
    equalize = np.array([list(OPERATIONS).index("equalize")]), np.array([1.0])
    assert GRAY._changed(np.tile(ramp, (8, 8))[None], *equalize).max() > 240
    np.testing.assert_array_equal(found["color"], ramp)
    assert np.ptp(found["contrast"].astype(int)) > 63
    np.testing.assert_array_equal(found["sharpness"][0], ramp[0])
    assert (found["rotate"] != ramp).any() and (found["shear_y"] != ramp).any()


def test_a_seed_gives_the_same_images():
    images = voltages(COLORED, 5)
    first, second = (COLORED(images, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="magnitude is 31"):
        dataclasses.replace(GRAY, magnitude=31)
    with pytest.raises(ConfigError, match="2 channels"):
        dataclasses.replace(GRAY, means=(0.0, 0.0))
