import dataclasses

import numpy as np
import pytest

from eqprop_spice.costs.mean_squared_error import MeanSquaredError
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.datasets.waveforms import Teacher, waveform
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import Force, Free, Spring
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.trajectory import Trajectory
from tests.contracts import check_substrate
from tests.references import central_difference
from tests.substrates.spice import solved

DIFFERENCES = 1e-7
"""Relative error of central differences with steps of 1e-5."""

SMALL_NUDGE = 1e-7
"""Relative error of C-EP at a beta of 1e-3, which falls with its square; measured 3e-9."""

CLOSES = 2e-3
"""What ngspice's orbit is off the discrete one after a period, of fluxes of order one: the error
of the midpoint rule, of second order in the time step."""

PAIR = Trajectory(
    ("c1 a 0", "c2 b 0", "j1 a 0", "j2 b 0", "l1 a b"), ("b",), ("a",), period=10.0, steps=200
)
PARAMS = {
    "capacitance": np.array([1.0, 1.2]),
    "inverse_inductance": np.array([0.7]),
    "josephson_energy": np.array([1.0, 0.8]),
}
DRIVE = waveform(((0.6, 0.0), (0.0, 0.3)), 200)[None]


@pytest.fixture(scope="module")
def target():
    cards = ("c1 a 0 0.8", "c2 b 0 1.5", "j1 a 0 1.4", "j2 b 0 0.5", "l1 a b 0.9")
    teacher = Teacher(
        elements=cards, node="a", output_nodes=("b",), drives=(((0.6, 0.0), (0.0, 0.3)),)
    )
    return teacher.load().train_targets


SMALL = {
    "junctions": ("c1 a 0", "c2 b 0", "j1 a 0", "j2 b 0", "l1 a b"),
    "coupled": ("c1 a 0", "c2 b 0", "c3 a b 0.3", "l1 a 0", "l2 b 0", "k1 l1 l2 0.4"),
}


@pytest.mark.parametrize("boundary", ["periodic", "fixed"])
@pytest.mark.parametrize("cards", SMALL.values(), ids=SMALL)
def test_contract(cards, boundary):
    system = Trajectory(cards, ("a", "b"), ("a",), period=1.2, steps=20, boundary=boundary)
    rng = np.random.default_rng(0)
    params = {k: rng.uniform(0.7, 1.5, s) for k, s in system.parameter_shapes().items()}
    ends = 4 if boundary == "fixed" else 0
    inputs = 0.3 * rng.standard_normal((2, 20 + ends))
    inputs[:, 20:] *= 0.3
    check_substrate(system, params, inputs, 0.1 * rng.standard_normal((2, 40)))


def test_four_hundred_unknowns_take_few_newton_steps():
    (orbit,) = PAIR.settle(PARAMS, DRIVE, [Free()])
    assert orbit.converged[0]
    assert orbit.num_steps[0] <= 10
    hessian = PAIR.action(PARAMS, DRIVE[0]).hessian(orbit.state[0])
    # The action has eight directions downwards less than all: no minimum and no maximum.
    assert hessian.num_negative() == 400 - 8


def test_contrasts_adjoint_and_finite_differences_agree(target):
    cost = MeanSquaredError()
    exact = Adjoint()(PAIR, PARAMS, DRIVE, target, cost).gradient

    def loss(name, values):
        (orbit,) = PAIR.settle({**PARAMS, name: values}, DRIVE, [Free()])
        return float(cost.value(PAIR.outputs(orbit.state), target)[0])

    for name, values in PARAMS.items():
        steps = np.full_like(values, 1e-5)
        found = central_difference(lambda v, name=name: loss(name, v), values, steps)
        assert abs(found - exact[name]).max() < DIFFERENCES * abs(exact[name]).max(), name

    def error(variant, beta):
        found = EquilibriumPropagation(variant, beta)(PAIR, PARAMS, DRIVE, target, cost).gradient
        off = [abs(found[k] - exact[k]).max() / abs(exact[k]).max() for k in exact]
        return max(off)

    betas = [1e-1, 1e-2, 1e-3]
    for variant, order in (("positive", 1), ("negative", 1), ("centered", 2)):
        errors = [error(variant, beta) for beta in betas]
        slope = np.polyfit(np.log(betas), np.log(errors), 1)[0]
        assert abs(slope - order) < 0.02, variant
    assert error("centered", 1e-3) < SMALL_NUDGE


def test_a_linear_circuit_follows_its_transfer_function():
    tank = Trajectory(("c1 a 0", "l1 a 0"), ("a",), ("a",), period=2.0 * np.pi, steps=64)
    params = {"capacitance": np.array([1.5]), "inverse_inductance": np.array([0.4])}
    (orbit,) = tank.settle(params, waveform(((0.0, 0.0), (1.0, 0.0)), 64)[None], [Free()])
    # The midpoint rule has the frequency tan(w h/2)/(h/2) instead of w.
    omega = np.tan(np.pi / 32.0) / (np.pi / 64.0)
    expected = waveform(((0.0, 0.0), (1.0 / (0.4 - 1.5 * omega**2), 0.0)), 64)
    np.testing.assert_allclose(tank.outputs(orbit.state)[0], expected, atol=1e-12)


def test_fixed_ends_are_kept_and_a_free_mass_goes_straight():
    mass = Trajectory(("c1 a 0", "l1 a 0"), ("a",), period=1.0, steps=10, boundary="fixed")
    params = {"capacitance": np.array([1.0]), "inverse_inductance": np.array([1e-9])}
    (orbit,) = mass.settle(params, np.array([[0.2, 1.2]]), [Free()])
    np.testing.assert_allclose(orbit.state[0, :, 0], np.linspace(0.2, 1.2, 11), atol=1e-8)


def test_a_resonance_is_named():
    chain = Trajectory(("c1 a 0", "l1 a 0", "c2 b 0", "l2 b 0", "l3 a b"), ("b",), ("a",), 5.0, 50)
    omega = np.tan(3.0 * np.pi / 50.0) / 0.05
    # The mode in which a and b move together does not stretch what couples them.
    params = {
        "capacitance": np.ones(2),
        "inverse_inductance": np.array([omega**2, omega**2, 0.7]),
    }
    drive = waveform(((1.0, 0.0), (0.5, 0.0), (0.2, 0.0)), 50)[None]
    (orbit,) = chain.settle(params, drive, [Free()])
    assert not orbit.converged[0]
    assert "harmonic 3" in chain.explain(orbit, 0)
    off = params | {"capacitance": np.array([1.01, 1.01])}
    assert chain.settle(off, drive, [Free()])[0].converged[0]


def test_a_fold_of_the_driven_motion_is_named():
    # The small swing and an unstable one meet at 1.77 of this drive; beyond, a large one is left.
    elements = ("c1 a 0 0.8", "c2 b 0 1.5", "j1 a 0 1.4", "j2 b 0 0.5", "l1 a b 0.90909")
    fixed = dataclasses.replace(PAIR, elements=elements)
    drive = waveform(((0.4, 0.0), (0.0, 0.2)), 200)[None]
    (orbit,) = fixed.settle({}, np.concatenate([1.7 * drive, 2.0 * drive]), [Free()])
    np.testing.assert_array_equal(orbit.converged, [True, False])
    assert orbit.share[1] == pytest.approx(1.766 / 2.0, abs=2e-3)
    assert "88.3% of the drive" in fixed.explain(orbit, 1)
    assert "softest at node 'b' with harmonic 1" in fixed.explain(orbit, 1)


def test_a_spring_past_a_resonance_is_refused():
    tank = Trajectory(("c1 a 0", "l1 a 0"), ("a",), ("a",), period=2.0 * np.pi, steps=64)
    params = {"capacitance": np.array([1.0]), "inverse_inductance": np.array([0.5])}
    drive, targets = waveform(((0.1, 0.0),), 64)[None], np.zeros((1, 64))
    # Between harmonics 0 and 1: a spring of about 0.5 more per second reaches the first.
    step = tank.time_step
    for stiffness, converged in ((0.4, True), (0.6, False), (-0.4, True), (-0.6, False)):
        phase = Spring(stiffness * step, targets)
        found = tank.settle(params, drive, [Free(), phase])[1]
        assert bool(found.converged[0]) is converged, stiffness
    assert "Lower beta" in tank.explain(found, 0)


@pytest.mark.ngspice
@pytest.mark.parametrize("boundary", ["periodic", "fixed"])
def test_ngspice_follows_the_orbit_for_a_period(boundary):
    cards = ("c1 a 0", "c2 b 0", "j1 a 0", "j2 b a", "l1 a 0", "l2 b 0", "k1 l1 l2 0.3")
    system = dataclasses.replace(PAIR, elements=cards, boundary=boundary)
    system = dataclasses.replace(system, period=10.0 if boundary == "periodic" else 3.0)
    params = PARAMS | {"inverse_inductance": np.array([0.7, 0.9])}
    ends = np.array([[0.1, -0.2, 0.3, 0.4]])[:, : 4 if boundary == "fixed" else 0]
    inputs = np.concatenate([0.5 * DRIVE, ends], axis=1)
    force = Force(0.02 * system.time_step * np.ones((1, 200)))
    orbit = system.settle(params, inputs, [Free(), force])[1]
    text = system.netlist(params, inputs, force, "orbit")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith(".print"))
    times, *fluxes = solved(lines, ["time", "v(f_a)", "v(f_b)"])
    moments = system.time_step * np.arange(orbit.state.shape[1])
    found = np.stack([np.interp(moments, times, flux) for flux in fluxes], axis=1)
    assert abs(orbit.state[0]).max() > 0.2
    assert abs(found - orbit.state[0]).max() < CLOSES


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"boundary": "open"}, "boundary term"),
        ({"period": 0.0}, "period is 0.0"),
        ({"steps": 3}, "at least 4"),
        ({"elements": (*PAIR.elements, "r1 a 0")}, "resistor 'r1'"),
        ({"output_nodes": ()}, "names none"),
        ({"output_nodes": ("z",)}, "names 'z'"),
        ({"drives": ("z",)}, "names 'z'"),
    ],
)
def test_bad_systems_are_refused(changes, told):
    with pytest.raises(ConfigError, match=told):
        dataclasses.replace(PAIR, **changes)


@pytest.mark.parametrize(
    ("cards", "told"),
    [
        (("c1 a 0 1", "l1 a 0 1"), "No element learns"),
        (("c1 a 0", "l1 a 0", "c2 b 0", "l2 b 0"), "'b' has no path to an output"),
        (("c1 a 0", "l1 a 0", "l2 a b", "l3 b 0"), "'b' has no mass"),
        (("c1 a 0", "c2 b 0", "l2 a b"), "'a' floats"),
    ],
)
def test_systems_that_are_not_determined_are_refused(cards, told):
    with pytest.raises(ConfigError, match=told):
        Trajectory(cards, ("a",), ("a",)).check()


def test_data_of_other_sizes_are_refused():
    with pytest.raises(ConfigError, match="199 inputs"):
        PAIR.sized(199, 200)
    assert PAIR.sized(200, 200) is PAIR


def test_a_teacher_needs_values():
    with pytest.raises(ConfigError, match="need values"):
        Teacher(elements=("c1 a 0", "l1 a 0"), node="a", output_nodes=("a",), drives=((),)).load()


def test_initial_values_come_from_the_data():
    cards = ("c1 a 0 0.8", "c2 b 0 1.5", "j1 a 0 1.4", "j2 b 0 0.5", "l1 a b 0.9")
    given = {"elements": cards, "node": "a", "output_nodes": ("b",), "drives": (((0.2, 0.0),),)}
    ends, still = ((0.1, 0.2, 0.3, 0.4),), {"boundary": "initial", "steps": 20, "period": 1.0}
    data = Teacher(**given, **still, ends=ends).load()
    np.testing.assert_array_equal(data.train_inputs[:, 20:], ends)
    assert abs(data.train_targets[0, 0] - 0.2) < 0.05
    with pytest.raises(ConfigError, match="20 inputs"):
        Teacher(**given, **still).load()
    with pytest.raises(ConfigError, match="2 samples"):
        Teacher(**given, **still, ends=ends * 2)
    with pytest.raises(ConfigError, match="as many values"):
        Teacher(**given, **still, ends=(*ends, (0.0,)))


def test_the_mean_squared_error_is_that_of_a_period():
    cost, outputs = MeanSquaredError(), np.array([[1.0, 2.0]])
    targets = np.zeros((1, 2))
    assert cost.value(outputs, targets)[0] == SquaredError().value(outputs, targets)[0] / 2.0
    np.testing.assert_allclose(cost.gradient(outputs, targets), outputs / 2.0)


INITIAL = dataclasses.replace(PAIR, boundary="initial", period=6.0, steps=120)
"""The pair, from given fluxes and charges."""

STARTS = np.array([[0.2, -0.1, 0.3, 0.8], [0.0, 0.5, -0.4, 0.0]])
MOVING = np.concatenate([np.repeat(waveform(((0.6, 0.0), (0.0, 0.3)), 120)[None], 2, 0), STARTS], 1)


def test_a_motion_has_its_initial_values_and_the_discrete_frequency():
    tank = Trajectory(("c1 a 0", "l1 a 0"), ("a",), period=6.0, steps=60, boundary="initial")
    params = {"capacitance": np.array([2.0]), "inverse_inductance": np.array([3.0])}
    (found,) = tank.settle(params, np.array([[0.3, -0.5]]), [Free()])
    rate = 2.0 * np.arctan(0.5 * tank.time_step * np.sqrt(1.5)) / tank.time_step
    times = tank.time_step * np.arange(61)
    # The momentum -0.5 belongs to a sine whose amplitude the midpoint rule leaves as it is.
    wanted = 0.3 * np.cos(rate * times) - 0.5 / np.sqrt(6.0) * np.sin(rate * times)
    np.testing.assert_allclose(found.state[0, :, 0], wanted, atol=1e-12)


def test_an_echo_without_a_nudge_comes_back():
    still = Force(np.zeros((2, 120)))
    free, back = INITIAL.settle(PARAMS, MOVING, [Free(), still])
    assert free.converged.all()
    np.testing.assert_allclose(back.state, free.state, atol=1e-12)
    np.testing.assert_array_equal(free.state[:, 0], STARTS[:, :2])


def test_echoes_follow_the_gradient_of_motions_from_initial_values():
    cost, targets = MeanSquaredError(), 0.3 * np.sin(INITIAL.midpoints) * np.ones((2, 1))
    exact = Adjoint()(INITIAL, PARAMS, MOVING, targets, cost).gradient

    def loss(name, values):
        (orbit,) = INITIAL.settle({**PARAMS, name: values}, MOVING, [Free()])
        return float(cost.value(INITIAL.outputs(orbit.state), targets).mean())

    for name, values in PARAMS.items():
        steps = np.full_like(values, 1e-5)
        found = central_difference(lambda v, name=name: loss(name, v), values, steps)
        assert abs(found - exact[name]).max() < DIFFERENCES * abs(exact[name]).max(), name

    def error(variant, beta):
        rule = EquilibriumPropagation(variant, beta)
        found = rule(INITIAL, PARAMS, MOVING, targets, cost).gradient
        return max(abs(found[k] - exact[k]).max() / abs(exact[k]).max() for k in exact)

    betas = [1e-1, 1e-2, 1e-3]
    for variant, order in (("positive", 1), ("negative", 1), ("centered", 2)):
        errors = [error(variant, beta) for beta in betas]
        slope = np.polyfit(np.log(betas), np.log(errors), 1)[0]
        assert abs(slope - order) < 0.05, (variant, errors)
    assert error("centered", 1e-3) < SMALL_NUDGE
    small = SmallSignal()(INITIAL, PARAMS, MOVING, targets, cost).gradient
    for name, values in exact.items():
        np.testing.assert_allclose(small[name], values, rtol=1e-10)


def test_a_time_step_that_is_too_long_is_refused():
    long = dataclasses.replace(INITIAL, period=1e6, steps=4)
    inputs = np.concatenate([np.ones((1, 4)), 1e3 * STARTS[:1]], axis=1)
    (found,) = long.settle(PARAMS, inputs, [Free()])
    assert not found.converged[0]
    assert "take more steps" in long.explain(found, 0)
