"""The native engine on layered circuits: against an independent Newton method and ngspice."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.convergence import random_circuit, try_networks
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.diode import PRESETS, Shockley
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.layered.equations import build_network
from eqprop_spice.engines.layered.guarded import GuardedPlan
from eqprop_spice.engines.layered.nodes import (
    DiodeSlot,
    diode_currents,
    rough_solution,
    solve_nodes,
)
from eqprop_spice.engines.layered.plan import LayeredPlan
from eqprop_spice.engines.native import Native, plan_for
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes, Rectifier
from eqprop_spice.phases import ConstantNudge, Force, Free, Spring
from tests.references import KIRAZ, Layered, bisect, diode_law

REFERENCE = 2e-11
"""Largest voltage difference [V] to the Newton method of the tests, which stops at steps of 1e-14
and whose diodes behind Rs are bisected to 1e-17; the largest seen is 2e-12 V."""

NGSPICE = 1e-9
"""Largest voltage difference [V] to ngspice at reltol 1e-10; the error is ngspice's, 1e-10 V."""

LAW = 1e-14
"""Relative difference of the two ways to compute one device law: rounding of exp and log."""

LINEAR = 1e-9
"""Relative difference of small-signal responses: conjugate gradients end at 1e-13, times the
condition of these systems."""

FINITE_DIFFERENCE = 1e-6
"""Relative truncation and rounding error of the central differences taken here."""


def columns(layered: Layered, circuit: Circuit) -> list[int]:
    return [circuit.node_names.index(name) for name in layered.node_names()]


def sound(layered: Layered, seed: int) -> dict[str, np.ndarray]:
    """Return conductances for which a negative reflection has one operating point too."""
    params = layered.draw(seed)
    if layered.reflection == "published":
        for depth, name in enumerate(reversed(params)):
            params[name] = params[name].mean() * (1 + params[name] / 1e-1) * 20.0**depth
    return params


def phases_of(layered: Layered, count: int, strength: float = 1e-3):
    rng = np.random.default_rng(9)
    targets = rng.normal(size=(count, layered.num_outputs))
    return [Free(), Force(strength * targets), Spring(strength, targets), Spring(-1e-5, targets)]


@pytest.mark.parametrize(
    ("hidden", "diode", "kind"),
    [
        ((), "kiraz", "kendall"),
        ((2,), "kiraz", "transformer"),
        ((2,), "d1n4148", "kendall"),
        ((2,), "almost_ideal", "published"),
        ((16,), "d1n5817", "transformer"),
        ((4, 3), "kiraz", "published"),
        ((4, 3), "almost_ideal", "transformer"),
        ((4, 3), "d1n4148", "kendall"),
        ((3, 4, 2), "d1n4148", "published"),
        ((3, 4, 2), "almost_ideal", "kendall"),
        ((2, 2, 3, 2), "kiraz", "transformer"),
    ],
    ids=str,
)
def test_operating_points_equal_those_of_an_independent_newton_method(hidden, diode, kind):
    layered = Layered(hidden, 3, num_outputs=2, reflection=kind, diode=PRESETS[diode])
    circuit, params, inputs = layered.circuit(), sound(layered, 0), layered.inputs(1, 4)
    phases = phases_of(layered, len(inputs))
    assert isinstance(plan_for(circuit), LayeredPlan | GuardedPlan)
    for phase, point in zip(phases, Native().settle(circuit, params, inputs, phases), strict=True):
        assert np.asarray(point.converged).all()
        assert (np.asarray(point.residual) < 1e-11).all()
        currents = phase.source_currents(len(inputs), layered.num_outputs)
        expected = layered.solve(params, inputs, currents, phase.conductance)
        found = np.asarray(point.voltages)[:, columns(layered, circuit)]
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=REFERENCE)


@pytest.mark.parametrize(
    "change",
    [
        {"inverted": True},
        {"doubled_inputs": True},
        {"differential": False},
        {"bias": (5.0, -5.0)},
        {"bias": ()},
        {"inverted": True, "doubled_inputs": True, "bias": (1.0, -1.0)},
        {"gain": 1.0},
        {"shift": 0.0},
        {"shift": -0.2},
    ],
    ids=str,
)
def test_variants_of_layered_circuits_equal_the_independent_solution(change):
    layered = dataclasses.replace(Layered((4, 3), 3, num_outputs=2), **change)
    circuit, params, inputs = layered.circuit(), layered.draw(3), layered.inputs(1, 4)
    phases = phases_of(layered, len(inputs))
    for phase, point in zip(phases, Native().settle(circuit, params, inputs, phases), strict=True):
        currents = phase.source_currents(len(inputs), layered.num_outputs)
        expected = layered.solve(params, inputs, currents, phase.conductance)
        found = np.asarray(point.voltages)[:, columns(layered, circuit)]
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=REFERENCE)


@pytest.mark.ngspice
@pytest.mark.parametrize("diode", ["kiraz", "d1n4148", "almost_ideal"])
@pytest.mark.parametrize(
    "sizes", [(3, 2, 2), (20, 16, 6), (10, 8, 6, 4, 4)], ids=lambda s: "-".join(map(str, s))
)
def test_every_node_of_both_phases_agrees_with_ngspice(sizes, diode):
    layered = Layered(sizes[1:-1], sizes[0], sizes[-1] // 2, diode=PRESETS[diode])
    circuit, params, inputs = layered.circuit(), layered.draw(5), layered.inputs(6, 4)
    targets = np.random.default_rng(7).normal(size=(4, layered.num_outputs))
    phases = [Free(), ConstantNudge(SquaredError(), targets, 1e-3), Spring(1e-3, targets)]
    pairs = zip(
        Native().settle(circuit, params, inputs, phases),
        NgSpice().settle(circuit, params, inputs, phases),
        strict=True,
    )
    for ours, theirs in pairs:
        assert theirs.converged.all() and np.asarray(ours.converged).all()
        np.testing.assert_allclose(
            np.asarray(ours.voltages), theirs.voltages, rtol=0.0, atol=NGSPICE
        )


@pytest.mark.ngspice
@pytest.mark.slow
@pytest.mark.parametrize("diode", ["kiraz", "d1n4148", "d1n5817"])
def test_a_network_of_the_size_of_mnist_agrees_with_ngspice(diode):
    layered = Layered((100,), 784, num_outputs=10, diode=PRESETS[diode])
    circuit, params, inputs = layered.circuit(), layered.draw(5), layered.inputs(6, 2)
    targets = np.random.default_rng(7).normal(size=(2, 10))
    phases = [Free(), ConstantNudge(SquaredError(), targets, 1e-3)]
    pairs = zip(
        Native().settle(circuit, params, inputs, phases),
        NgSpice().settle(circuit, params, inputs, phases),
        strict=True,
    )
    for ours, theirs in pairs:
        np.testing.assert_allclose(
            np.asarray(ours.voltages), theirs.voltages, rtol=0.0, atol=NGSPICE
        )


@pytest.mark.ngspice
@pytest.mark.slow
@given(
    hidden=st.lists(st.integers(1, 5), max_size=3),
    diode=st.sampled_from(sorted(PRESETS)),
    kind=st.sampled_from(["transformer", "kendall"]),
    inverted=st.booleans(),
    differential=st.booleans(),
    shift=st.sampled_from([0.0, 0.1, 0.3, 0.7]),
    seed=st.integers(0, 2**20),
)
def test_random_layered_circuits_agree_with_ngspice(
    hidden, diode, kind, inverted, differential, shift, seed
):
    layered = Layered(
        tuple(hidden),
        3,
        reflection=kind,
        diode=PRESETS[diode],
        inverted=inverted,
        differential=differential,
        shift=shift,
    )
    circuit, params, inputs = layered.circuit(), layered.draw(seed), layered.inputs(seed, 2)
    phases = [Free(), Spring(1e-3, np.ones((2, 1)))]
    pairs = zip(
        Native().settle(circuit, params, inputs, phases),
        NgSpice().settle(circuit, params, inputs, phases),
        strict=True,
    )
    for ours, theirs in pairs:
        assert theirs.converged.all()
        np.testing.assert_allclose(
            np.asarray(ours.voltages), theirs.voltages, rtol=0.0, atol=NGSPICE
        )


@pytest.mark.parametrize(
    ("hidden", "diode", "kind", "count"),
    [
        # One of these networks takes a line search that does not crawl where diodes begin to
        # conduct.
        ((2, 2, 2), "kiraz", "kendall", 5000),
        ((2, 2, 2), "kiraz", "published", 2000),
        ((5, 4), "d1n4148", "published", 2000),
        ((5, 4), "almost_ideal", "transformer", 2000),
        ((16,), "d1n4148", "kendall", 2000),
        ((2,), "kiraz", "transformer", 2000),
    ],
    ids=str,
)
def test_conductances_over_five_decades_never_fail(hidden, diode, kind, count):
    circuit = random_circuit(hidden, diode, kind)
    outcome = try_networks(circuit, count, np.random.default_rng(0))
    assert outcome.num_networks == count
    assert outcome.num_failures == 0


def test_outputs_that_cross_zero_converge():
    """There the currents from the hidden nodes cancel, and their sum is less than its rounding."""
    layered = Layered((3,), 2, differential=False, bias=())
    params, ends = layered.draw(0), np.array([[1.0, 0.3], [-0.9, 0.5]])

    def negative_output(part):
        return -layered.solve(params, ends[:1] + part * (ends[1:] - ends[:1]))[0, -1]

    crossing = bisect(negative_output, 0.0, 1.0)
    parts = crossing + np.linspace(-2e-14, 2e-14, 201)[:, None]
    inputs = ends[:1] + parts * (ends[1:] - ends[:1])
    (point,) = Native().settle(layered.circuit(), params, inputs, [Free()])
    assert np.asarray(point.converged).all()
    assert (np.asarray(point.num_steps) < 10).all()


@pytest.mark.parametrize("diode", list(PRESETS.values()), ids=list(PRESETS))
def test_the_plan_computes_the_law_of_the_device(diode):
    v = np.concatenate([np.linspace(-3.0, 1.0, 401), [-1e3, 2.0, 10.0], -np.geomspace(1e-9, 9, 9)])
    slot = DiodeSlot(diode, 1.0, np.zeros(len(v)), np.ones(len(v), bool))
    if diode.series_resistance == 0.0:
        v = v[v < 300 * diode.emission_voltage]
        slot = DiodeSlot(diode, 1.0, np.zeros(len(v)), np.ones(len(v), bool))
    current, slope, _ = diode_currents((slot,), jnp.asarray(v)[None, :])
    scale = diode.saturation_current
    expected = diode.current(v)
    np.testing.assert_allclose(np.asarray(current)[0], expected, rtol=20 * LAW, atol=LAW * scale)
    np.testing.assert_allclose(np.asarray(slope)[0], diode.conductance(v), rtol=1e-12)


@pytest.mark.parametrize("diode", list(PRESETS.values()), ids=list(PRESETS))
def test_a_node_with_an_antiparallel_pair_is_solved_to_rounding(diode):
    linear = np.concatenate([-np.geomspace(1e-3, 100.0, 8), [0.0, 0.02, 0.4, 3.0, 50.0]])
    c = np.repeat([1e-9, 1e-5, 1e-2, 10.0], len(linear))
    currents = c * np.tile(linear, 4)
    present, shifts = np.ones(len(c), bool), np.full(len(c), 0.2)
    slots = (DiodeSlot(diode, 1.0, shifts, present), DiodeSlot(diode, -1.0, -shifts, present))

    @jax.jit
    def solve(guess):
        return solve_nodes(slots, jnp.asarray(c)[None, :], jnp.asarray(currents)[None, :], guess)

    rows = jnp.asarray(c)[None, :], jnp.asarray(currents)[None, :]
    near, slope = solve(rough_solution(slots, *rows))
    far, _ = solve(jnp.full((1, len(c)), 30.0))
    # Where all diodes block, what they leak is known to its own rounding only.
    allowed = 1e-13 + 1e-15 * diode.saturation_current / c
    assert (np.abs(np.asarray(far - near)[0]) < allowed).all()
    exact = c + np.asarray(diode_currents(slots, near)[1])
    np.testing.assert_allclose(c + np.asarray(slope), exact, rtol=1e-7)

    def excess(v):
        pair = diode_law(diode, v - 0.2)[0] - diode_law(diode, -0.2 - v)[0]
        return c * v + pair - currents

    exact = bisect(excess, np.full(len(c), -101.0), np.full(len(c), 101.0))
    assert (np.abs(np.asarray(near)[0] - exact) <= np.maximum(allowed, 1e-13 * np.abs(exact))).all()


def test_different_diodes_at_different_nodes_and_at_the_outputs_are_solved():
    layers = [
        Dense(3, (1.0,)),
        AntiparallelDiodes(PRESETS["d1n4148"], 0.2),
        Rectifier(KIRAZ, 0.1),
        Dense(4),
        Rectifier(PRESETS["almost_ideal"]),
        BidirectionalAmplifier(3.0, "transformer"),
        Dense(2, (-1.0,)),
        AntiparallelDiodes(Shockley("wide", 1e-9, 3.0, 10.0), 0.5),
    ]
    circuit = layered_circuit(layers, num_inputs=2, num_outputs=1)
    assert isinstance(plan_for(circuit), LayeredPlan)
    rng = np.random.default_rng(0)
    params = {k: rng.uniform(1e-4, 1e-2, s) for k, s in circuit.parameter_shapes().items()}
    inputs = rng.uniform(-5.0, 5.0, (20, 2))
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    voltages = np.asarray(point.voltages)
    residual, scale = circuit.balance(params, voltages, np.zeros((20, 1)))
    assert (np.abs(residual) <= 1e-12 * scale).all()


def train_step(circuit: Circuit, targets: np.ndarray):
    """Return a traceable step: both phases, and the contrast as a gradient."""

    def step(params, inputs):
        nudge = ConstantNudge(SquaredError(), targets, 1e-4)
        free, nudged = Native().settle(circuit, params, inputs, [Free(), nudge])
        return free, nudged

    return step


@pytest.mark.parametrize("kind", ["kendall", "published"])
@pytest.mark.parametrize("hidden", [(3,), (3, 3)], ids=len)
def test_a_jitted_step_equals_the_eager_one(kind, hidden):
    layered = Layered(hidden, num_outputs=2, reflection=kind)
    circuit, params, inputs = layered.circuit(), layered.draw(0), layered.inputs(1, 4)
    step = train_step(circuit, np.ones((4, 2)))
    eager, jitted = step(params, inputs), jax.jit(step)(params, inputs)
    for one, two in zip(eager, jitted, strict=True):
        assert np.asarray(one.converged).all()
        np.testing.assert_allclose(
            np.asarray(two.voltages), np.asarray(one.voltages), rtol=0.0, atol=1e-12
        )


def test_negative_conductance_sums_are_handed_to_newton_on_all_nodes():
    layered = Layered((2,), reflection="published", gain=4.0)
    circuit, params, inputs = layered.circuit(), layered.draw(0), layered.inputs(1, 3)
    first, second = params
    params = {first: 1e-2 * params[first], second: params[second]}
    plan = plan_for(circuit)
    assert isinstance(plan, GuardedPlan)
    network = build_network(plan.layered.chain, params, jnp.zeros((1, 1)), fold=False)
    assert min(float(c.min()) for c in network.linear) < 0.0
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    voltages = np.asarray(point.voltages)
    assert np.asarray(point.converged).all()
    residual = circuit.residual(params, voltages, np.zeros((3, 1)))
    assert np.abs(residual).max() < 1e-14


def exact_gradient(circuit: Circuit, params, inputs, targets):
    """Return the gradient of the mean cost from the adjoint's multipliers, branch by branch."""
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    voltages = np.asarray(point.voltages)
    error = SquaredError().gradient(circuit.outputs(voltages), targets)
    multipliers = np.asarray(Native().adjoint(circuit, params, inputs, point.voltages, error))
    gradient = {}
    for group in circuit.trainable_groups:
        a, b = group.layout.pairs()
        product = (multipliers[:, a] - multipliers[:, b]) * (voltages[:, a] - voltages[:, b])
        gradient[group.name] = -product.mean(axis=0).reshape(group.layout.shape)
    return gradient


@pytest.mark.parametrize(
    ("kind", "inverted", "hidden"),
    [
        ("kendall", False, (3,)),
        ("transformer", True, (3,)),
        ("published", False, (3,)),
        ("published", True, (3,)),
        ("kendall", True, (3, 2)),
        ("published", False, (3, 2)),
    ],
    ids=str,
)
def test_the_adjoint_gives_the_derivative_of_the_cost(kind, inverted, hidden):
    layered = Layered(hidden, num_outputs=2, reflection=kind, inverted=inverted)
    circuit, params, inputs = layered.circuit(), sound(layered, 0), layered.inputs(1, 3)
    targets = np.random.default_rng(2).normal(size=(3, 2))

    def loss(changed):
        (point,) = Native().settle(circuit, changed, inputs, [Free()])
        outputs = circuit.outputs(np.asarray(point.voltages))
        return float(SquaredError().value(outputs, targets).mean())

    gradient = exact_gradient(circuit, params, inputs, targets)
    for name, values in params.items():
        where = np.unravel_index(np.argmax(np.abs(gradient[name])), values.shape)
        step = 1e-5 * values[where]
        plus, minus = values.copy(), values.copy()
        plus[where] += step
        minus[where] -= step
        slope = (loss({**params, name: plus}) - loss({**params, name: minus})) / (2.0 * step)
        assert gradient[name][where] == pytest.approx(slope, rel=FINITE_DIFFERENCE)


@pytest.mark.parametrize(
    ("kind", "hidden"),
    [
        ("kendall", ()),
        ("kendall", (3,)),
        ("published", (3,)),
        ("transformer", (3, 2)),
        ("published", (3, 2)),
        ("kendall", (2, 3, 2)),
    ],
    ids=str,
)
def test_the_response_is_the_derivative_of_all_voltages(kind, hidden):
    layered = Layered(hidden, num_outputs=2, reflection=kind)
    circuit, params, inputs = layered.circuit(), sound(layered, 0), layered.inputs(1, 3)
    currents = np.random.default_rng(2).normal(size=(3, 2))
    engine, step = Native(), 1e-6
    free, plus, minus = engine.settle(
        circuit, params, inputs, [Free(), Force(step * currents), Force(-step * currents)]
    )
    response = np.asarray(engine.respond(circuit, params, inputs, free.voltages, currents))
    slope = np.asarray(plus.voltages - minus.voltages) / (2.0 * step)
    scale = np.abs(slope).max()
    np.testing.assert_allclose(response, slope, rtol=0.0, atol=FINITE_DIFFERENCE * scale)
    jacobian_currents = circuit.linearized_residual(
        params, np.asarray(free.voltages), response, currents
    )
    assert np.abs(jacobian_currents).max() < LINEAR * np.abs(currents).max()


@pytest.mark.parametrize(
    ("change", "inputs"),
    [
        ({"dense_0": -np.ones((3, 2))}, np.ones((3, 2))),
        ({"dense_0": np.full((3, 2), np.nan)}, np.ones((3, 2))),
        ({"dense_0": np.ones((2, 3))}, np.ones((3, 2))),
        ({"dense_9": np.ones((3, 2))}, np.ones((3, 2))),
        ({}, np.full((3, 2), np.inf)),
        ({}, np.ones((3, 1))),
        ({}, np.ones(2)),
    ],
    ids=["negative", "nan", "shape", "unknown", "infinite input", "few inputs", "no batch"],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_refused_as_by_ngspice(change, inputs):
    layered = Layered((2,))
    messages = []
    for engine in (Native(), NgSpice()):
        with pytest.raises(NetlistError) as caught:
            engine.settle(layered.circuit(), layered.draw(1) | change, inputs, [Free()])
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_sample_without_an_operating_point_is_marked():
    layered = Layered((3,))
    circuit, params = layered.circuit(), layered.draw(0)
    inputs = layered.inputs(1, 3)
    inputs[1, 0] = np.nan
    # Checked at the boundary, which is not here while JAX traces.
    settle = jax.jit(lambda params, inputs: Native().settle(circuit, params, inputs, [Free()]))
    (point,) = settle(params, inputs)
    assert np.asarray(point.converged).tolist() == [True, False, True]
    assert np.isnan(np.asarray(point.voltages)[1]).all()
    assert np.isfinite(np.asarray(point.voltages)[[0, 2]]).all()


def test_a_traced_nudge_strength_is_accepted():
    layered = Layered((3,))
    circuit, params, inputs = layered.circuit(), layered.draw(0), layered.inputs(1, 2)
    targets = np.ones((2, 1))

    def outputs(stiffness):
        phases = [Free(), Spring(stiffness, targets)]
        return circuit.outputs(Native().settle(circuit, params, inputs, phases)[1].voltages)

    expected = outputs(1e-3)
    np.testing.assert_allclose(np.asarray(jax.jit(outputs)(1e-3)), np.asarray(expected), atol=1e-12)


@pytest.mark.slow
def test_wide_hidden_layers_reach_full_accuracy_through_single_precision():
    layered = Layered((140, 130), 20, num_outputs=2)
    circuit, params, inputs = layered.circuit(), layered.draw(0, 1e-5, 1e-3), layered.inputs(1, 3)
    phases = phases_of(layered, 3, 1e-5)
    for phase, point in zip(phases, Native().settle(circuit, params, inputs, phases), strict=True):
        currents = phase.source_currents(3, 2)
        expected = layered.solve(params, inputs, currents, phase.conductance)
        found = np.asarray(point.voltages)[:, columns(layered, circuit)]
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=REFERENCE)


@pytest.mark.parametrize("hidden", [(3,), (4, 3)])
@pytest.mark.parametrize("kind", ["kendall", "transformer"])
def test_held_outputs_take_the_layered_plan(hidden: tuple[int, ...], kind: str) -> None:
    layered = Layered(hidden=hidden, num_outputs=2, reflection=kind, inverted=True)  # type: ignore[arg-type]
    circuit = layered.circuit().clamped
    params = layered.draw(0)
    rng = np.random.default_rng(1)
    inputs = rng.uniform(-2.0, 2.0, (5, circuit.num_inputs))
    plan = plan_for(circuit)
    assert isinstance(plan, LayeredPlan)
    (point,) = plan.settle(params, inputs, [Free()])
    (reference,) = GeneralPlan(circuit).settle(params, inputs, [Free()])
    assert np.asarray(point.converged).all()
    assert np.abs(np.asarray(point.voltages) - reference.voltages).max() < REFERENCE
