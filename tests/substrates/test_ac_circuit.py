import dataclasses
import re
import subprocess

import jax
import numpy as np
import pytest

from eqprop_spice.costs.magnitude import MagnitudeError
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.datasets.responses import Ladder, Mask
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import Force, Free, Spring
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.substrates.ac_circuit import AcCircuit
from tests.contracts import check_substrate
from tests.references import central_difference

EXACT = 1e-9
"""Relative error of the gradient: that of the finite differences which it is compared with."""

CARDS = (
    "c1 a 0",
    "l1 a b",
    "c2 b 0",
    "l2 b c",
    "c3 c 0",
    "r1 a 0 1",
    "r2 c 0 2",
    "k1 l1 l2 0.3",
)
LADDER = AcCircuit(CARDS, ("a",), ("c", ("a", "b")))


def drawn(circuit, seed=0):
    rng = np.random.default_rng(seed)
    return {k: rng.uniform(0.5, 2.0, s) for k, s in circuit.parameter_shapes().items()}


def samples(count=5):
    omega = np.linspace(0.05, 2.0, count)
    inputs = np.stack([omega, 2.0 + 0 * omega, 0.3 * omega], 1)
    targets = np.stack([np.exp(-omega), 0 * omega, 0.5 + 0 * omega, omega], 1)
    return inputs, targets


@pytest.mark.slow
def test_contract():
    check_substrate(LADDER, drawn(LADDER), *samples())


def phasors(params, x):
    """Solve the nodal equations, written out by hand: mutual inductance by its impedance."""
    (c1, c2, c3), gamma = params["capacitance"], params["inverse_inductance"]
    jw = 1j * x[0]
    own = 1.0 / gamma
    mutual = 0.3 * np.sqrt(own[0] * own[1])
    branches = np.linalg.inv(jw * np.array([[own[0], mutual], [mutual, own[1]]]))
    incidence = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
    y = np.diag([jw * c1 + 1.0, jw * c2, jw * c3 + 0.5]) + incidence.T @ branches @ incidence
    return np.linalg.solve(y, [x[1] + 1j * x[2], 0.0, 0.0])


def test_phasors_are_those_of_nodal_analysis():
    params, (inputs, _) = drawn(LADDER), samples()
    state = np.asarray(LADDER.settle(params, inputs, [Free()])[0].state)
    wanted = np.array([phasors(params, x) for x in inputs])
    np.testing.assert_allclose(state[:, 0] + 1j * state[:, 1], wanted, rtol=1e-12)


def reference(params, inputs, targets):
    """Return the gradient of the magnitudes' error from the phasors above."""

    def loss(name, values):
        moved = {**params, name: values}
        v = np.array([phasors(moved, x) for x in inputs])
        outputs = np.stack([v[:, 2], v[:, 0] - v[:, 1]], 1)
        wanted = targets[:, 0::2] + 1j * targets[:, 1::2]
        return 0.5 * ((abs(outputs) ** 2 - abs(wanted) ** 2) ** 2).sum(1).mean()

    # Two steps, extrapolated: the error of both is of second order.
    def slope(name, step):
        return central_difference(lambda v: loss(name, v), params[name], 0.0 * params[name] + step)

    return {k: (4.0 * slope(k, 5e-4) - slope(k, 1e-3)) / 3.0 for k in params}


@pytest.fixture(scope="module")
def exact():
    return reference(drawn(LADDER), *samples())


@pytest.mark.parametrize("beta", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("engine", ["native", pytest.param("ngspice", marks=pytest.mark.ngspice)])
def test_the_contrast_is_the_gradient_at_any_beta(beta, engine, exact):
    circuit = dataclasses.replace(LADDER, engine=engine)
    rule = EquilibriumPropagation("centered", beta)
    found = rule(circuit, drawn(LADDER), *samples(), MagnitudeError()).gradient
    for name, wanted in exact.items():
        error = abs(np.asarray(found[name]) - wanted).max() / abs(wanted).max()
        assert error < EXACT, name


def test_a_force_is_the_conjugate_current():
    params, (inputs, _) = drawn(LADDER), samples(1)
    force = Force(np.array([[0.2, 0.7, 0.0, 0.0]]))
    state = np.asarray(LADDER.settle(params, inputs, [Free(), force])[1].state)
    free = np.asarray(LADDER.settle(params, inputs, [Free()])[0].state)
    moved = (state - free)[0, 0] + 1j * (state - free)[0, 1]
    y = np.asarray(LADDER.admittances(params, inputs[:, 0]))[0]
    np.testing.assert_allclose(y @ moved, [0.0, 0.0, 0.2 - 0.7j], atol=1e-12)


def test_a_spring_stronger_than_what_the_output_sees_is_refused():
    resistor = AcCircuit(("r1 a 0", "c1 a 0"), ("a",), ("a",))
    params = {"conductance": np.array([2.0]), "capacitance": np.array([1.0])}
    inputs = np.array([[1.0, 1.0, 0.0]])
    limit = abs(2.0 + 1j)
    for stiffness, converged in ((0.99 * limit, True), (1.01 * limit, False), (-2.3, False)):
        phase = Spring(stiffness, np.zeros((1, 2)))
        found = resistor.settle(params, inputs, [Free(), phase])[1]
        assert bool(found.converged[0]) is converged
    assert "lower beta" in resistor.explain(found, 0)


def test_a_resonance_without_losses_is_named():
    tank = AcCircuit(("c1 a 0", "l1 a 0"), ("a",), ("a",))
    params = {"capacitance": np.array([2.0]), "inverse_inductance": np.array([8.0])}
    found = tank.settle(params, np.array([[2.0, 1.0, 0.0], [2.1, 1.0, 0.0]]), [Free()])[0]
    np.testing.assert_array_equal(found.converged, [False, True])
    assert "resonance" in tank.explain(found, 0)


@pytest.mark.ngspice
def test_plain_ngspice_prints_the_phasors_of_a_netlist(tmp_path):
    circuit = dataclasses.replace(LADDER, resistance=50.0, frequency=1e8)
    params, (inputs, targets) = drawn(circuit), samples(1)
    for phase in (Free(), Force(np.array([[0.2, 0.7, 0.0, 0.1]])), Spring(0.2, targets)):
        path = tmp_path / "circuit.cir"
        path.write_text(circuit.netlist(params, inputs, phase, "ladder $(echo)"))
        done = subprocess.run(["ngspice", "-b", path], capture_output=True, text=True, check=False)
        found = re.findall(r"v\(n_\w\) = *([-+.\de]+),([-+.\de]+)", done.stdout)
        (*_, settled) = circuit.settle(params, inputs, [Free(), phase])
        np.testing.assert_allclose(np.array(found, float).T, settled.state[0], atol=1e-9)


def test_magnitudes_do_not_see_phases():
    cost, values = MagnitudeError(), np.array([[3.0, 4.0, 1.0, 0.0]])
    turned = np.array([[0.0, -5.0, 0.0, 1.0]])
    assert cost.value(values, turned)[0] == 0.0
    assert cost.value(values, 0.0 * values)[0] == 0.5 * (25.0**2 + 1.0)
    with pytest.raises(ConfigError, match="phasors"):
        cost.value(values[:, :3], values[:, :3])
    slope = jax.grad(lambda v: cost.value(v, turned + 1.0).sum())(jax.numpy.asarray(values))
    np.testing.assert_allclose(cost.gradient(values, turned + 1.0), slope, rtol=1e-12)


def test_two_complex_loads_are_matched_at_one_frequency_as_the_closed_form_says():
    """An L section from a source of 1 S and 0.5 F to a load of 0.25 S and 0.3 F, at 1 rad/s.

    Seen from the source, a series inductor and the load, with a capacitor across it, are to be
    1 S - 0.5j S. So the load side's impedance z = 1/(0.25 + jB) has the real part of
    1/(1 - 0.5j), which gives B, and the inductor adds what is missing in its imaginary part.
    """
    wanted = 1.0 / (1.0 - 0.5j)
    total = np.sqrt(0.25 / wanted.real - 0.25**2)
    inductance = wanted.imag - (1.0 / (0.25 + 1j * total)).imag
    cards = ("rs a 0 1", "cs a 0 0.5", "l1 a b", "c1 b 0", "cl b 0 0.3", "rl b 0 4")
    circuit = AcCircuit(cards, ("a",), ("b",))
    # More than there is: so the most that can be had is where the cost is least, and curved.
    data = Mask(bands=((1.0, 1.0, 2.0),), num_frequencies=1, source=1.0).load()
    exact = {
        "capacitance": np.array([total - 0.3]),
        "inverse_inductance": np.array([1.0 / inductance]),
    }
    (settled,) = circuit.settle(exact, data.train_inputs, [Free()])
    assert abs(np.linalg.norm(circuit.outputs(settled.state)) - 1.0) < 1e-12
    rule, cost = EquilibriumPropagation("centered", 1.0), MagnitudeError()

    @jax.jit
    def follow(params):
        found = rule(circuit, params, data.train_inputs, data.train_targets, cost)
        return jax.tree.map(lambda p, g: p - 0.02 * g, params, found.gradient)

    params = {k: 1.3 * v for k, v in exact.items()}
    for _ in range(3000):
        params = follow(params)
    for name, value in exact.items():
        np.testing.assert_allclose(params[name], value, rtol=1e-5)


def test_a_textbook_response_has_its_edge():
    data = Ladder(prototype="butterworth", order=3, low=1.0, high=1.0, num_frequencies=1).load()
    np.testing.assert_allclose((data.train_targets**2).sum(1), 0.5, rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"elements": ("c1 a 0", "j1 a 0")}, "junction 'j1'"),
        ({"drives": ("z",)}, "names 'z'"),
        ({"drives": ()}, "each need a node"),
        ({"output_nodes": ("z",)}, "names 'z'"),
        ({"output_nodes": (("a", "a"),)}, "always zero"),
        ({"resistance": 0.0}, "must be positive"),
    ],
)
def test_bad_circuits_are_refused(changes, told):
    with pytest.raises(ConfigError, match=told):
        dataclasses.replace(LADDER, **changes)


@pytest.mark.parametrize(
    ("cards", "told"),
    [(("r1 a 0 1",), "No element learns"), (("c1 a 0", "c2 b 0"), "'b' has no path")],
)
def test_circuits_that_cannot_learn_are_refused(cards, told):
    with pytest.raises(ConfigError, match=told):
        AcCircuit(cards, ("a",), ("a",)).check()


def test_data_of_other_sizes_are_refused():
    with pytest.raises(ConfigError, match="take 3"):
        LADDER.sized(2, 4)
    for bands in (((0.0, 1.0, 1.0),), ((2.0, 1.0, 1.0),)):
        with pytest.raises(ConfigError, match="is none"):
            Mask(bands=bands).load()


def test_springs_need_the_native_engine():
    rule = EquilibriumPropagation("centered", 0.1, "live")
    rule.check_cost(SquaredError())
    with pytest.raises(ConfigError, match="spring"):
        rule.check_substrate(LADDER.reference())
