"""Starting conductances of signed coefficients."""

import numpy as np

from eqprop_spice.initializers.signed_pairs import PositivePairs


def test_the_negative_member_of_every_pair_is_off() -> None:
    draw = PositivePairs({"dense_0": ((0, 2), (1, 3))}, lower=1e-4, upper=1e-1, floor=1e-12)
    values = draw({"dense_0": (4, 3)}, np.random.default_rng(0))["dense_0"]
    assert (values[2:] == 1e-12).all()
    assert ((values[:2] >= 1e-4) & (values[:2] <= 1e-1)).all()
