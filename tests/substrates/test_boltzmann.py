"""Boltzmann machines: theorems by enumeration, and chains against it."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.errors import ConfigError
from eqprop_spice.gradients.objective import objective
from eqprop_spice.phases import Free, Spring
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.path_integral import PathIntegral
from eqprop_spice.sampling.draws import Draws
from eqprop_spice.substrates.boltzmann import BoltzmannGraph, BoltzmannMachine
from tests.contracts import check_substrate, relative

IDENTITY = 1e-8
"""Relative error of the finite-nudge gradient against differences of free energies."""

QUADRATURE = 1e-10
"""Relative error of the path integral with 16 nodes."""

ROUNDING = 1e-12

STANDARD_ERRORS = 4.0
"""Distance of an average from what it estimates."""

COST = SquaredError()

TARGETS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])

INPUTS = np.random.default_rng(5).standard_normal((3, 3))

BETAS = (0.01, 0.1, 1.0, 3.0, 10.0)

TEMPERATURE = 0.9


def machine(**changes) -> BoltzmannMachine:
    settings = {"hidden": (3, 3), "num_inputs": 3, "num_outputs": 2, "temperature": TEMPERATURE}
    return BoltzmannMachine(**{**settings, "method": "exact", **changes})


def graph(**changes) -> BoltzmannGraph:
    """A graph of eight units with triangles, so that it takes three colors."""
    edges = ((0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (4, 5), (3, 5), (5, 6), (6, 7), (1, 7), (4, 7))
    settings = {
        "units": 8,
        "edges": edges,
        "num_inputs": 3,
        "num_outputs": 2,
        "temperature": TEMPERATURE,
    }
    return BoltzmannGraph(**{**settings, "method": "exact", **changes})


def drawn(substrate, size: float = 0.7) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {k: size * rng.standard_normal(s) for k, s in substrate.parameter_shapes().items()}


def by_hand(substrate, params, beta: float):
    """Probabilities, slopes, losses and free energies of all states, with loops.

    Parameters may be complex: then so is the free energy.
    """
    count, outputs = substrate.num_units, substrate.num_outputs
    states = np.array(list(itertools.product([0.0, 1.0], repeat=count)))
    if isinstance(substrate, BoltzmannGraph):
        pairs = [("coupling", (i,), a, b) for i, (a, b) in enumerate(substrate.edges)]
        driven = count - outputs
    else:
        starts, driven = np.cumsum([0, *substrate.sizes]), substrate.sizes[0]
        pairs = [
            (f"coupling_{k}", (i, j), starts[k - 1] + i, starts[k] + j)
            for k in range(1, len(substrate.sizes))
            for i, j in np.ndindex(substrate.sizes[k - 1], substrate.sizes[k])
        ]
    slopes = {k: np.zeros((len(INPUTS), len(states), *v.shape)) for k, v in params.items()}
    slopes["bias"][:] = -states
    slopes["input"][:] = -INPUTS[:, None, :, None] * states[None, :, None, :driven]
    for name, place, a, b in pairs:
        slopes[name][(slice(None), slice(None), *place)] = -states[:, a] * states[:, b]
    energies = sum(
        (slopes[k] * params[k]).reshape(len(INPUTS), len(states), -1).sum(-1) for k in params
    )
    losses = 0.5 * ((states[:, -outputs:] - TARGETS[:, None]) ** 2).sum(-1)
    factors = np.exp(-(energies + beta * losses) / TEMPERATURE)
    sums = factors.sum(1, keepdims=True)
    return factors / sums, slopes, losses, -TEMPERATURE * np.log(sums[:, 0])


@pytest.fixture(scope="module", params=[machine, graph], ids=["machine", "graph"])
def exact(request):
    """A system, its parameters, and its contrast and path integral as functions of beta."""
    substrate = request.param()
    params = drawn(substrate)
    args = (substrate, params, INPUTS, TARGETS, COST)
    contrast = jax.jit(
        lambda beta: EquilibriumPropagation("positive", beta, "live")(*args).gradient
    )
    integral = jax.jit(lambda beta: PathIntegral(beta, 16)(*args).gradient)
    return substrate, params, contrast, integral


@pytest.mark.parametrize("beta", BETAS)
def test_the_contrast_of_a_finite_nudge_is_an_exact_gradient(exact, beta):
    substrate, params, contrast, integral = exact
    found, path = contrast(beta), integral(beta)
    for name, value in params.items():
        expected, tiny = np.empty(value.shape), 1e-30
        for place in np.ndindex(value.shape):
            # Differences along the imaginary axis have no rounding error.
            moved = value.astype(complex)
            moved[place] += 1j * tiny
            ends = [by_hand(substrate, {**params, name: moved}, b)[3] for b in (0.0, beta)]
            expected[place] = (ends[1] - ends[0]).imag.mean() / tiny / beta
        assert relative(found[name], expected) < IDENTITY
        assert relative(path[name], expected) < QUADRATURE


def test_free_energies_are_those_of_a_sum_by_hand(exact):
    substrate, params, *_ = exact
    found = substrate.free_energy(params, INPUTS, Spring(1.3, TARGETS))
    constant = 0.5 * 1.3 * (TARGETS**2).sum(1)
    np.testing.assert_allclose(found + constant, by_hand(substrate, params, 1.3)[3], rtol=1e-12)


def test_at_no_nudge_the_path_integral_is_the_gradient_of_the_loss(exact):
    substrate, params, *_ = exact
    found = PathIntegral(0.0)(substrate, params, INPUTS, TARGETS, COST).gradient
    probabilities, slopes, losses, _ = by_hand(substrate, params, 0.0)
    centered = losses - (probabilities * losses).sum(1, keepdims=True)
    for name in params:
        mean = -np.einsum("bs,bs...->...", probabilities * centered, slopes[name])
        assert relative(found[name], mean / TEMPERATURE / len(INPUTS)) < ROUNDING


@pytest.mark.parametrize("beta", (0.1, 1.0, 5.0))
def test_the_objective_lies_between_the_losses(beta):
    substrate = machine()
    params = drawn(substrate)
    found = objective(substrate, params, INPUTS, TARGETS, cost=COST, beta=beta, nodes=24)
    at_beta, _, losses, free = by_hand(substrate, params, beta)
    at_rest, _, _, free_0 = by_hand(substrate, params, 0.0)
    value = ((free - free_0) / beta).mean()
    divergence = TEMPERATURE * (at_beta * np.log(at_beta / at_rest)).sum(1).mean() / beta
    assert found.value == pytest.approx(value, abs=1e-10)
    assert found.divergence == pytest.approx(divergence, abs=1e-10)
    assert found.free_loss == pytest.approx((at_rest * losses).sum(1).mean(), abs=1e-12)
    assert found.nudged_loss <= found.value <= found.free_loss


def test_an_exact_sum_keeps_the_contract():
    small = machine(hidden=(3,))
    check_substrate(small, drawn(small), INPUTS, TARGETS)


@pytest.fixture(scope="module")
def sampled(exact):
    """The exact contrast, and those of chains of 100 and 1,600 draws, 200 times over."""
    system, params, contrast, _ = exact
    rule = EquilibriumPropagation("positive", 2.0, "live")
    truth = contrast(2.0)
    found = {}
    for draws in (100, 1600):
        chains = dataclasses.replace(system, method="gibbs", draws=draws, burn_in=50, thinning=2)
        estimate = jax.jit(
            jax.vmap(lambda key, s=chains: rule(s, params, INPUTS, TARGETS, COST, key=key).gradient)
        )
        found[draws] = estimate(jax.random.split(jax.random.key(draws), 200))
    return truth, found


def test_chains_estimate_the_exact_gradient(sampled):
    truth, found = sampled
    for draws, estimates in found.items():
        for name, values in estimates.items():
            error = np.asarray(values, float).std(0, ddof=1) / np.sqrt(len(values))
            distance = np.abs(np.asarray(values, float).mean(0) - truth[name])
            assert (distance <= STANDARD_ERRORS * error + 1e-6).all(), (draws, name)


def test_the_error_of_chains_falls_with_the_root_of_their_length(sampled):
    truth, found = sampled
    sizes = {
        draws: np.sqrt(sum(((v - truth[k]) ** 2).sum() for k, v in estimates.items()) / 200)
        for draws, estimates in found.items()
    }
    slope = np.log(sizes[1600] / sizes[100]) / np.log(16)
    assert slope == pytest.approx(-0.5, abs=0.05)


def spread(**changes) -> float:
    """Mean square error of a contrast by chains, relative to the exact gradient."""
    exact = machine()
    params = drawn(exact)
    rule = changes.pop("rule", EquilibriumPropagation("positive", 0.3, "live"))
    chains = dataclasses.replace(exact, method="gibbs", draws=100, burn_in=50, **changes)
    truth = rule(exact, params, INPUTS, TARGETS, COST).gradient
    estimate = jax.jit(
        jax.vmap(lambda key: rule(chains, params, INPUTS, TARGETS, COST, key=key).gradient)
    )
    found = estimate(jax.random.split(jax.random.key(3), 100))
    error = sum(((np.asarray(v) - truth[k]) ** 2).sum() for k, v in found.items()) / 100
    return float(error / sum((np.asarray(v) ** 2).sum() for v in truth.values()))


def test_common_numbers_smoothing_and_the_path_take_noise_away():
    plain = spread(common_numbers=False, smoothed=False)
    assert spread(common_numbers=False) < 0.9 * plain
    assert spread() < 0.2 * plain
    assert spread(rule=PathIntegral(0.3, 2), common_numbers=False) < 0.05 * plain


def test_both_generators_draw_from_the_same_distribution():
    exact = machine()
    params = drawn(exact)
    (truth,) = exact.settle(params, INPUTS, [Free()])
    for generator in ("hash", "threefry"):
        chains = machine(method="gibbs", chains=50, draws=400, generator=generator)
        (found,) = jax.jit(lambda key, s=chains: s.settle(params, INPUTS, [Free()], key=key))(
            jax.random.key(0)
        )
        error = np.asarray(found.residual)[:, None] * 2.0  # less than half is within a chain
        distance = np.abs(chains.outputs(found.state) - exact.outputs(truth.state))
        assert (distance < STANDARD_ERRORS * error).all(), generator
        assert (error < 0.02).all()


def lazy(**changes) -> tuple[BoltzmannGraph, dict[str, np.ndarray]]:
    """Two units that agree nearly always, and are both 0 as often as 1; and parameters."""
    settings = {"chains": 20, "draws": 50, "burn_in": 5, **changes}
    pair = BoltzmannGraph(units=2, edges=((0, 1),), num_inputs=1, num_outputs=1, **settings)
    coupled = {"coupling": np.array([24.0]), "bias": np.full(2, -12.0)}
    return pair, {"input": np.zeros((1, 1)), **coupled}


def test_chains_go_on_where_they_ended():
    pair, params = lazy(burn_in=0, draws=2)
    start = pair.initial_state(1)
    (found,) = pair.settle(params, np.zeros((1, 1)), [Free()], key=jax.random.key(0))
    assert [x.shape for x in jax.tree.leaves(start)] == [
        x.shape for x in jax.tree.leaves(found.state)
    ]
    for value in (0.0, 1.0):
        begin = dataclasses.replace(start, ends=np.full_like(start.ends, value))
        (found,) = pair.settle(
            params, np.zeros((1, 1)), [Free()], start=begin, key=jax.random.key(0)
        )
        assert (found.state.ends == value).all()


def test_without_a_key_the_state_is_the_mean_field():
    chains = machine(method="gibbs", chains=4)
    params = drawn(chains)
    (mean,) = chains.settle(params, INPUTS, [Free()])
    values = np.asarray(mean.state.values)[:, 0]
    fields = np.array(chains.fields(params, INPUTS, Free()))
    for k, first, second, third in ((1, 0, 3, 6), (2, 3, 6, 8)):
        coupling = params[f"coupling_{k}"]
        fields[:, first:second] += values[:, second:third] @ coupling.T
        fields[:, second:third] += values[:, first:second] @ coupling
    np.testing.assert_allclose(values, 1 / (1 + np.exp(-fields / TEMPERATURE)), atol=1e-5)


def test_chains_that_do_not_mix_are_told():
    pair, params = lazy()
    (found,) = pair.settle(params, np.zeros((1, 1)), [Free()], key=jax.random.key(0))
    figures = pair.diagnostics(found.state)
    text = pair.complaint(figures)
    assert figures["r_hat"] > 1.5 and text is not None and f"{figures['r_hat']:.2f}" in text
    easy = {**params, "coupling": np.zeros(1), "bias": np.zeros(2)}
    (found,) = pair.settle(easy, np.zeros((1, 1)), [Free()], key=jax.random.key(0))
    assert pair.complaint(pair.diagnostics(found.state)) is None


def test_a_chain_without_one_independent_draw_is_told():
    slow = machine(method="gibbs", chains=2)
    figures = {"autocorrelation_time": 39.0, "effective_draws": 1.0, "r_hat": 0.95}
    assert slow.complaint({**figures, "not_mixed": 1.0}) is not None
    # Half of the samples move once, in the middle of both chains.
    moved = np.zeros((4, 2, 20, slow.num_units))
    moved[:2, :, 10:, -1] = 1.0
    weights = np.full((4, 40), 1 / 40)
    draws = Draws(moved.reshape(4, 40, -1), weights, moved[:, :, -1])
    assert slow.diagnostics(draws)["not_mixed"] == 1.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": -1.0}, "positive"),
        ({"draws": 0}, "draws is 0"),
        ({"burn_in": -1}, "burn_in"),
        ({"error": -1.0}, "error"),
        ({"readout": "other"}, "readout"),
        ({"hidden": (0,)}, "hidden"),
    ],
)
def test_settings_that_no_chain_can_have_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        machine(**changes)


def test_too_few_draws_for_an_error_are_refused_with_how_many_it_takes():
    with pytest.raises(ConfigError, match=r"2500 independent draws.*Raise draws to 625"):
        machine(method="gibbs", chains=4, draws=100, error=0.01).check()
    asked = machine(method="gibbs", chains=4, draws=625, error=0.01)
    asked.check()
    (found,) = asked.settle(drawn(asked), INPUTS, [Free()], key=jax.random.key(0))
    worst = int(np.argmax(found.residual))
    assert np.array_equal(found.converged, np.asarray(found.residual) <= 0.01)
    assert "draws per chain would do" in asked.explain(found, worst)


def test_more_states_than_can_be_summed_over_are_refused():
    with pytest.raises(ConfigError, match="2\\^22 states"):
        machine(hidden=(20,)).check()


@pytest.mark.parametrize("edges", [((0, 0),), ((0, 9),), ((0, 1), (0, 1))])
def test_edges_that_are_none_are_refused(edges):
    with pytest.raises(ConfigError):
        graph(edges=edges)
