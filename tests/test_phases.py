"""Phases: what flows into the outputs."""

import numpy as np

from eqprop_spice.costs.cross_entropy import CrossEntropy
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.phases import ConstantNudge, Force, Free, Spring


def test_free_phase_attaches_nothing():
    phase = Free()
    np.testing.assert_array_equal(phase.source_currents(3, 2), np.zeros((3, 2)))
    assert phase.conductance == 0.0


def test_force_is_a_current_source():
    currents = np.array([[1e-3, -2e-3]])
    phase = Force(currents)
    np.testing.assert_array_equal(phase.source_currents(1, 2), currents)
    assert phase.conductance == 0.0


def test_spring_pulls_towards_the_target():
    r"""The total current $\beta (t - o)$ vanishes at the target."""
    targets = np.array([[0.5, -1.0]])
    phase = Spring(2e-4, targets)
    total = phase.source_currents(1, 2) - phase.conductance * targets
    np.testing.assert_array_equal(total, np.zeros((1, 2)))


def test_constant_nudge_takes_the_targets_of_its_samples():
    targets = np.arange(8.0).reshape(4, 2)
    outputs = np.array([[0.5, 0.25]])
    nudge = ConstantNudge(SquaredError(), targets, 1e-3)
    np.testing.assert_allclose(
        nudge(outputs, slice(2, 3)).currents, 1e-3 * (targets[2:3] - outputs), rtol=1e-15
    )
    everything = nudge(np.zeros((4, 2)), slice(0, 4)).currents
    np.testing.assert_allclose(everything, 1e-3 * targets, rtol=1e-15)


def test_constant_nudge_is_minus_beta_times_the_gradient_of_any_cost():
    cost, targets = CrossEntropy(0.5), np.array([[1.0, 0.0]])
    outputs = np.array([[0.2, -0.3]])
    current = ConstantNudge(cost, targets, -2e-3)(outputs, slice(0, 1)).currents
    np.testing.assert_array_equal(current, 2e-3 * cost.gradient(outputs, targets))
