"""Diodes of two straight lines: law, energy, and ngspice."""

import numpy as np
import pytest
from scipy.integrate import quad

from eqprop_spice.devices.piecewise_linear import PiecewiseLinear
from eqprop_spice.errors import ConfigError
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.diodes import AntiparallelDiodes, Rectifier, SplitRectifiers
from tests.contracts import check_between_layers

INTEGRATED = 1e-12
"""Relative accuracy of the quadrature, which is told of the corner."""


@pytest.mark.parametrize("threshold", [-0.3, 0.0, 0.4])
def test_two_lines_meet_at_the_threshold(threshold):
    law = PiecewiseLinear(2e-2, 1e-4, threshold)
    v = np.array([threshold - 1.0, threshold, threshold + 1.0])
    expected = np.array([-1e-4, 0.0, 2e-2]) + 1e-4 * threshold
    np.testing.assert_allclose(law.current(v), expected, rtol=1e-12)
    np.testing.assert_allclose(law.conductance(v + 1e-3), [1e-4, 2e-2, 2e-2], rtol=1e-12)
    for volts in (-1.0, 0.7):
        corner = [threshold] if min(volts, 0) < threshold < max(volts, 0) else None
        area = quad(lambda u: float(law.current(np.array(u))), 0.0, volts, points=corner)[0]
        assert law.co_content(np.array(volts)) == pytest.approx(area, rel=INTEGRATED)


@pytest.mark.ngspice
@pytest.mark.parametrize("layer", [AntiparallelDiodes, Rectifier, SplitRectifiers])
def test_networks_have_the_voltages_of_ngspice(layer):
    hidden = [layer(PiecewiseLinear(1.0, 1e-7, 0.2), 0.1), BidirectionalAmplifier(2.0)]
    check_between_layers(hidden, num_samples=8, amplitude=2.0)


@pytest.mark.parametrize(
    "values", [(1e-4, 1e-3, 0.0), (1e-3, 0.0, 0.0), (np.inf, 1e-3, 0.0), (1.0, 1e-3, np.nan)]
)
def test_lines_that_are_no_diode_are_refused(values):
    with pytest.raises(ConfigError, match="positive and in ascending order"):
        PiecewiseLinear(*values)
