"""Voltages that no samples can have are refused before anything is made of them."""

import numpy as np
import pytest

from eqprop_spice.datasets.samples import Volts
from eqprop_spice.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scale": np.nan}, "scale is nan V"),
        ({"target_scale": np.nan}, "target_scale is nan V"),
        ({"target_scale": -1.0}, "finite, and positive or 0"),
        ({"target_on": np.inf}, "both must be finite"),
        ({"target_on": 0.5, "target_off": 0.5}, "the right class is the output with the highest"),
    ],
)
def test_voltages_that_are_none_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        Volts(**settings)
