"""Networks of ideal diodes: against a bounded least-squares solver, ngspice, and theory."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from eqprop_spice.audit.case import Case
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.devices.ideal import Ideal
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes, Rectifier, SplitRectifiers
from eqprop_spice.phases import AbstractPhase, Force, Free, Spring
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.contrastive_learning import ContrastiveLearning
from eqprop_spice.rules.coupled_learning import CoupledLearning
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.spice.writer import netlist
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import Layered, run_ngspice

ROOT = Path(__file__).parents[3]

QUADRATIC = 1e-9
"""Voltage difference [V] to scipy's bounded least squares, which squares the condition."""

NGSPICE = 1e-8
"""Difference [V] to ngspice, whose near-ideal diodes drop 1 nV at 10 A; signals are 10 V."""


def drn(
    hidden: tuple[int, ...], *, num_outputs: int = 3, differential: bool = False, **inputs: int
) -> Circuit:
    layers = [layer for size in hidden for layer in (Dense(size, (1.0,)), SplitRectifiers())]
    return layered_circuit(
        [*layers, Dense(num_outputs * (2 if differential else 1))],
        num_inputs=4,
        num_outputs=num_outputs,
        doubled_inputs=True,
        differential=differential,
    )


def draw(circuit: Circuit, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: np.maximum(rng.uniform(-1.0, 1.0, shape), 1e-6)
        for name, shape in circuit.parameter_shapes().items()
    }


def samples(circuit: Circuit, seed: int, count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (count, circuit.num_outputs)
    return rng.uniform(-10.0, 10.0, (count, circuit.num_inputs)), rng.uniform(-1.0, 1.0, shape)


def quadratic_program(
    circuit: Circuit, params: dict[str, np.ndarray], x: np.ndarray, phase: AbstractPhase, row: int
) -> np.ndarray:
    """Minimize the co-content, one row per resistor and spring, within the diodes' bounds."""
    known = np.zeros(circuit.num_nodes)
    known[circuit.fixed_nodes] = circuit.fixed_voltages(x[row : row + 1])[0]
    rows, right = [], []
    branches = [(g.layout.pairs(), params[g.name].ravel(), 0.0) for g in circuit.trainable_groups]
    if isinstance(phase, Spring):
        ends = (circuit.output_nodes[:, 0], circuit.output_nodes[:, 1])
        branches.append(
            (ends, np.full(circuit.num_outputs, phase.stiffness), np.asarray(phase.targets)[row])
        )
    for (one, two), g, offset in branches:
        part = np.zeros((len(one), circuit.num_nodes))
        part[np.arange(len(one)), one] += 1.0
        part[np.arange(len(one)), two] -= 1.0
        rows.append(np.sqrt(g)[:, None] * part[:, circuit.free_nodes])
        right.append(np.sqrt(g) * (offset - part @ known))
    names = [g.name for g in circuit.groups if isinstance(g.device, Ideal)]
    lower, upper = np.full(circuit.num_nodes, -np.inf), np.full(circuit.num_nodes, np.inf)
    for name in names:
        (group,) = (g for g in circuit.groups if g.name == name)
        anodes, cathodes = group.layout.pairs()
        lower[cathodes], upper[anodes] = known[anodes], known[cathodes]
    bounds = (lower[circuit.free_nodes], upper[circuit.free_nodes])
    return lsq_linear(np.concatenate(rows), np.concatenate(right), bounds, tol=1e-15).x


@pytest.mark.parametrize("hidden", [(6,), (6, 5), (6, 5, 4)])
@pytest.mark.parametrize("differential", [False, True])
def test_the_operating_point_minimizes_the_co_content(hidden, differential: bool) -> None:
    circuit = drn(hidden, differential=differential)
    params = draw(circuit, 0)
    inputs, targets = samples(circuit, 1)
    phases = [Free(), Spring(0.5, targets)]
    for phase, point in zip(phases, Native().settle(circuit, params, inputs, phases), strict=True):
        assert np.asarray(point.converged).all()
        found = np.asarray(point.voltages)[:, circuit.free_nodes]
        for row, u in enumerate(found):
            assert np.abs(u - quadratic_program(circuit, params, inputs, phase, row)).max() < 1e-7


def test_bounds_hold_on_either_side() -> None:
    circuit = drn((6,))
    (point,) = Native().settle(circuit, draw(circuit, 0), samples(circuit, 1, 200)[0], [Free()])
    hidden = np.asarray(point.voltages)[:, circuit.free_nodes[:6]]
    assert (hidden[:, :3] >= 0.0).all() and (hidden[:, 3:] <= 0.0).all()
    share = (hidden == 0.0).mean(0)
    assert (share > 0.0).all() and (share < 1.0).all()


@pytest.mark.ngspice
@pytest.mark.parametrize("hidden", [(6,), (6, 5, 4)])
@pytest.mark.parametrize("differential", [False, True])
def test_near_ideal_diodes_in_ngspice_reproduce_the_states(hidden, differential: bool) -> None:
    circuit = drn(hidden, differential=differential)
    params = draw(circuit, 0)
    inputs, targets = samples(circuit, 1)
    phases = [Free(), Spring(0.1, targets), Spring(-0.01, targets), Force(0.05 * targets)]
    native = Native().settle(circuit, params, inputs, phases)
    simulated = NgSpice().settle(circuit, params, inputs, phases)
    for ours, theirs in zip(native, simulated, strict=True):
        assert np.asarray(ours.converged).all() and theirs.converged.all()
        assert np.abs(np.asarray(ours.voltages) - theirs.voltages).max() < NGSPICE


@pytest.mark.ngspice
def test_plain_ngspice_runs_the_netlist(tmp_path: Path) -> None:
    circuit = drn((6, 5))
    params = draw(circuit, 0)
    inputs, targets = samples(circuit, 1, 1)
    phase = Spring(0.1, targets)
    (point,) = Native().settle(circuit, params, inputs, [phase])
    text = netlist(circuit, params, inputs[0], Spring(0.1, targets))
    assert "? 10000000000.0*" in text
    printed = run_ngspice(text, tmp_path)
    for node in circuit.free_nodes:
        found = printed[f"v({circuit.node_names[node]})"]
        assert abs(found - float(np.asarray(point.voltages)[0, node])) < NGSPICE


def test_more_sweeps_come_closer() -> None:
    circuit = drn((20, 20, 20))
    params = draw(circuit, 0)
    inputs, _ = samples(circuit, 1)
    (exact,) = Native().settle(circuit, params, inputs, [Free()])
    errors = []
    for sweeps in (1, 4, 10, 20):
        (point,) = Native(sweeps=sweeps).settle(circuit, params, inputs, [Free()])
        assert np.asarray(point.converged).all()  # as published: as it is after so many sweeps
        assert (np.asarray(point.num_steps) == sweeps).all()
        errors.append(np.abs(np.asarray(point.voltages) - np.asarray(exact.voltages)).max())
    assert errors[0] > 10 * errors[1] > 100 * errors[2] > 1000 * errors[3]


def test_a_warm_start_goes_on_where_another_sweep_ended() -> None:
    """As published: so many sweeps for every minibatch, from where the last one was left."""
    circuit = drn((20, 20))
    params = draw(circuit, 0)
    inputs, _ = samples(circuit, 1)
    (first,) = Native(sweeps=3).settle(circuit, params, inputs, [Free()])
    engine = Native(sweeps=4, warm_start=True)
    (further,) = engine.settle(circuit, params, inputs, [Free()], first.voltages)
    (whole,) = Native(sweeps=7).settle(circuit, params, inputs, [Free()])
    np.testing.assert_array_equal(further.voltages, whole.voltages)


def test_a_network_is_trained_warm() -> None:
    """Every minibatch starts where the last one ended; states that have settled are the same."""
    text = (ROOT / "experiments" / "comparison" / "drn_xor.toml").read_text()

    def trained(*overrides: str):
        experiment = Experiment.parse(text, overrides=["training.epochs=2", *overrides])
        trainer = experiment.trainer
        state = trainer.init(experiment.initial_params())
        for _ in range(2):
            state, _ = trainer.epoch(state)
        return state

    cold, warm = trained(), trained("native.warm_start=true")
    assert cold.carry is None and np.asarray(warm.carry).any()
    for name, values in cold.params.items():
        np.testing.assert_allclose(warm.params[name], values, rtol=1e-9)


def test_only_networks_of_ideal_diodes_start_warm() -> None:
    circuit = Layered((2,)).circuit()
    with pytest.raises(NetlistError, match="warm_start is for networks of ideal diodes"):
        Native(warm_start=True).check_circuit(circuit)


def test_a_spring_that_outweighs_the_outputs_does_not_converge() -> None:
    circuit = drn((6,))
    params = draw(circuit, 0)
    inputs, targets = samples(circuit, 1)
    weakest = circuit.node_conductances(params)[circuit.output_nodes[:, 0]].min()
    (point,) = Native().settle(circuit, params, inputs, [Spring(-1.01 * weakest, targets)])
    assert not np.asarray(point.converged).any()
    assert np.isnan(np.asarray(point.voltages)[:, circuit.free_nodes]).all()


@given(seed=st.integers(0, 2**32 - 1), decades=st.floats(0.0, 5.0))
def test_any_conductances_converge(seed: int, decades: float) -> None:
    circuit = WIDE
    rng = np.random.default_rng(seed)
    params = {
        name: 10.0 ** rng.uniform(-decades, 0.0, shape)
        for name, shape in circuit.parameter_shapes().items()
    }
    inputs, _ = samples(circuit, seed)
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    assert np.asarray(point.converged).all()


WIDE = drn((7, 6))


def test_centered_gradients_approach_the_exact_one_with_the_square_of_beta() -> None:
    circuit = drn((6, 5))
    inputs, targets = samples(circuit, 1)
    arguments = (
        ResistiveNetwork(circuit, Native()),
        draw(circuit, 0),
        inputs,
        targets,
        SquaredError(),
    )
    exact = Adjoint()(*arguments).gradient
    errors = {}
    for variant in ("positive", "centered"):
        for beta in (1e-2, 1e-3):
            rule = EquilibriumPropagation(variant, beta, "live")
            estimate = rule(*arguments).gradient
            errors[variant, beta] = [
                float(np.abs(estimate[k] - exact[k]).max() / np.abs(exact[k]).max()) for k in exact
            ]
    for layer in range(3):
        one, two = (errors["positive", beta][layer] for beta in (1e-2, 1e-3))
        assert 8.0 < one / two < 12.0
        one, two = (errors["centered", beta][layer] for beta in (1e-2, 1e-3))
        assert 80.0 < one / two < 120.0


@pytest.mark.ngspice
@pytest.mark.parametrize("rule", [ContrastiveLearning(), CoupledLearning("centered", 0.5)])
def test_held_outputs_agree_with_ngspice(rule) -> None:
    circuit = drn((6, 5))
    params = draw(circuit, 0)
    inputs, targets = samples(circuit, 1)
    native, simulated = (
        rule(ResistiveNetwork(circuit, engine), params, inputs, targets, SquaredError())
        for engine in (Native(), NgSpice())
    )
    assert np.asarray(native.converged).all() and np.asarray(simulated.converged).all()
    for name, value in native.gradient.items():
        ours = np.asarray(value)
        assert np.abs(ours - simulated.gradient[name]).max() < 1e-7 * np.abs(ours).max()


def test_amplifiers_with_a_positive_reflection_are_descended_too() -> None:
    layers = [Dense(6), SplitRectifiers(), BidirectionalAmplifier(4.0, "kendall"), Dense(2)]
    circuit = layered_circuit(layers, num_inputs=3, num_outputs=1, doubled_inputs=True)
    params = draw(circuit, 0)
    inputs = np.random.default_rng(1).uniform(-10.0, 10.0, (5, 3))
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    voltages = np.asarray(point.voltages)
    excess = np.asarray(circuit.residual(params, voltages, np.zeros((5, 1))))
    hidden = voltages[:, circuit.free_nodes]
    assert np.asarray(point.converged).all()
    assert np.abs(excess[hidden != 0.0]).max() < QUADRATIC
    assert (excess[:, :3][hidden[:, :3] == 0.0] >= 0.0).all()
    assert (excess[:, 3:6][hidden[:, 3:6] == 0.0] <= 0.0).all()


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ([Dense(4), SplitRectifiers(), Dense(4), Rectifier(PRESETS["kiraz"])], "other diodes"),
        ([Dense(4), SplitRectifiers()], "diodes at the outputs"),
        (
            [Dense(4), SplitRectifiers(), BidirectionalAmplifier(4.0, "published"), Dense(4)],
            "positive reflection",
        ),
    ],
)
def test_what_descent_cannot_settle_is_refused(layers, why: str) -> None:
    circuit = layered_circuit(layers, num_inputs=2, num_outputs=2)
    with pytest.raises(NetlistError, match=why):
        Native().check_circuit(circuit)


def test_every_layer_of_diodes_takes_ideal_ones() -> None:
    layers = [Dense(3), AntiparallelDiodes(Ideal(), 0.5), Dense(1)]
    circuit = layered_circuit(layers, num_inputs=1, num_outputs=1, differential=False)
    params = {"dense_0": np.array([[1.0, 2.0, 3.0]]), "dense_2": np.full((3, 1), 1e-9)}
    (point,) = Native().settle(circuit, params, np.array([[10.0], [-10.0], [0.2]]), [Free()])
    hidden = np.asarray(point.voltages)[:, circuit.free_nodes[:3]]
    assert np.abs(hidden - np.array([[0.5], [-0.5], [0.2]])).max() < 1e-8


def test_solvers_that_know_no_ideal_diode_refuse_it() -> None:
    with pytest.raises(NetlistError, match="almost_ideal"):
        GeneralPlan(WIDE)
    experiment = Experiment.load(ROOT / "experiments" / "comparison" / "drn_xor.toml")
    with pytest.raises(ConfigError, match=r"drn_xor\.toml: the audit's solvers know no ideal"):
        Case.from_experiment(experiment)
