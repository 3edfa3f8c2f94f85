"""Normal starting values have the deviation that they should."""

import numpy as np
import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.initializers.normal import Normal


def test_weights_have_the_deviation_of_their_fan_in_and_biases_are_zero():
    shapes = {"dense": (400, 250), "kernel": (3, 3, 64, 32), "bias": (250,)}
    drawn = Normal(gain=0.5)(shapes, np.random.default_rng(0))
    for name, fan_in in (("dense", 400), ("kernel", 576)):
        values = drawn[name]
        assert values.shape == shapes[name]
        # Relative deviation of a sample deviation: 1 / sqrt(2 n).
        relative = 4.0 / np.sqrt(2 * values.size)
        assert values.std() == pytest.approx(0.5 / np.sqrt(fan_in), rel=relative)
    assert not drawn["bias"].any()


def test_named_groups_have_gains_of_their_own():
    shapes = {"input": (400, 250), "coupling": (2000,), "field": (250,)}
    drawn = Normal(gains={"coupling": 0.5, "input": 3.0})(shapes, np.random.default_rng(0))
    for name, deviation in (("input", 3.0 / 20.0), ("coupling", 0.5)):
        relative = 4.0 / np.sqrt(2 * drawn[name].size)
        assert drawn[name].std() == pytest.approx(deviation, rel=relative)
    assert not drawn["field"].any()
    with pytest.raises(ConfigError, match="'couplings', but the groups are coupling, field, input"):
        Normal(gains={"couplings": 0.5})(shapes, np.random.default_rng(0))


@pytest.mark.parametrize("gain", [0.0, -1.0, np.nan])
def test_refuses_a_gain_of_no_size(gain):
    with pytest.raises(ConfigError, match="gain"):
        Normal(gain)
    with pytest.raises(ConfigError, match="'coupling'"):
        Normal(gains={"coupling": gain})
