"""The native engine on circuits that are no chain of layers: random graphs of 200 nodes."""

import jax
import numpy as np
import pytest

from eqprop_spice.builder import CircuitBuilder
from eqprop_spice.circuit import Circuit
from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.general import GeneralPlan
from eqprop_spice.engines.native import Native, plan_for
from eqprop_spice.engines.ngspice import NgSpice
from eqprop_spice.groups import GROUND
from eqprop_spice.phases import Force, Free, Spring

pytestmark = pytest.mark.ngspice

NUM_NODES, NUM_INPUTS, NUM_SAMPLES = 200, 6, 10
AGREEMENT = 1e-9
"""Volts; the largest difference seen is 2e-11 V, at ngspice's tolerance."""
LINEAR = 1e-9
"""Relative; .ac and the native response linearize at points 1e-11 V apart."""
FINITE_DIFFERENCE = 1e-6
"""Relative truncation and rounding of a central difference with a step of 1e-4."""


def random_graph(diode: str, *, amplified: bool = False) -> Circuit:
    """Return a tree with chords, sources, and diodes to ground and between nodes."""
    rng = np.random.default_rng(1)
    builder = CircuitBuilder()
    sources = builder.add_nodes("x", NUM_INPUTS)
    builder.add_inputs("x", sources, np.arange(NUM_INPUTS))
    nodes = builder.add_nodes("n", NUM_NODES)
    tree = [(nodes[i], nodes[rng.integers(0, i)]) for i in range(1, NUM_NODES)]
    chords = [tuple(rng.choice(nodes, 2, replace=False)) for _ in range(NUM_NODES)]
    feeds = [(sources[k % NUM_INPUTS], nodes[rng.integers(NUM_NODES)]) for k in range(24)]
    pairs = np.array(tree + chords + feeds)
    builder.add_pairs("r", Resistor(), pairs[:, 0], pairs[:, 1])
    anodes = rng.choice(nodes[: NUM_NODES - 10], 60, replace=False)
    builder.add_pairs("d", PRESETS[diode], anodes[:30], np.full(30, GROUND))
    builder.add_pairs("e", PRESETS[diode], anodes[30:], rng.choice(nodes, 30))
    if amplified:
        outputs = builder.add_nodes("a", 3)
        builder.add_amplifiers("amp", nodes[:3], outputs, 4.0, 0.25)
        builder.add_pairs("s", Resistor(), outputs, nodes[100:103])
    return builder.build([(nodes[-1], nodes[-2]), (nodes[-3], GROUND)], num_inputs=NUM_INPUTS)


def drawn(circuit: Circuit) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    params = {n: rng.uniform(1e-4, 1e-2, s) for n, s in circuit.parameter_shapes().items()}
    return params, rng.uniform(-3, 3, (NUM_SAMPLES, NUM_INPUTS)), rng.normal(size=(NUM_SAMPLES, 2))


@pytest.mark.parametrize("amplified", [False, True], ids=["passive", "amplified"])
@pytest.mark.parametrize("diode", ["kiraz", "d1n4148", "d1n5817"])
def test_random_graphs_agree_with_ngspice(diode: str, amplified: bool) -> None:
    circuit = random_graph(diode, amplified=amplified)
    assert isinstance(plan_for(circuit), GeneralPlan)
    params, inputs, targets = drawn(circuit)
    phases = [Free(), Force(1e-3 * targets), Spring(1e-3, targets)]
    ours = Native().settle(circuit, params, inputs, phases)
    theirs = NgSpice().settle(circuit, params, inputs, phases)
    for one, other in zip(ours, theirs, strict=True):
        assert np.asarray(one.converged).all()
        assert other.converged.all()
        np.testing.assert_allclose(one.voltages, other.voltages, rtol=0, atol=AGREEMENT)


def test_the_response_is_that_of_an_ac_analysis() -> None:
    circuit = random_graph("kiraz", amplified=True)
    params, inputs, currents = drawn(circuit)
    responses = []
    for engine in (Native(), NgSpice()):
        (point,) = engine.settle(circuit, params, inputs, [Free()])
        responses.append(np.asarray(engine.respond(circuit, params, inputs, point, currents)))
    size = np.abs(responses[1]).max()
    np.testing.assert_allclose(responses[0], responses[1], rtol=0, atol=LINEAR * size)


def test_the_adjoint_gives_the_derivative_of_the_cost() -> None:
    circuit, engine = random_graph("kiraz", amplified=True), Native()
    params, inputs, _ = drawn(circuit)
    inputs = inputs[:1]

    def outputs(moved: dict[str, np.ndarray]) -> np.ndarray:
        (point,) = engine.settle(circuit, moved, inputs, [Free()])
        return np.asarray(circuit.outputs(point.voltages))

    (point,) = engine.settle(circuit, params, inputs, [Free()])
    multipliers = np.asarray(
        engine.adjoint(circuit, params, inputs, point, outputs(params))  # C = |y|^2 / 2
    )[0]
    voltages = np.asarray(point.voltages)[0]
    for group in circuit.trainable_groups:
        first, second = group.layout.pairs()
        gradient = -(multipliers[first] - multipliers[second]) * (
            voltages[first] - voltages[second]
        )
        for i in np.argsort(-np.abs(gradient))[:3]:
            values = []
            for sign in (1.0, -1.0):
                moved = {name: array.copy() for name, array in params.items()}
                moved[group.name][i] *= 1.0 + sign * 1e-4
                values.append(0.5 * (outputs(moved) ** 2).sum())
            slope = (values[0] - values[1]) / (2e-4 * params[group.name][i])
            assert gradient[i] == pytest.approx(slope, rel=FINITE_DIFFERENCE)


def test_it_runs_under_jit() -> None:
    circuit = random_graph("kiraz")
    params, inputs, _ = drawn(circuit)

    @jax.jit
    def settle(params, inputs):
        return Native().settle(circuit, params, inputs, [Free()])[0].voltages

    (eager,) = Native().settle(circuit, params, inputs, [Free()])
    np.testing.assert_allclose(settle(params, inputs), eager.voltages, rtol=0, atol=AGREEMENT)
