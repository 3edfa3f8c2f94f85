"""What the path integral refuses; its identities are tested with the Boltzmann machines."""

import numpy as np
import pytest

from eqprop_spice.costs.cross_entropy import CrossEntropy
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.errors import ConfigError
from eqprop_spice.gradients.objective import objective
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.coupled_learning import CoupledLearning
from eqprop_spice.rules.path_integral import PathIntegral
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.boltzmann import BoltzmannMachine
from eqprop_spice.substrates.oscillators import OscillatorIsing


def test_a_system_with_one_state_is_refused():
    machine = OscillatorIsing(num_inputs=2, num_outputs=1)
    with pytest.raises(ConfigError, match="return averages over samples, and OscillatorIsing"):
        PathIntegral(1.0).check_substrate(machine)
    params = {name: np.zeros(s) for name, s in machine.parameter_shapes().items()}
    data = np.zeros((1, 2)), np.zeros((1, 1))
    with pytest.raises(ConfigError, match="averages over samples"):
        objective(machine, params, *data, cost=SquaredError(), beta=1.0)


@pytest.mark.parametrize("rule", [Adjoint(), SmallSignal(), CoupledLearning()])
def test_rules_that_need_one_state_are_refused_on_draws(rule):
    machine = BoltzmannMachine(num_inputs=2, num_outputs=1)
    with pytest.raises(
        ConfigError, match=f"{type(rule).__name__} needs .* BoltzmannMachine cannot"
    ):
        rule.check_substrate(machine)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"beta": -1.0}, "beta is -1.0"), ({"beta": float("inf")}, "finite"), ({"nodes": 0}, "nodes")],
)
def test_a_path_that_is_none_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        PathIntegral(**changes)


def test_another_cost_than_the_springs_is_refused():
    with pytest.raises(ConfigError, match="CrossEntropy"):
        PathIntegral(1.0).check_cost(CrossEntropy())
