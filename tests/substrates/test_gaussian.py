"""Gaussian circuits: finite nudges are exact, and ngspice's noise is what theory says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_spice.constants import BOLTZMANN, TEMPERATURE
from eqprop_spice.costs.cross_entropy import CrossEntropy
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.errors import ConfigError
from eqprop_spice.gradients.objective import objective
from eqprop_spice.phases import Free, Spring
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.path_integral import PathIntegral
from eqprop_spice.substrates.gaussian import GaussianCircuit
from eqprop_spice.substrates.thermal_netlist import NoisyCircuit, measured_moments
from tests.contracts import check_substrate, relative

COST = SquaredError()

INPUTS = np.array([[1.0, -0.5], [0.2, 0.8]])

TARGETS = np.array([[0.3], [0.5]])

STANDARD_ERRORS = 4.0

NOISE = 1e-6
"""Relative error of gradients from ngspice's operating points and noise analyses."""


def circuit(**changes) -> GaussianCircuit:
    edges = ((0, 1), (1, 2), (2, 3), (0, 2), (1, 3))
    return GaussianCircuit(nodes=4, edges=edges, num_inputs=2, num_outputs=1, **changes)


def drawn(substrate, unit: float = 1e-3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = substrate.parameter_shapes()
    return {k: unit * rng.uniform(0.5, 2.0, s) for k, s in shapes.items()}


def test_a_gaussian_keeps_the_contract():
    system = GaussianCircuit(nodes=2, edges=((0, 1),), num_inputs=1, num_outputs=1, temperature=0.1)
    check_substrate(system, drawn(system, 1.0), INPUTS[:, :1], TARGETS)


def free_energy(params, beta: float, temperature: float) -> float:
    """The mean over samples of -T log Z with the nudge's energy, by numpy alone."""
    matrix = np.diag(params["ground"] + params["input"].sum(0)).astype(complex)
    for (a, b), g in zip(circuit().edges, params["coupling"], strict=True):
        matrix[a, a] += g
        matrix[b, b] += g
        matrix[a, b] -= g
        matrix[b, a] -= g
    matrix[3, 3] += beta
    currents = INPUTS @ params["input"]
    currents[:, 3] += beta * TARGETS[:, 0]
    constant = 0.5 * (INPUTS**2 @ params["input"].sum(1)) + 0.5 * beta * TARGETS[:, 0] ** 2
    means = np.linalg.solve(matrix, currents.T).T
    energies = constant - 0.5 * (currents * means).sum(1)
    return energies.mean() + 0.5 * temperature * np.log(np.linalg.det(matrix / 1e-3))


@pytest.fixture(scope="module")
def estimates():
    """The contrast and the path integral as functions of beta."""
    args = (circuit(), drawn(circuit()), INPUTS, TARGETS, COST)
    return jax.jit(
        lambda beta: (
            EquilibriumPropagation("positive", beta, "live")(*args).gradient,
            PathIntegral(beta, 16)(*args).gradient,
        )
    )


@pytest.mark.parametrize("beta", [1e-5, 1e-3, 1e-2])
def test_the_contrast_of_a_finite_nudge_is_exact(estimates, beta):
    system = circuit()
    params = drawn(system)
    found, path = estimates(beta)
    for name, value in params.items():
        expected = np.empty(value.shape)
        for place in np.ndindex(value.shape):
            moved = value.astype(complex)
            moved[place] += 1e-30j
            nudged, free = (
                free_energy({**params, name: moved}, b, system.temperature) for b in (beta, 0.0)
            )
            expected[place] = (nudged - free).imag / 1e-30 / beta
        assert relative(found[name], expected) < 1e-9
        assert relative(path[name], expected) < 1e-9


def test_the_objective_of_a_gaussian_is_its_free_energy():
    system = circuit()
    params = drawn(system)
    found = objective(system, params, INPUTS, TARGETS, cost=COST, beta=1e-3)
    ends = [free_energy(params, b, system.temperature).real for b in (1e-3, 0.0)]
    assert found.value == pytest.approx((ends[0] - ends[1]) / 1e-3, rel=1e-9)
    assert found.nudged_loss < found.value < found.free_loss


@pytest.mark.ngspice
def test_ngspice_gives_the_gradient_of_a_finite_nudge_without_sampling():
    system = circuit()
    params = drawn(system)
    rule = EquilibriumPropagation("positive", 2e-3, "live")
    closed, measured = (
        rule(s, params, INPUTS, TARGETS, COST).gradient for s in (system, system.reference())
    )
    still = dataclasses.replace(system, temperature=1e-15)
    means = rule(still, params, INPUTS, TARGETS, COST).gradient
    for name in params:
        assert relative(measured[name], closed[name]) < NOISE
        # The noise has a share in it: the means alone are another gradient.
        assert relative(means[name], closed[name]) > 1e3 * NOISE


@pytest.mark.ngspice
def test_johnson_noise_of_the_resistors_does_not_sample_the_co_content():
    system = circuit()
    covariances = []
    for seed in (1.0, 3.0):
        params = drawn(system, 1e-3 * seed)
        plain = NoisyCircuit(
            4, system.edges, params, 1, temperature=None, capacitance=system.capacitance
        )
        _, covariance = measured_moments(plain, INPUTS, Free())
        covariances.append(covariance[0])
    # kT/C at every node and nothing between them, whatever the conductances are.
    expected = BOLTZMANN * TEMPERATURE / system.capacitance * np.eye(4)
    for covariance in covariances:
        np.testing.assert_allclose(covariance, expected, atol=1e-3 * expected[0, 0])
    inverse = system.settle(params, INPUTS, [Free()])[0].state.covariance[0]
    correlation = inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
    assert correlation > 0.1


def test_an_exact_process_of_another_library_has_the_moments_of_the_closed_form():
    thermox = pytest.importorskip("thermox")
    system = circuit(temperature=0.3)
    params = drawn(system, 1.0)
    matrix = np.diag(params["ground"] + params["input"].sum(0))
    for (a, b), g in zip(system.edges, params["coupling"], strict=True):
        ends = np.zeros(4)
        ends[[a, b]] = 1.0, -1.0
        matrix = matrix + g * np.outer(ends, ends)
    (closed,) = system.settle(params, INPUTS[:1], [Free()])
    mean, covariance = np.asarray(closed.state.mean)[0], np.asarray(closed.state.covariance)[0]
    # Capacitances of 1: dv = -G (v - G^-1 i) dt, and white currents of the density N = 2 tau.
    rest = np.linalg.solve(matrix, INPUTS[0] @ params["input"])
    times, noise = 3.0 * np.arange(8000), 2.0 * 0.3 * np.eye(4)
    arrays = [jnp.asarray(a) for a in (times, rest, matrix, rest, noise)]
    # Its default, a scan in parallel, takes five times as long to compile.
    values = np.asarray(thermox.sample(jax.random.key(0), *arrays, associative_scan=False))
    # 3 / G are times long enough for independent draws: the errors are those of a Gaussian.
    apart = values - mean
    error = np.sqrt(np.diag(covariance) / len(values))
    assert (np.abs(apart.mean(0)) < STANDARD_ERRORS * error).all()
    found = apart.T @ apart / len(values)
    variances = np.diag(covariance)
    spread = np.sqrt((np.outer(variances, variances) + covariance**2) / len(values))
    assert (np.abs(found - covariance) < STANDARD_ERRORS * spread).all()


def test_a_spring_is_drawn_and_mixtures_are_refused():
    system = circuit()
    text = system.netlist(drawn(system), INPUTS[:1], Spring(2e-3, TARGETS[:1]), "one")
    assert "rb0 n3 0 500" in text and "if0 0 n3" in text
    with pytest.raises(ConfigError, match="temperature"):
        circuit(temperature=0.0)
    with pytest.raises(ConfigError, match="Edge"):
        GaussianCircuit(nodes=2, edges=((0, 2),))
    (state,) = system.settle(drawn(system), INPUTS, [Free()])
    with pytest.raises(ConfigError, match="squared error"):
        system.expected_cost(state.state, CrossEntropy(), TARGETS)
    assert not system.random and jax.tree.leaves(state.state)
