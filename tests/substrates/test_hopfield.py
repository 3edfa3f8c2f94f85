import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.errors import ConfigError
from eqprop_spice.hopfield.layers import Convolution, Dense, Skip
from eqprop_spice.phases import ConstantNudge, Displacement, Free, Spring
from eqprop_spice.rules.contrastive_learning import ContrastiveLearning
from eqprop_spice.rules.coupled_learning import CoupledLearning
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.settled import Relaxation
from eqprop_spice.substrates import implicit
from eqprop_spice.substrates.hopfield import Hopfield
from tests.hopfield.networks import NETWORKS, draw
from tests.hopfield.reference import settled as reference

STATE_TOLERANCE = 1e-12
"""The residual is below 1e-14; the state is off by its multiple with the inverse Hessian."""

SINGLE_TOLERANCE = 1e-5
"""The same in single precision, whose residual is a few times 1e-7."""

DIFFERENCE_TOLERANCE = 1e-7
"""Central differences with steps of 1e-5: truncation 1e-9, rounding 1e-10, relative to 0.01."""

LINEAR_TOLERANCE = 1e-9
"""Conjugate gradients stop at a relative residual of 1e-12."""

SLOPE_TOLERANCE = 0.05
"""The next order of beta at a beta of 0.01."""

EVERY = pytest.mark.parametrize("name", NETWORKS)
COST = SquaredError()


@functools.cache
def settle(name: str, seed: int = 0):
    """Return network, drawn values, and states in the free and some other phases."""
    network = NETWORKS[name]
    params, inputs, targets = draw(network, seed)
    phases = [
        Free(),
        Spring(0.2, targets),
        Spring(-0.2, targets),
        ConstantNudge(COST, targets, 0.1),
        Displacement(COST, targets, 0.25),
    ]
    states = jax.jit(lambda params: network.settle(params, inputs, phases))(params)
    return network, params, inputs, targets, states


@functools.cache
def exact(name: str):
    """Return the exact gradient of every group at the free state, and a state's slopes."""
    network, params, inputs, targets, (free, *_) = settle(name)
    slopes = COST.gradient(np.asarray(network.outputs(free.state)), targets)
    whole = np.ones(len(inputs), bool)
    gradient, valid = jax.jit(
        lambda params: network.cost_gradient(params, inputs, free.state, slopes, whole)
    )(params)
    assert valid.all()
    return gradient, slopes


def references(name: str, states, loads) -> list[list[np.ndarray]]:
    """Return the reference's state of every sample under its load.

    With max pooling there is more than one equilibrium: it starts near the one to be confirmed.
    """
    network, params, inputs, *_ = settle(name)
    rng = np.random.default_rng(4)
    found = []
    for number, (x, load) in enumerate(zip(inputs, loads, strict=True)):
        near = [np.asarray(part)[number].ravel() for part in states]
        near = [part + 1e-3 * rng.normal(size=part.shape) for part in near]
        start = near if name == "max pooling" else None
        found.append(reference(network, params, x, start=start, **load))
    return found


def largest_error(states, expected) -> float:
    return max(
        float(np.abs(np.asarray(part)[sample].ravel() - row).max())
        for sample, rows in enumerate(expected)
        for part, row in zip(states, rows, strict=True)
    )


@EVERY
def test_states_are_those_of_an_independent_fixed_point(name):
    _, _, inputs, targets, states = settle(name)
    free = references(name, states[0].state, [{}] * len(inputs))
    assert largest_error(states[0].state, free) < STATE_TOLERANCE
    outputs = np.array([rows[-1] for rows in free])
    slopes = COST.gradient(outputs, targets)
    loads = [
        [{"force": 0.2 * t, "stiffness": 0.2} for t in targets],
        [{"force": -0.2 * t, "stiffness": -0.2} for t in targets],
        [{"force": -0.1 * slope} for slope in slopes],
        [{"held": o - 0.25 * slope} for o, slope in zip(outputs, slopes, strict=True)],
    ]
    for found, rows in zip(states[1:], loads, strict=True):
        assert found.converged.all()
        assert largest_error(found.state, references(name, found.state, rows)) < STATE_TOLERANCE


@EVERY
def test_every_layer_has_free_units_and_some_have_units_at_bounds(name):
    network, *_, (free, *_) = settle(name)
    at_bounds = [
        np.isin(np.asarray(part), bounds)
        for part, bounds in zip(free.state, network.graph.bounds, strict=True)
    ]
    assert not any(part.all() for part in at_bounds)
    assert any(part.any() for part in at_bounds)


@pytest.mark.parametrize("name", ["dense", "skips", "clipped outputs"])
def test_moving_all_layers_at_once_ends_at_the_same_state(name):
    network, params, inputs, _, (free, *_) = settle(name)
    together = dataclasses.replace(network, mode="synchronous")
    (found,) = jax.jit(lambda params: together.settle(params, inputs, [Free()]))(params)
    assert found.num_steps[0] > free.num_steps[0]
    for part, expected in zip(found.state, free.state, strict=True):
        np.testing.assert_allclose(part, expected, atol=STATE_TOLERANCE)


@EVERY
def test_single_precision(name):
    network, params, inputs, targets, states = settle(name)
    single = dataclasses.replace(network, precision="float32", tolerance=1e-6)
    phases = [Free(), Spring(0.2, targets)]
    found = jax.jit(lambda params: single.settle(params, inputs, phases))(params)
    whole = np.ones(len(inputs), bool)
    for one, double in zip(found, states, strict=False):
        assert one.converged.all()
        for part, expected in zip(one.state, double.state, strict=True):
            assert part.dtype == np.float32
            np.testing.assert_allclose(part, expected, atol=SINGLE_TOLERANCE)
    gradient, expected = (
        jax.jit(system.contrast)(params, inputs, free.state, nudged.state, whole)
        for system, (free, nudged) in ((single, found), (network, states[:2]))
    )
    for group, value in gradient.items():
        assert value.dtype == params[group].dtype
        np.testing.assert_allclose(value, expected[group], atol=SINGLE_TOLERANCE)


def test_given_numbers_of_sweeps():
    network, params, inputs, targets, _ = settle("dense")
    published = dataclasses.replace(network, sweeps=(3, 2), tolerance=0.5)
    free, nudged = published.settle(params, inputs, [Free(), Spring(0.2, targets)])
    assert free.num_steps.tolist() == [3] * 3
    assert nudged.num_steps.tolist() == [2] * 3
    # Odd layers first, then even ones.
    one, two, out = (np.zeros(n) for n in (9, 7, 4))
    w = {name: value for name, value in params.items()}
    for _ in range(3):
        one = np.clip(inputs[0] @ w["weight_1"] + w["bias_1"] + w["weight_2"] @ two, 0, 1)
        out = two @ w["weight_3"] + w["bias_3"]
        two = np.clip(one @ w["weight_2"] + w["bias_2"] + w["weight_3"] @ out, 0, 1)
    for part, expected in zip(free.state, (one, two, out), strict=True):
        np.testing.assert_allclose(part[0], expected, atol=STATE_TOLERANCE)
    moved = np.clip(inputs[0] @ w["weight_1"] + w["bias_1"] + w["weight_2"] @ two, 0, 1) - one
    others = two @ w["weight_3"] + w["bias_3"] - out
    largest = max(np.abs(moved).max(), np.abs(others).max())
    np.testing.assert_allclose(free.residual[0], largest, atol=STATE_TOLERANCE)


def test_a_state_that_has_not_settled_is_marked():
    network, params, inputs, _, _ = settle("dense")
    hasty = dataclasses.replace(network, max_sweeps=2)
    (found,) = hasty.settle(params, inputs, [Free()])
    assert not found.converged.any()
    assert "after 2 sweeps" in hasty.explain(found, 0)


def test_a_warm_start_saves_sweeps():
    network, params, inputs, _, (free, *_) = settle("dense")
    nearby = {name: value * 1.0001 for name, value in params.items()}
    cold, warm = (
        network.settle(nearby, inputs, [Free()], start=start)[0] for start in (None, free.state)
    )
    assert warm.num_steps[0] < cold.num_steps[0]
    for part, expected in zip(warm.state, cold.state, strict=True):
        np.testing.assert_allclose(part, expected, atol=STATE_TOLERANCE)


@EVERY
def test_the_residual_is_the_slope_of_the_energy_where_no_bound_holds(name):
    network, params, inputs, *_ = settle(name)
    rng = np.random.default_rng(5)
    state = tuple(
        rng.uniform(0.1, 0.4, (len(inputs), *shape)) for shape in network.graph.shapes[1:]
    )

    @jax.jit
    def slopes(state):
        slope = jax.grad(lambda state: network.energy(params, inputs, state).sum())(state)
        return slope, network.residual(params, inputs, state, Free())

    slope, residual = slopes(state)
    for part, values, found, bounds in zip(
        state, slope, residual, network.graph.bounds, strict=True
    ):
        expected = np.clip(part - values, *bounds)
        np.testing.assert_allclose(part - found, expected, atol=STATE_TOLERANCE)


@EVERY
def test_the_contrast_is_the_difference_of_slopes_of_the_energy(name):
    network, params, inputs, _, (free, nudged, *_) = settle(name)
    samples = np.array([True, False, True])

    @jax.jit
    def both(params):
        def mean(params, state):
            return network.energy(params, inputs, state)[samples].mean()

        slopes = [jax.grad(mean)(params, settled.state) for settled in (free, nudged)]
        gradient = network.energy_gradient(params, inputs, free.state, samples)
        contrast = network.contrast(params, inputs, free.state, nudged.state, samples)
        return slopes, gradient, contrast

    (low, high), gradient, contrast = both(params)
    for group in params:
        np.testing.assert_allclose(gradient[group], low[group], atol=STATE_TOLERANCE)
        np.testing.assert_allclose(contrast[group], high[group] - low[group], atol=STATE_TOLERANCE)


@EVERY
def test_the_exact_gradient_is_that_of_finite_differences(name):
    network, params, inputs, targets, _ = settle(name)
    gradient, _ = exact(name)
    rng = np.random.default_rng(2)

    @jax.jit
    def loss(params):
        (free,) = network.settle(params, inputs, [Free()])
        return COST.value(network.outputs(free.state), targets).mean()

    for group, values in params.items():
        way = rng.normal(size=values.shape)
        way /= np.linalg.norm(way)
        ends = [loss({**params, group: values + step * way}) for step in (-1e-5, 1e-5)]
        difference = (ends[1] - ends[0]) / 2e-5
        along = float((np.asarray(gradient[group]) * way).sum())
        np.testing.assert_allclose(along, difference, atol=DIFFERENCE_TOLERANCE)
        assert abs(along) > 1e2 * DIFFERENCE_TOLERANCE, group


@EVERY
def test_the_exact_gradient_is_that_of_the_dense_jacobian(name):
    network, params, inputs, _, (free, *_) = settle(name)
    gradient, slopes = exact(name)
    whole = np.ones(len(inputs), bool)
    expected, _ = jax.jit(
        lambda params: implicit.cost_gradient(network, params, inputs, free.state, slopes, whole)
    )(params)
    for group in params:
        np.testing.assert_allclose(gradient[group], expected[group], atol=LINEAR_TOLERANCE)


@EVERY
@pytest.mark.parametrize("synchronous", [False, True])
def test_backpropagation_through_a_long_relaxation_is_exact(name, synchronous):
    network, params, inputs, _, (free, *_) = settle(name)
    gradient, slopes = exact(name)
    whole = np.ones(len(inputs), bool)

    def error(count):
        way = Relaxation(count, synchronous)
        found, _ = jax.jit(
            lambda params: network.cost_gradient(params, inputs, free.state, slopes, whole, way)
        )(params)
        return max(float(np.abs(found[group] - gradient[group]).max()) for group in params)

    assert error(400) < LINEAR_TOLERANCE
    assert error(3) > 1e3 * LINEAR_TOLERANCE


@EVERY
@pytest.mark.parametrize(
    ("variant", "order"), [("positive", 1.0), ("negative", 1.0), ("centered", 2.0)]
)
def test_the_bias_of_equilibrium_propagation_falls_with_beta(name, variant, order):
    network, params, inputs, targets, _ = settle(name)
    gradient, _ = exact(name)
    rule = EquilibriumPropagation(variant, nudge="live")

    @functools.partial(jax.jit, static_argnums=0)
    def errors(beta):
        estimate = rule.nudged_by(beta)(network, params, inputs, targets, COST)
        return {
            group: jax.numpy.linalg.norm(estimate.gradient[group] - gradient[group])
            for group in params
        }

    large, small = errors(2e-3), errors(1e-3)
    for group in params:
        slope = np.log2(large[group] / small[group])
        assert slope == pytest.approx(order, abs=SLOPE_TOLERANCE), group


@pytest.mark.parametrize("name", ["dense", "max pooling"])
@pytest.mark.parametrize("beta", [0.25, 0.02])
def test_theorems_of_the_comparative_study(name, beta):
    """Theorem 2: P-EP is the gradient of L_beta. Theorem 3: L_beta <= C <= L_-beta.

    With L_beta = (min(E + beta C) - min E)/beta.
    """
    network, params, inputs, targets, _ = settle(name)

    @jax.jit
    def bounds(params):
        phases = [Free(), Spring(beta, targets), Spring(-beta, targets)]
        free, up, down = network.settle(params, inputs, phases)

        def least(settled, beta):
            cost = COST.value(network.outputs(settled.state), targets)
            return network.energy(params, inputs, settled.state) + beta * cost

        lowest = least(free, 0.0)
        cost = COST.value(network.outputs(free.state), targets)
        return (least(up, beta) - lowest) / beta, cost, (least(down, -beta) - lowest) / -beta

    low, cost, high = bounds(params)
    assert (low < cost).all()
    assert (cost < high).all()
    rules = (
        (EquilibriumPropagation("positive", beta, "live"), 0),
        (EquilibriumPropagation("negative", beta, "live"), 2),
    )
    for rule, place in rules:
        estimate = jax.jit(lambda p, rule=rule: rule(network, p, inputs, targets, COST).gradient)(
            params
        )
        rng = np.random.default_rng(3)
        for group, values in params.items():
            way = rng.normal(size=values.shape)
            way /= np.linalg.norm(way)
            ends = [
                bounds({**params, group: values + step * way})[place].mean()
                for step in (-1e-5, 1e-5)
            ]
            along = float((np.asarray(estimate[group]) * way).sum())
            np.testing.assert_allclose(along, (ends[1] - ends[0]) / 2e-5, atol=DIFFERENCE_TOLERANCE)


def test_a_sample_without_a_response_is_marked():
    # Two units that pull at each other as hard as at themselves: they follow any force for ever.
    network = Hopfield((Dense(1, bounds=()),), num_inputs=1, num_outputs=1, max_sweeps=50)
    params = {name: np.ones(shape) for name, shape in network.parameter_shapes().items()}
    inputs, slopes = np.zeros((1, 1)), np.ones((1, 1))
    state = network.initial_state(1)
    gradient, valid = jax.jit(network.cost_gradient)(
        params, inputs, state, slopes, np.ones(1, bool)
    )
    assert not valid[0]
    assert all((value == 0.0).all() for value in gradient.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": (Dense(0),)}, "Layer 1 has size 0"),
        ({"layers": (Dense(3, bounds=(1.0, 0.0)),)}, "bounds"),
        ({"layers": (Convolution(3),)}, "holds no images"),
        ({"layers": (Convolution(3),), "image": (1, 4, 5)}, "image is"),
        ({"layers": (Convolution(3, kernel=5),), "image": (1, 4, 4)}, "leaves nothing"),
        ({"layers": (Convolution(3, kernel=3, pool="max", window=3),), "image": (1, 4, 4)}, "pool"),
        ({"layers": (Convolution(3, stride=0),), "image": (1, 4, 4)}, "stride 0"),
        ({"layers": (Convolution(3, padding=3),), "image": (1, 4, 4)}, "padding 3"),
        (
            {
                "layers": (Convolution(3, pool="max", bounds=(-1.0, 1.0)),),
                "image": (1, 4, 4),
            },
            "may be negative",
        ),
        ({"skips": (Skip(1, 2),)}, "past at least one layer"),
        ({"skips": (Skip(0, 9),)}, "past at least one layer"),
        ({"skips": (Skip(0, 2), Skip(0, 2))}, "the same connection"),
        (
            {
                "layers": (Convolution(2), Convolution(2, kernel=1)),
                "skips": (Skip(0, 2, 2),),
                "image": (1, 4, 4),
            },
            "The skip from layer 0 to layer 2 makes images of 3 x 3",
        ),
        ({"tolerance": 0.0}, "tolerance"),
        ({"sweeps": (60, 0)}, "sweeps"),
        ({"max_sweeps": 0}, "max_sweeps"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    network = dataclasses.replace(Hopfield((Dense(3),), num_inputs=16, num_outputs=2), **changes)
    with pytest.raises(ConfigError, match=message):
        network.check()


def test_a_spring_as_strong_as_the_outputs_is_refused():
    network, *_ = settle("dense")
    targets = np.zeros((1, 4))
    network.check_phase(Spring(-0.9, targets))
    with pytest.raises(ConfigError, match="above -1"):
        network.check_phase(Spring(-1.0, targets))


@pytest.mark.parametrize("name", ["dense", "clipped outputs"])
def test_contrastive_learning_contrasts_the_state_at_the_targets_with_the_free_one(name):
    network, params, inputs, targets, _ = settle(name)
    targets = 0.8 * targets
    rule = ContrastiveLearning()
    found = jax.jit(lambda params: rule(network, params, inputs, targets, COST).gradient)(params)
    expected = {group: np.zeros_like(values) for group, values in params.items()}
    for sample, target in zip(inputs, targets, strict=True):
        for sign, held in ((1.0, target), (-1.0, None)):
            layers = [sample, *reference(network, params, sample, held=held)]
            for layer, (before, state) in enumerate(itertools.pairwise(layers), 1):
                expected[f"weight_{layer}"] -= sign * np.outer(before, state) / len(inputs)
                expected[f"bias_{layer}"] -= sign * state / len(inputs)
    for group, values in expected.items():
        np.testing.assert_allclose(found[group], values, rtol=0, atol=10 * STATE_TOLERANCE)


def test_contrastive_learning_is_coupled_learning_with_the_outputs_at_the_targets():
    network, params, inputs, targets, _ = settle("max pooling")
    first, second = (
        jax.jit(lambda params, rule=rule: rule(network, params, inputs, targets, COST).gradient)(
            params
        )
        for rule in (ContrastiveLearning(), CoupledLearning("positive", 1.0))
    )
    for group, values in first.items():
        np.testing.assert_allclose(values, second[group], rtol=0, atol=10 * STATE_TOLERANCE)
