"""Langevin chains against closed forms and quadrature."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.kinds import build
from eqprop_spice.hopfield.layers import Dense
from eqprop_spice.phases import Force, Free, Spring
from eqprop_spice.settled import Settled
from eqprop_spice.substrates.base import AbstractSubstrate
from eqprop_spice.substrates.hopfield import Hopfield
from eqprop_spice.substrates.langevin import Thermal

STANDARD_ERRORS = 4.0

TEMPERATURE = 0.5

INPUTS = np.array([[0.3], [-1.0]])


@dataclasses.dataclass(frozen=True)
class Quartic(AbstractSubstrate):
    """Two coupled units with E = a s^2/2 + b o^2/2 - c s o - x s + q (s^4 + o^4)/4."""

    quartic: float = 0.0
    num_inputs: int = 1
    num_outputs: int = 1

    def parameter_shapes(self):
        return {"stiffness": (2,), "coupling": (1,)}

    def energy(self, params, inputs, state):
        square = 0.5 * (params["stiffness"] * state**2).sum(1)
        pair = params["coupling"][0] * state[:, 0] * state[:, 1]
        return square - pair - inputs[:, 0] * state[:, 0] + 0.25 * self.quartic * (state**4).sum(1)

    def outputs(self, state):
        return state[:, 1:]

    def settle(self, params, inputs, phases, *, start=None, key=None):
        state = jnp.zeros((len(inputs), 2))
        done = jnp.zeros(len(inputs))
        return [Settled(state, done == 0, done, done.astype(int)) for _ in phases]


PARAMS = {"stiffness": np.array([1.0, 2.0]), "coupling": np.array([0.7])}


def chains(quartic: float, **changes) -> Thermal:
    settings = {"chains": 64, "burn_in": 200, "draws": 400, "temperature": TEMPERATURE, "step": 0.2}
    return Thermal(system=Quartic(quartic), num_outputs=1, **{**settings, **changes})


def by_quadrature(quartic: float, x: float, force: float, stiffness: float) -> np.ndarray:
    """Means of s, o, s^2, o^2 and s o."""
    grid = np.linspace(-7.0, 7.0, 401)
    s, o = np.meshgrid(grid, grid, indexing="ij")
    energy = 0.5 * s**2 + o**2 - 0.7 * s * o - x * s + 0.25 * quartic * (s**4 + o**4)
    energy = energy + 0.5 * stiffness * o**2 - force * o
    density = np.exp(-(energy - energy.min()) / TEMPERATURE)

    def total(values):
        return integrate.simpson(integrate.simpson(values * density, x=grid), x=grid)

    return np.array([total(v) for v in (s, o, s**2, o**2, s * o)]) / total(np.ones_like(s))


@pytest.mark.parametrize("quartic", [0.0, 1.5])
def test_metropolis_samples_the_boltzmann_distribution(quartic):
    thermal = chains(quartic)
    phases = [Free(), Spring(3.0, np.array([[0.8], [0.1]])), Force(np.array([[1.0], [-0.5]]))]
    settle = jax.jit(lambda key: thermal.settle(PARAMS, INPUTS, phases, key=key))
    found = settle(jax.random.key(0))
    loads = [((0.0, 0.0), 0.0), ((2.4, 0.3), 3.0), ((1.0, -0.5), 0.0)]
    for settled, (forces, stiffness) in zip(found, loads, strict=True):
        values = np.asarray(settled.state.values)
        s, o = values[..., 0], values[..., 1]
        moments = np.stack([s, o, s**2, o**2, s * o], axis=-1)
        parts = moments.reshape(2, 64, 400, 5).mean(2)
        error = parts.std(1, ddof=1) / np.sqrt(64)
        for sample in range(2):
            expected = by_quadrature(quartic, INPUTS[sample, 0], forces[sample], stiffness)
            distance = np.abs(moments[sample].mean(0) - expected)
            assert (distance < STANDARD_ERRORS * error[sample]).all()
            assert (error < 0.05).all()


def test_without_the_test_the_error_falls_with_the_step():
    # Euler's variance of a Gaussian with stiffness k is T/k (1 - k step / 2)^-1; Heun's is of the
    # second order: T/k (1 + (k step)^2 / 4 + ...).
    def excess(scheme: str, step: float) -> float:
        thermal = chains(0.0, scheme=scheme, step=step, draws=2000, chains=256)
        params = {"stiffness": np.array([1.0, 1.0]), "coupling": np.zeros(1)}
        (found,) = jax.jit(lambda key: thermal.settle(params, 0 * INPUTS, [Free()], key=key))(
            jax.random.key(0)
        )
        return float(np.asarray(found.state.values).var() / TEMPERATURE - 1.0)

    assert excess("euler", 0.4) == pytest.approx(1 / 0.8 - 1, abs=0.01)
    assert abs(excess("heun", 0.4)) < 0.3 * excess("euler", 0.4)
    assert abs(excess("metropolis", 0.4)) < 0.01


def test_bounded_states_keep_their_bounds():
    network = Hopfield((), num_inputs=1, num_outputs=1, output_bounds=(0.0, 1.0))
    thermal = Thermal(
        system=network,
        num_inputs=1,
        num_outputs=1,
        temperature=0.3,
        chains=64,
        draws=400,
        burn_in=200,
    )
    params = {"weight_1": np.array([[0.8]]), "bias_1": np.zeros(1)}
    (found,) = jax.jit(lambda key: thermal.settle(params, INPUTS, [Free()], key=key))(
        jax.random.key(1)
    )
    (values,) = found.state.values
    assert values.min() >= 0.0 and values.max() <= 1.0
    grid = np.linspace(0.0, 1.0, 2001)
    for sample, x in enumerate(INPUTS[:, 0]):
        density = np.exp(-(0.5 * grid**2 - 0.8 * x * grid) / 0.3)
        mean = integrate.simpson(grid * density, x=grid) / integrate.simpson(density, x=grid)
        parts = np.asarray(values[sample, :, 0]).reshape(64, 400).mean(1)
        error = parts.std(ddof=1) / 8
        assert abs(parts.mean() - mean) < STANDARD_ERRORS * error
        assert error < 0.01


def test_a_chain_that_never_moves_has_not_settled():
    thermal = chains(1.5, burn_in=0, step=1e9, chains=2, draws=8)
    (found,) = thermal.settle(PARAMS, INPUTS, [Free()], key=jax.random.key(0))
    assert not np.asarray(found.converged).any()
    assert "never moved" in thermal.explain(found, 0)


@pytest.mark.slow
def test_many_units_at_their_bounds_move():
    # 24 units that know nothing of each other: two thirds of them settle at a bound.
    biases = np.linspace(-1.0, 2.0, 24)
    network = Hopfield((Dense(24),), num_inputs=1, num_outputs=1)
    shapes = network.parameter_shapes()
    params = {name: np.zeros(shape) for name, shape in shapes.items()} | {"bias_1": biases}
    thermal = Thermal(
        system=network,
        num_inputs=1,
        num_outputs=1,
        temperature=0.3,
        chains=64,
        draws=300,
        burn_in=2000,
        thinning=20,
    )
    settle = jax.jit(lambda key: thermal.settle(params, INPUTS[:1], [Free()], key=key)[0])
    found = settle(jax.random.key(2))
    assert np.asarray(found.converged).all()
    values = np.asarray(found.state.values[0])[0].reshape(64, 300, 24)
    assert values.min() >= 0.0 and values.max() <= 1.0
    grid = np.linspace(0.0, 1.0, 2001)
    density = np.exp(-(0.5 * grid**2 - biases[:, None] * grid) / 0.3)
    means = integrate.simpson(grid * density, x=grid) / integrate.simpson(density, x=grid)
    parts = values.mean(1)
    error = parts.std(0, ddof=1) / 8.0
    assert (np.abs(parts.mean(0) - means) < STANDARD_ERRORS * error).all()
    assert error.max() < 0.02


def test_a_table_names_the_system():
    table = {
        "kind": "langevin.Thermal",
        "temperature": 0.1,
        "system": {"kind": "hopfield.Hopfield", "layers": [{"kind": "dense", "size": 3}]},
    }
    thermal = build("substrates", table).sized(4, 2)
    assert thermal.system == Hopfield((Dense(3),), num_inputs=4, num_outputs=2)
    assert set(thermal.parameter_shapes()) == {"weight_1", "bias_1", "weight_2", "bias_2"}


def test_what_draws_itself_is_refused():
    with pytest.raises(ConfigError, match="random itself"):
        Thermal(system=chains(0.0))
    with pytest.raises(ConfigError, match="step"):
        chains(0.0, step=0.0)
