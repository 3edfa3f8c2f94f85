"""The variational check: the theorems of co-content and power hold in ngspice."""

import numpy as np
import pytest

from eqprop_spice.audit.case import Case, choose
from eqprop_spice.audit.variation import vary
from eqprop_spice.circuits.power import CLASSES
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import Layered

pytestmark = pytest.mark.ngspice

STATIONARY = 1e-7
"""Relative error of the co-content's slope: rounding of contents of 1 W relative to changes of
1e-5 W, and truncation of the fourth-order stencil."""

TELLEGEN = 1e-12
"""Sum of powers relative to their magnitudes, at points that hold to 1e-13."""

NONE = 1e-3
"""Difference of slopes between the phases relative to the gradient: the bias of beta."""


def test_theorems():
    net = Layered(hidden=(3,), shift=0.1)
    params = net.draw(0, 1e-3, 1e-2)
    case = Case(
        "test",
        ResistiveNetwork(net.circuit(), NgSpice()),
        EquilibriumPropagation(),
        SquaredError(),
        params,
        net.inputs(1, 3),
        np.full((3, 1), 0.5),
        choose(params, 6, np.random.default_rng(0)),
    )
    beta = 1e-5
    phases = vary(case, NgSpice(), beta)
    for values in phases.values():
        assert abs(values.tellegen) < TELLEGEN
        assert values.stationarity_error() < STATIONARY
        # With diodes and amplifiers, dissipated power is another function.
        assert values.dissipation_error() > 0.1
        assert tuple(values.powers) == CLASSES
    assert phases["free"].powers["nudge"] == 0.0
    assert phases["nudged"].powers["nudge"] != 0.0
    # The contrast of the co-content's slopes is the gradient: equilibrium propagation.
    exact = case.chosen(case.estimate(SmallSignal()).gradient)
    for name, gradient in exact.items():
        contrast = phases["nudged"].explicit[name] - phases["free"].explicit[name]
        assert np.abs(contrast / beta - gradient).max() < NONE * np.abs(gradient).max()
