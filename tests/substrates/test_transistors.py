"""Graphs of transistors: graphs, laws, engines and gradients."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.engines.edges.sparse import SparseSolver
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import Force, Free, Hold, Spring
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.spice.plain import plain_operating_point
from eqprop_spice.substrates.transistor_base import AbstractTransistors
from eqprop_spice.substrates.transistors import Grid, Layers, RandomGraph

INPUTS = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, 0.3]])
TARGETS = np.array([[-0.1], [0.1], [0.05]])

AGREEMENT = 1e-9
"""Volts, between two simulators."""

GRADIENT = 1e-7
"""Of differences of fourth order, relative to the largest entry."""

COMMON: dict[str, Any] = {
    "num_inputs": 2,
    "num_outputs": 1,
    "constants": (0.0, 1.2),
    "input_offset": 0.6,
    "input_scale": 0.6,
    "body_effect": 0.3,
    "channel_modulation": 0.02,
}

TRIODE: dict[str, Any] = {**COMMON, "body_effect": 0.0}

SIXTEEN = Grid(rows=3, columns=3, source_nodes=(0, 2, 4, 7), output_nodes=(1, 8), **COMMON)
LAYERS = Layers(hidden=(4,), skip=True, **COMMON)


def gates(system: AbstractTransistors, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"gate": rng.uniform(1.4, 3.5, system.parameter_shapes()["gate"])}


def test_lattices_have_the_published_numbers_of_edges():
    for size, expected in ((3, 18), (15, 450), (30, 1800), (40, 3200)):
        assert len(Grid(rows=size, columns=size, num_inputs=4).lattice()) == expected
    assert len(Grid(rows=3, columns=4, periodic=False, num_inputs=4).lattice()) == 17


def test_every_free_node_of_a_random_graph_is_reached():
    system = RandomGraph(num_hidden=30, num_edges=45, graph_seed=3, **COMMON)
    system.check()
    graph = system.graph()
    assert len(np.unique(graph.edges, axis=0)) == 45
    assert (graph.edges[:, 1] >= graph.num_sources).all()


def solved(system: AbstractTransistors, params, inputs=INPUTS) -> np.ndarray:
    (point,) = system.settle(params, inputs, [Free()])
    assert np.asarray(point.converged).all()
    return np.asarray(point.state)


def check_against_plain(system: AbstractTransistors, params, phase, inputs=INPUTS[:1]) -> None:
    point = system.settle(params, inputs, [Free(), phase])[-1]
    names, values = system.named_state(point.state)
    voltages = plain_operating_point(system.netlist(params, inputs, phase, "edges"))
    found = [voltages[name] for name in names]
    np.testing.assert_allclose(found, values[0], atol=AGREEMENT, rtol=0)


@pytest.mark.ngspice
@pytest.mark.parametrize(
    "phase",
    [Free(), Force(np.array([[1e-5]])), Spring(1e-4, TARGETS[:1]), Hold(TARGETS[:1])],
    ids=["free", "force", "spring", "hold"],
)
def test_sixteen_edges_have_the_voltages_of_ngspice(phase):
    check_against_plain(SIXTEEN, gates(SIXTEEN), phase)


@pytest.mark.ngspice
@pytest.mark.parametrize("num_edges", [100, 1250])
def test_more_edges_have_the_voltages_of_ngspice(num_edges):
    system = RandomGraph(
        num_hidden=num_edges // 2, num_edges=num_edges, threshold_spread=0.01, **COMMON
    )
    check_against_plain(system, gates(system), Free())


@pytest.mark.ngspice
def test_transmission_gates_have_the_voltages_of_ngspice():
    system = Layers(hidden=(3,), transmission=True, threshold_spread=0.02, **TRIODE)
    check_against_plain(system, {"gate": gates(system)["gate"] + 1.2}, Free())


def test_one_factorization_for_a_batch_finds_the_same_points():
    system, rng = SIXTEEN, np.random.default_rng(4)
    params, network = gates(system), system.network
    exact = solved(system, params)
    held, start = exact[:, : network.num_sources], rng.uniform(0.0, 1.0, (3, network.num_free))
    nothing = np.zeros(start.shape)
    solver, fixed = SparseSolver(network), np.zeros(network.num_free, bool)
    free, converged, _, _ = solver.solve(params["gate"], held, nothing, None, fixed, start)
    assert converged.all()
    np.testing.assert_allclose(free, exact[:, network.num_sources :], atol=1e-12)
    right = rng.standard_normal(start.shape)
    for transposed in (False, True):
        found = solver.linear_solve(params["gate"], exact, right, transposed=transposed)
        expected = np.asarray(system._linear(params, exact, right, transposed=transposed))[
            :, network.num_sources :
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_without_hidden_nodes_every_output_is_the_root_of_a_scalar_function():
    system = Layers(num_edges=7, **COMMON)
    params = gates(system)
    assert system.network.scalar and system.traceable
    state = solved(system, params)
    for sample in range(len(INPUTS)):
        for node in range(system.network.num_free):
            number = system.network.num_sources + node

            def excess(v, sample=sample, node=node, number=number):
                voltages = state[sample : sample + 1].copy()
                voltages[0, number] = v
                nothing = np.zeros((1, system.network.num_free))
                return system.network.residual(voltages, params["gate"], nothing)[0, node]

            assert state[sample, number] == pytest.approx(brentq(excess, 0.0, 1.2), abs=1e-10)


@pytest.mark.parametrize(
    "system",
    [SIXTEEN, LAYERS, Layers(**COMMON), RandomGraph(num_hidden=40, num_edges=100, **COMMON)],
    ids=["grid", "layers", "scalar", "random"],
)
def test_the_adjoint_is_the_derivative(system):
    params = gates(system)
    cost, rng = SquaredError(), np.random.default_rng(5)
    gradient = np.asarray(Adjoint()(system, params, INPUTS, TARGETS, cost).gradient["gate"])
    for _ in range(2):
        direction = rng.standard_normal(gradient.shape)
        losses = {}
        for side in (-2, -1, 1, 2):
            moved = {"gate": params["gate"] + 1e-4 * side * direction}
            outputs = np.asarray(system.outputs(solved(system, moved)))
            losses[side] = 0.5 * ((outputs - TARGETS) ** 2).sum(axis=1).mean()
        slope = (8 * (losses[1] - losses[-1]) - (losses[2] - losses[-2])) / 12e-4
        size = np.abs(gradient).max() * np.abs(direction).sum()
        assert slope == pytest.approx(gradient @ direction, abs=GRADIENT * size)


def test_equilibrium_propagation_is_exact_with_transmission_gates_alone():
    plain = dataclasses.replace(LAYERS, body_effect=0.0, channel_modulation=0.0)
    cost = SquaredError()

    def error(system: AbstractTransistors) -> float:
        params = {"gate": gates(system)["gate"] + 1.6}
        exact = np.asarray(Adjoint()(system, params, INPUTS, TARGETS, cost).gradient["gate"])
        limit = SmallSignal()(system, params, INPUTS, TARGETS, cost).gradient["gate"]
        return float(np.linalg.norm(np.asarray(limit) - exact) / np.linalg.norm(exact))

    assert error(dataclasses.replace(plain, transmission=True, bulk=-5.0, supply=5.0)) < 1e-9
    assert error(plain) > 1e-3


def test_a_transmission_gate_is_a_resistor_of_its_gate_voltage():
    system = Layers(
        transmission=True,
        bulk=-3.0,
        num_inputs=1,
        num_outputs=1,
        differential=False,
        constants=(0.0,),
    )
    gate = np.array([3.7, 4.1])
    state = solved(system, {"gate": gate}, np.array([[0.8]]))
    # Two resistors of S (2 G - supply - 2 V_T) divide the voltage.
    conductance = 2.0 * gate - 2.0 - 2.0 * system.threshold
    expected = 0.8 * conductance[0] / conductance.sum()
    # The bulks' junctions take 1e-12 S.
    assert state[0, -1] == pytest.approx(expected, abs=1e-8)


def test_the_published_rule_is_the_laws_in_the_triode_region():
    system = dataclasses.replace(LAYERS, body_effect=0.0, channel_modulation=0.0)
    published = dataclasses.replace(system, contrast_with="drops")
    params, cost = {"gate": gates(system)["gate"] + 1.5}, SquaredError()
    rule = EquilibriumPropagation("positive", 1e-4)
    one, other = (
        rule(s, params, INPUTS, TARGETS, cost).gradient["gate"] for s in (system, published)
    )
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-18)


def test_holding_and_springs_do_what_they_say():
    params = gates(SIXTEEN)
    free, held = SIXTEEN.settle(params, INPUTS, [Free(), Hold(TARGETS)])
    np.testing.assert_allclose(SIXTEEN.outputs(held.state), TARGETS, atol=1e-14)
    spring = Spring(1e-4, TARGETS)
    _, sprung = SIXTEEN.settle(params, INPUTS, [Free(), spring])
    push = Force(1e-4 * (TARGETS - np.asarray(SIXTEEN.outputs(sprung.state))))
    _, forced = SIXTEEN.settle(params, INPUTS, [Free(), push])
    np.testing.assert_allclose(forced.state, sprung.state, atol=1e-12)
    change, valid = SIXTEEN.respond(params, INPUTS, free.state, push.currents * 1e-5)
    _, moved = SIXTEEN.settle(params, INPUTS, [Free(), Force(push.currents * 1e-5)])
    assert np.asarray(valid).all()
    np.testing.assert_allclose(change, moved.state - free.state, atol=1e-12)


def test_chips_differ_and_are_the_same_again():
    chips = [
        dataclasses.replace(LAYERS, threshold_spread=0.01, transconductance_spread=0.005, chip=k)
        for k in (0, 0, 1)
    ]
    one, again, other = (solved(chip, gates(LAYERS)) for chip in chips)
    assert np.array_equal(one, again)
    assert 1e-4 < np.abs(one - other).max() < 0.1


@pytest.mark.parametrize(
    ("system", "reason"),
    [
        (lambda: Layers(hidden=(0,), **COMMON).graph(), "every layer needs a node"),
        (lambda: Layers(num_edges=99, **COMMON).graph(), "num_edges is 99; all layers have 8"),
        (lambda: Layers(num_edges=1, **COMMON).check(), "No edge reaches free node"),
        (lambda: RandomGraph(num_hidden=4, num_edges=5, **COMMON).graph(), "take from 6 to"),
        (lambda: Grid(source_nodes=(0, 1), **COMMON).graph(), "names 2 nodes, but there are 4"),
        (
            lambda: Grid(source_nodes=(0, 1, 2, 2), **COMMON).graph(),
            "each must be another node",
        ),
        (lambda: Layers(threshold_spread=-1.0), "must be finite and not negative"),
        (lambda: Layers(transconductance=0.0), "transconductance is 0.0"),
        (lambda: Layers(transmission=True, body_effect=0.1), "body_effect = 0 only"),
    ],
)
def test_what_is_no_network_is_refused(system, reason):
    with pytest.raises(ConfigError, match=reason):
        system()
