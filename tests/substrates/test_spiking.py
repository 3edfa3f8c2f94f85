"""Spiking networks: their mean field is deterministic, and spikes go there."""

import dataclasses

import jax
import numpy as np
import pytest

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.errors import ConfigError
from eqprop_spice.hopfield.layers import Convolution, Dense
from eqprop_spice.phases import Free
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.path_integral import PathIntegral
from eqprop_spice.substrates.spiking import SpikingNetwork
from tests.contracts import check_substrate, relative

COST = SquaredError()

TARGETS = np.array([[0.9, 0.1], [0.2, 0.7], [0.6, 0.4]])

INPUTS = np.random.default_rng(3).standard_normal((3, 4))

REPEATS = 32
"""Runs that a root mean square is taken over."""


def network(**changes) -> SpikingNetwork:
    settings = {
        "layers": (Dense(5),),
        "num_inputs": 4,
        "num_outputs": 2,
        "mode": "mean",
        "precision": "float64",
        "tolerance": 1e-13,
    }
    return SpikingNetwork(**{**settings, **changes})


def drawn(substrate, size: float = 0.4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {k: size * rng.standard_normal(s) for k, s in substrate.parameter_shapes().items()}


def test_the_mean_field_keeps_the_contract():
    mean = network(layers=(Dense(2),), num_inputs=2)
    check_substrate(mean, drawn(mean), INPUTS[:, :2], TARGETS)


def test_convolutions_and_normal_thresholds_have_a_gradient():
    mean = network(
        noise="normal",
        width=0.4,
        num_inputs=16,
        image=(1, 4, 4),
        layers=(Convolution(2, kernel=3, padding=1, pool="average"),),
    )
    params, inputs = drawn(mean), np.random.default_rng(3).standard_normal((3, 16))
    exact = Adjoint()(mean, params, inputs, TARGETS, COST).gradient
    rule = EquilibriumPropagation("centered", 1e-4, "live")
    found = rule(mean, params, inputs, TARGETS, COST).gradient
    for name in params:
        assert relative(found[name], exact[name]) < 1e-6


@pytest.fixture(scope="module")
def far():
    """Spread and bias of mean traces, root mean squares over units, by alpha and steps."""
    params, found = drawn(network()), {}
    (rates,) = network().settle(params, INPUTS, [Free()])
    for alpha, steps in ((0.05, 1000), (0.05, 16_000), (0.4, 16_000)):
        spikes = network(mode="spikes", alpha=alpha, steps=steps, burn_in=200, precision="float32")

        def traces(key, spikes=spikes):
            return spikes.settle(params, INPUTS, [Free()], start=rates.state, key=key)[0].state

        many = jax.jit(jax.vmap(traces))(jax.random.split(jax.random.key(steps), REPEATS))
        errors = [np.asarray(a) - np.asarray(b) for a, b in zip(many, rates.state, strict=True)]
        flat = np.concatenate([e.reshape(REPEATS, -1) for e in errors], axis=1)
        found[alpha, steps] = tuple(
            float(np.sqrt((x**2).mean())) for x in (flat - flat.mean(0), flat.mean(0))
        )
    return found


def test_the_spread_of_mean_traces_falls_with_the_root_of_the_steps(far):
    slope = np.log(far[0.05, 16_000][0] / far[0.05, 1000][0]) / np.log(16)
    # Spikes are correlated over some times 1 / 0.05 steps: 1,000 are enough for the root.
    assert slope == pytest.approx(-0.5, abs=0.05)


def test_mean_traces_go_to_the_rates_as_traces_grow_slow(far):
    assert far[0.05, 16_000][1] < 0.3 * far[0.4, 16_000][1]
    assert far[0.05, 16_000][1] < 0.02


def test_the_update_goes_to_the_deterministic_one_and_common_numbers_help():
    params = drawn(network())
    rule = EquilibriumPropagation("centered", 0.2, "live")
    exact = rule(network(), params, INPUTS, TARGETS, COST).gradient
    bias, variance = {}, {}
    for alpha, common in ((0.4, True), (0.02, True), (0.02, False)):
        spikes = network(mode="spikes", alpha=alpha, steps=2000, common_numbers=common)

        def gradient(key, spikes=spikes):
            return rule(spikes, params, INPUTS, TARGETS, COST, key=key).gradient

        many = jax.jit(jax.vmap(gradient))(jax.random.split(jax.random.key(0), REPEATS))
        flat = np.concatenate(
            [(np.asarray(many[k]) - exact[k]).reshape(REPEATS, -1) for k in exact], axis=1
        )
        bias[alpha, common] = np.linalg.norm(flat.mean(0))
        variance[alpha, common] = flat.var(0).sum()
    size = np.sqrt(sum((np.asarray(v) ** 2).sum() for v in exact.values()))
    assert bias[0.02, True] < 0.4 * bias[0.4, True]
    assert bias[0.02, True] < 0.25 * size
    assert variance[0.02, True] < 0.3 * variance[0.02, False]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 0.0}, "width is 0.0"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 1.5}, "alpha"),
        ({"steps": 0}, "steps"),
    ],
)
def test_units_that_cannot_fire_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        network(**changes)


def test_maxima_and_bounds_are_refused():
    layers = (Convolution(2, kernel=3, padding=1, pool="max"),)
    with pytest.raises(ConfigError, match="average"):
        network(layers=layers, num_inputs=16, image=(1, 4, 4)).check()
    with pytest.raises(ConfigError, match="bounds"):
        network(layers=(Dense(5, (0.0, 6.0)),)).check()


@pytest.mark.parametrize("rule", [PathIntegral(1.0), Adjoint()])
def test_rules_that_spikes_have_no_answer_for_are_refused(rule):
    spikes = dataclasses.replace(network(), mode="spikes")
    with pytest.raises(ConfigError, match="SpikingNetwork cannot"):
        rule.check_substrate(spikes)
