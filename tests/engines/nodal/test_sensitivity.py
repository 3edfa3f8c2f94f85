"""Gradients by the adjoint against finite differences of operating points."""

import dataclasses

import numpy as np
import pytest

from eqprop_spice.engines.nodal import sensitivity
from eqprop_spice.engines.nodal.circuit import NodalCircuit
from eqprop_spice.engines.nodal.sensitivity import Parameter, parameter, value_of, with_parameters
from eqprop_spice.engines.nodal.solve import solve, solved
from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.reader import read
from tests.engines.nodal.circuits import NETLISTS, circuit_of, text_of

ADJOINT = 1e-7
"""Of the largest change by a relative change of a parameter. Differences of fourth order with steps
of 1e-3 are right to 1e-12, and to the rounding of voltages, 1e-16, over the step."""

STEP = 1e-3


def all_parameters(circuit: NodalCircuit) -> list[Parameter]:
    names = list(circuit.elements)
    for group in circuit.devices:
        for field in dataclasses.fields(group.device):
            values = getattr(group.device, field.name)
            if np.ndim(values) and np.isfinite(values).all() and (values != 0.0).all():
                names += [f"{name}:{field.name}" for name in group.names]
    return [parameter(circuit, name) for name in names]


@pytest.mark.parametrize("path", NETLISTS, ids=lambda path: path.stem)
def test_adjoint_is_the_finite_difference(path):
    deck = read(path)
    circuit = circuit_of(deck)
    point = solved(circuit, deck.guesses)
    weights = np.zeros((1, circuit.size))
    weights[0, : len(circuit.nodes)] = np.random.default_rng(1).normal(size=len(circuit.nodes))
    names = all_parameters(circuit)
    values = np.array([value_of(circuit, name) for name in names])
    multipliers = sensitivity.multipliers(circuit, point.state, weights)
    exact = sensitivity.gradient(circuit, names, point.state, multipliers)[0] * values
    largest = np.abs(exact).max()
    assert largest > 0.0
    for k in np.random.default_rng(2).permutation(len(names))[:10]:
        cost = {}
        for side in (-2, -1, 1, 2):
            moved = values.copy()
            moved[k] *= 1.0 + side * STEP
            near = solve(with_parameters(circuit, names, moved), start=point.state)
            assert near.converged.all()
            cost[side] = (near.state * weights).sum()
        numeric = (8 * (cost[1] - cost[-1]) - (cost[2] - cost[-2])) / (12 * STEP)
        assert numeric == pytest.approx(exact[k], rel=ADJOINT, abs=ADJOINT * largest), names[k]


def test_parameters_that_are_zero_have_a_gradient():
    cards = ["V1 d 0 2", "V2 g 0 2", "R1 s 0 1k", "M1 d g s 0 m", ".model m nmos(vto=0.5 kp=1m)"]
    circuit = circuit_of(text_of(*cards))
    name = parameter(circuit, "m1:channel_modulation")
    point = solved(circuit)
    weights = np.zeros((1, circuit.size))
    weights[0, circuit.node("s")] = 1.0
    multipliers = sensitivity.multipliers(circuit, point.state, weights)
    (exact,) = sensitivity.gradient(circuit, [name], point.state, multipliers)[0]
    # From a side: three points of second order.
    moved = [
        solved(with_parameters(circuit, [name], np.array([step]))).state[0, circuit.node("s")]
        for step in (0.0, 1e-4, 2e-4)
    ]
    numeric = (-3.0 * moved[0] + 4.0 * moved[1] - moved[2]) / 2e-4
    assert exact == pytest.approx(numeric, rel=1e-6)


def test_response_is_reciprocal_to_the_adjoint():
    circuit = circuit_of(read(NETLISTS[1]))
    state = solved(circuit).state
    draw = np.random.default_rng(4)
    one, two = draw.normal(size=(2, 1, circuit.size))
    forward = (sensitivity.respond(circuit, state, one) * two).sum()
    backward = (sensitivity.multipliers(circuit, state, two) * one).sum()
    assert forward == pytest.approx(backward, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("r12", "no element 'r12'; did you mean 'r1'"),
        ("m12:threshold", "no device 'm12'; did you mean 'm1'"),
        ("m1:treshold", "did you mean 'threshold'"),
        ("r1:threshold", "no device 'r1'"),
    ],
)
def test_names_that_are_none_are_refused_with_the_nearest(name, hint):
    circuit = circuit_of(text_of("R1 a 0 1k", "M1 a a 0 0 m", ".model m nmos"))
    with pytest.raises(NetlistError, match=hint):
        parameter(circuit, name)
