"""Phases that share one loop settle as phases that are settled one after the other."""

from typing import Any

import jax
import numpy as np
import pytest

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.ideal import Ideal
from eqprop_spice.engines.native import Native
from eqprop_spice.phases import ConstantNudge, Free, Spring
from tests.references import KIRAZ, Layered

ROUNDING = 1e-12
"""Difference of two programs with the same arithmetic [V], for voltages of about 1 V."""

TARGETS = np.array([[0.5], [-0.5], [1.0]])


@pytest.mark.parametrize("diode", [KIRAZ, Ideal()], ids=["newton", "descent"])
def test_one_loop_settles_like_a_call_per_phase(diode: Any) -> None:
    case = Layered(reflection="transformer", diode=diode)
    circuit, params, inputs = case.circuit(), case.draw(0), case.inputs(0, 3)
    nudges = [ConstantNudge(SquaredError(), TARGETS, beta) for beta in (-1e-3, 1e-3)]
    phases = [Free(), *nudges, Spring(-1e-3, TARGETS), Spring(1e-3, TARGETS)]
    alone = Native().settle(circuit, params, inputs, phases)
    together = jax.jit(lambda p: Native().settle(circuit, p, inputs, phases))(params)
    for one, other in zip(alone, together, strict=True):
        assert np.asarray(one.converged).all()
        np.testing.assert_array_equal(other.converged, one.converged)
        np.testing.assert_allclose(other.voltages, one.voltages, rtol=0.0, atol=ROUNDING)
