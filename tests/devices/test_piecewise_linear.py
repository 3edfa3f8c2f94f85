"""Diodes of two straight lines: law, energy, and ngspice."""

import numpy as np
import pytest
from scipy.integrate import quad

from eqprop_spice.devices.piecewise_linear import PiecewiseLinear
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConfigError
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes, Rectifier, SplitRectifiers
from eqprop_spice.phases import Free, Spring

AGREEMENT = 1e-9
"""Volts between engines that both solve to rounding."""

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
    hidden = layer(PiecewiseLinear(1.0, 1e-7, 0.2), 0.1)
    amplified = [hidden, BidirectionalAmplifier(2.0)]
    circuit = layered_circuit(
        [Dense(5, (1.0,)), *amplified, Dense(4), *amplified, Dense(4)], num_inputs=2, num_outputs=2
    )
    rng = np.random.default_rng(1)
    shapes = circuit.parameter_shapes()
    params = {name: rng.uniform(1e-4, 1e-2, shape) for name, shape in shapes.items()}
    inputs, phases = rng.uniform(-2, 2, (8, 2)), [Free(), Spring(1e-3, rng.normal(size=(8, 2)))]
    ours = Native().settle(circuit, params, inputs, phases)
    theirs = NgSpice().settle(circuit, params, inputs, phases)
    for one, other in zip(ours, theirs, strict=True):
        assert one.converged.all() and other.converged.all()
        np.testing.assert_allclose(one.voltages, other.voltages, rtol=0.0, atol=AGREEMENT)


@pytest.mark.parametrize(
    "values", [(1e-4, 1e-3, 0.0), (1e-3, 0.0, 0.0), (np.inf, 1e-3, 0.0), (1.0, 1e-3, np.nan)]
)
def test_lines_that_are_no_diode_are_refused(values):
    with pytest.raises(ConfigError, match="positive and in ascending order"):
        PiecewiseLinear(*values)
