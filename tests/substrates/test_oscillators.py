import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import iv

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import Force, Free, Spring
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates import implicit
from eqprop_spice.substrates.base import AbstractSubstrate
from eqprop_spice.substrates.oscillators import OscillatorGraph, OscillatorIsing
from eqprop_spice.substrates.phase_model import angles, unit_vectors

COST = SquaredError()

TIGHT = 1e-13
"""Torque left in states that are compared: rounding in fields of size 1 to 10."""

BASIN = 1e-6
"""Difference of phases below which two solvers have found the same minimum [rad]: both leave
torques below 1e-9, and the softest mode of these machines has a curvature above 1e-2."""

EXACT = 1e-11
"""Relative difference of two ways to the same gradient: rounding, times the condition number."""

DIFFERENCES = 1e-7
"""Relative error of central differences with a step of 1e-5: its square, times derivatives."""

STEP = 1e-5

SLOPE = 0.1
"""Distance of a measured order of convergence from its theory, at betas of 1e-2 and 1e-3."""

EDGES = ((0, 1), (0, 2), (1, 2), (1, 4), (2, 3), (2, 5), (3, 4), (4, 5), (0, 5))

LAYERED = OscillatorIsing(
    num_inputs=4, num_outputs=2, hidden=(5,), quadrature=0.5, tolerance=TIGHT, max_sweeps=20_000
)
DEEP = dataclasses.replace(
    LAYERED, hidden=(4, 3), sync=0.1, dispersion=0.05, trained=("quadrature", "sync", "detuning")
)
GRAPH = OscillatorGraph(
    num_inputs=4,
    num_outputs=2,
    units=6,
    edges=EDGES,
    quadrature=0.5,
    trained=("sync",),
    tolerance=TIGHT,
    max_sweeps=20_000,
)
MIRRORED = dataclasses.replace(LAYERED, quadrature=0.0)
MACHINES = {"deep": DEEP, "graph": GRAPH, "mirrored": MIRRORED}


def drawn(machine, seed=0, scale=2.0):
    """Parameters, inputs and targets of three samples."""
    rng = np.random.default_rng(seed)
    params = {}
    for name, shape in machine.parameter_shapes().items():
        size = 0.1 if len(shape) == 1 and name != "coupling" else scale / np.sqrt(shape[0])
        params[name] = jnp.asarray(size * rng.standard_normal(shape))
    inputs = jnp.asarray(rng.standard_normal((3, machine.num_inputs)))
    targets = jnp.asarray(rng.choice([-1.0, 1.0], (3, machine.num_outputs)))
    return params, inputs, targets


def relative(found, wanted):
    return {k: jnp.linalg.norm(found[k] - wanted[k]) / jnp.linalg.norm(wanted[k]) for k in wanted}


def settled_in(machine, params, inputs, phases, **options):
    """What `settle` returns, compiled: operation by operation takes far longer."""
    return jax.jit(lambda: machine.settle(params, inputs, phases, **options))()


def estimated(rule, machine, params, inputs, targets):
    return jax.jit(lambda: rule(machine, params, inputs, targets, cost=COST))()


@pytest.fixture(params=MACHINES.values(), ids=list(MACHINES))
def machine(request):
    return request.param


def test_torque_is_the_slope_of_the_energy(machine):
    params, inputs, targets = drawn(machine)

    @jax.jit
    def slopes():
        phases = [Free(), Force(0.3 * targets), Spring(-0.2, targets)]
        points = machine.settle(params, inputs, phases)
        return [
            (point.converged, machine.residual(params, inputs, point.state, phase))
            for phase, point in zip(phases, points, strict=True)
        ]

    for converged, by_autodiff in slopes():
        assert bool(converged.all())
        assert float(abs(by_autodiff).max()) < 10 * TIGHT


def test_descent_finds_the_minimum_that_bfgs_finds():
    params, inputs, targets = drawn(DEEP)
    phase = Spring(0.3, targets[:1])
    (settled,) = settled_in(DEEP, params, inputs[:1], [phase])

    def total(row):
        state = row[None]
        return (DEEP.energy(params, inputs[:1], state) + phase.energy(DEEP.outputs(state)))[0]

    near = np.asarray(settled.state[0]) + 0.3 * np.random.default_rng(1).standard_normal(9)
    found = minimize(jax.jit(total), near, jac=jax.jit(jax.grad(total)), options={"gtol": 1e-10})
    np.testing.assert_allclose(found.x, settled.state[0], atol=BASIN)


def test_energy_of_a_pair_is_the_formula():
    pair = OscillatorGraph(num_inputs=1, num_outputs=1, units=2, edges=((0, 1),), sync=0.7)
    pair = dataclasses.replace(pair, quadrature=0.3)
    params = {
        "input": np.array([[2.0]]),
        "coupling": np.array([1.5]),
        "field": np.array([0.4, -0.6]),
    }
    a, b = 0.8, -1.9
    energy = jax.jit(pair.energy)(params, jnp.array([[0.5]]), jnp.array([[a, b]]))
    expected = (
        -1.5 * np.cos(a - b)
        - (0.4 + 0.5 * 2.0) * np.cos(a)
        + 0.6 * np.cos(b)
        - 0.3 * (np.sin(a) + np.sin(b))
        - 0.35 * (np.cos(2 * a) + np.cos(2 * b))
    )
    np.testing.assert_allclose(energy, [expected], rtol=1e-14)


def test_every_sweep_lowers_the_energy():
    machine = dataclasses.replace(GRAPH, sync=0.5)
    params, inputs, _ = drawn(machine, scale=4.0)

    @jax.jit
    def energy(num_sweeps):
        model = machine.model(params, inputs, Free())
        start = unit_vectors([jnp.full((len(block), 3), 1.0) for block in machine.blocks])
        units, _ = model.descend(start, 0.0, num_sweeps)
        return model.energy(angles(units))

    energies = jnp.stack([energy(count) for count in range(30)])
    assert float(jnp.diff(energies, axis=0).max()) < TIGHT
    assert float((energies[0] - energies[-1]).min()) > 1.0


def test_a_detuned_oscillator_lags_its_field():
    single = OscillatorGraph(num_inputs=1, num_outputs=1, units=2, edges=((0, 1),), tolerance=TIGHT)
    single = dataclasses.replace(single, trained=("detuning",))
    params = {
        "input": np.zeros((1, 1)),
        "coupling": np.zeros(1),
        "field": np.array([2.0, 1.5]),
        "detuning": np.array([0.0, 0.6]),
    }
    (settled,) = settled_in(single, params, np.zeros((1, 1)), [Free()])
    np.testing.assert_allclose(settled.state, [[0.0, np.arcsin(0.6 / 1.5)]], atol=1e-12)
    params["detuning"] = np.array([0.0, 1.6])
    (running,) = settled_in(single, params, np.zeros((1, 1)), [Free()])
    assert not running.converged[0] and np.isnan(running.state).all()


def test_gradient_is_that_of_the_dense_jacobian():
    params, inputs, targets = drawn(GRAPH)

    @jax.jit
    def estimates():
        found = [rule(GRAPH, params, inputs, targets, COST) for rule in (Adjoint(), SmallSignal())]
        slopes = COST.gradient(found[0].outputs, targets)
        valid = found[0].converged
        dense, _ = implicit.cost_gradient(GRAPH, params, inputs, found[0].state, slopes, valid)
        return [estimate.gradient for estimate in found], valid, dense

    gradients, valid, dense = estimates()
    assert bool(valid.all())
    for gradient in gradients:
        assert max(relative(gradient, dense).values()) < EXACT


def test_gradient_is_that_of_finite_differences(machine):
    params, inputs, targets = drawn(machine)
    exact = estimated(Adjoint(), machine, params, inputs, targets).gradient

    @jax.jit
    def loss(params):
        (free,) = machine.settle(params, inputs, [Free()])
        return COST.value(machine.outputs(free.state), targets).mean()

    for name, value in params.items():
        direction = np.random.default_rng(2).standard_normal(value.shape)
        ends = [loss({**params, name: value + sign * STEP * direction}) for sign in (1, -1)]
        measured = (ends[0] - ends[1]) / (2 * STEP)
        wanted = (exact[name] * direction).sum()
        assert abs(measured - wanted) < DIFFERENCES * jnp.linalg.norm(exact[name])


@pytest.fixture(scope="module")
def exact():
    params, inputs, targets = drawn(LAYERED)
    return estimated(Adjoint(), LAYERED, params, inputs, targets).gradient


@pytest.mark.parametrize(
    ("variant", "nudge", "order"),
    [
        ("centered", "live", 2),
        ("centered", "constant", 2),
        ("positive", "live", 1),
        ("negative", "constant", 1),
    ],
)
def test_bias_of_equilibrium_propagation_has_its_order(exact, variant, nudge, order):
    params, inputs, targets = drawn(LAYERED)
    rule = EquilibriumPropagation(variant=variant, beta=1.0, nudge=nudge)

    @jax.jit
    def error(beta):
        estimate = rule.nudged_by(beta)(LAYERED, params, inputs, targets, COST)
        return relative(estimate.gradient, exact)

    large, small = error(1e-2), error(1e-3)
    for name in exact:
        assert np.log10(large[name] / small[name]) == pytest.approx(order, abs=SLOPE), name


def test_spring_is_what_the_knobs_of_the_machine_do():
    # Gower (2025): h grows by beta t, and S falls by beta / 2, at the outputs.
    machine = dataclasses.replace(LAYERED, trained=("sync",))
    params, inputs, targets = drawn(machine)
    targets = jnp.broadcast_to(targets[:1], targets.shape)
    (sprung,) = settled_in(machine, params, inputs, [Spring(0.3, targets)])
    turned = {
        **params,
        "field": params["field"].at[-2:].add(0.3 * targets[0]),
        "sync": params["sync"].at[-2:].add(-0.15),
    }
    (knobs,) = settled_in(machine, turned, inputs, [Free()])
    np.testing.assert_allclose(knobs.state, sprung.state, atol=1e-12)


def test_dynamics_settle_where_descent_does():
    slow = dataclasses.replace(LAYERED, settling="dynamics", periods=400.0, tolerance=1e-9)
    params, inputs, targets = drawn(LAYERED)
    exact = settled_in(LAYERED, params, inputs, [Free(), Spring(0.2, targets)])
    found = settled_in(slow, params, inputs, [Free()], start=exact[1].state)
    np.testing.assert_allclose(found[0].state, exact[0].state, atol=BASIN)


def test_short_dynamics_have_not_settled():
    short = dataclasses.replace(LAYERED, settling="dynamics", periods=0.5, tolerance=1e-9)
    params, inputs, _ = drawn(short)
    (settled,) = settled_in(short, params, inputs, [Free()])
    assert not settled.converged.any() and np.isnan(settled.state).all()


def test_noise_has_the_distribution_of_von_mises():
    # One oscillator in a field h at temperature T: p ~ exp(h cos(phi) / T).
    field, temperature, samples = 1.0, 0.5, 4000
    hot = OscillatorIsing(
        num_inputs=1,
        num_outputs=1,
        hidden=(),
        settling="dynamics",
        temperature=temperature,
        periods=2.0,
        step=0.02,
        tolerance=100.0,
    )
    params = {"input": np.zeros((1, 1)), "field": np.array([field])}
    key = jax.random.key(0)
    (settled,) = jax.jit(lambda: hot.settle(params, np.zeros((samples, 1)), [Free()], key=key))()
    expected = iv(1, field / temperature) / iv(0, field / temperature)
    # Six standard errors of the mean; the bias of the step is a tenth of that.
    error = np.cos(settled.state).std() / np.sqrt(samples)
    assert abs(float(hot.outputs(settled.state).mean()) - expected) < 6 * error


def test_nudged_phases_share_their_noise():
    hot = dataclasses.replace(
        LAYERED,
        settling="dynamics",
        temperature=0.1,
        periods=1.0,
        nudged_periods=1.0,
        tolerance=1e2,
    )
    params, inputs, targets = drawn(hot)
    phases = [Free(), Spring(0.0, targets), Spring(0.0, targets)]
    free, first, second = settled_in(hot, params, inputs, phases, key=jax.random.key(1))
    np.testing.assert_array_equal(first.state, second.state)
    assert float(abs(first.state - free.state).max()) > 0.01


def test_readings_have_few_levels():
    coarse = dataclasses.replace(LAYERED, read_bits=3)
    params, inputs, _ = drawn(coarse)
    (read,) = settled_in(coarse, params, inputs, [Free()])
    (exact,) = settled_in(LAYERED, params, inputs, [Free()])
    level = np.asarray(read.state) * 7 / (2 * np.pi)
    np.testing.assert_allclose(level, np.round(level), atol=1e-12)
    assert float(abs(read.state - exact.state).max()) <= np.pi / 7


def test_nudged_phases_do_not_jump_by_a_turn():
    # An oscillator at pi: a push moves it across the cut of the arctangent.
    machine = OscillatorIsing(num_inputs=1, num_outputs=1, hidden=(), tolerance=TIGHT)
    machine = dataclasses.replace(machine, trained=("detuning",))
    params = {k: np.zeros(s) for k, s in machine.parameter_shapes().items()}
    params |= {"field": np.array([-1.0]), "detuning": np.array([1e-3])}
    free, other = settled_in(machine, params, np.zeros((1, 1)), [Free(), Force(np.array([[0.5]]))])
    assert abs(float(other.state[0, 0] - free.state[0, 0])) < 0.01


def test_start_decides_between_mirror_images():
    params, inputs, _ = drawn(MIRRORED)
    (one,) = settled_in(MIRRORED, params, inputs, [Free()])
    (other,) = settled_in(MIRRORED, params, inputs, [Free()], start=-one.state)
    np.testing.assert_allclose(other.state, -one.state, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tolerance": 0.0}, "tolerance"),
        ({"temperature": 0.1}, "dynamics"),
        ({"hidden": (3, 0)}, "layer"),
    ],
)
def test_impossible_machines_are_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(LAYERED, **change)


def test_impossible_graphs_are_refused():
    with pytest.raises(ConfigError, match="Edge"):
        dataclasses.replace(GRAPH, edges=((0, 6),))
    with pytest.raises(ConfigError, match="units is 1; the outputs alone are 2"):
        dataclasses.replace(GRAPH, units=1, edges=())
    with pytest.raises(ConfigError, match="same"):
        dataclasses.replace(GRAPH, edges=((0, 1), (1, 0)))
    with pytest.raises(ConfigError, match="Oscillator 0 has no path"):
        dataclasses.replace(GRAPH, edges=((0, 1), (2, 4), (3, 5))).check()


def test_sizes_come_from_the_data():
    machine: AbstractSubstrate = OscillatorIsing(hidden=(3,)).sized(4, 2)
    assert machine.parameter_shapes() == {
        "input": (4, 3),
        "coupling_1": (3, 2),
        "field": (5,),
    }
