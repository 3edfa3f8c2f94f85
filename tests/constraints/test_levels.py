import numpy as np
import pytest

from eqprop_spice.constraints.levels import Levels
from eqprop_spice.errors import ConfigError


def test_parameters_are_at_the_nearest_of_their_levels():
    values = np.array([-3.0, -0.9, -0.2, 0.1, 0.34, 2.0])
    found = Levels(2, 1.0)({"a": values})["a"]
    np.testing.assert_allclose(found, np.array([-3.0, -3.0, -1.0, 1.0, 1.0, 3.0]) / 3.0)
    assert len(np.unique(Levels(4)({"a": np.linspace(-2.0, 2.0, 999)})["a"])) == 16


def test_no_bits_clip_only():
    values = np.array([-3.0, 0.123, 2.0])
    np.testing.assert_array_equal(Levels(0, 1.5)({"a": values})["a"], [-1.5, 0.123, 1.5])


def test_levels_that_are_none_are_refused():
    for bad in ({"bits": -1}, {"bits": 4, "largest": 0.0}):
        with pytest.raises(ConfigError):
            Levels(**bad)
