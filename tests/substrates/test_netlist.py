"""Netlists that learn: gradients, names, and training from an experiment's file."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.engines.nodal import sensitivity
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Force, Free, Hold, Spring
from eqprop_spice.results.run import Run, train
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.coupled_learning import CoupledLearning
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.spice.plain import plain_operating_point
from eqprop_spice.substrates.netlist import Netlist

PATH = Path(__file__).parent.parent / "spice" / "netlists" / "xor.cir"

SYSTEM = Netlist(
    path=str(PATH),
    inputs=("va", "vb"),
    output_nodes=(("y", "h1"), "h2"),
    trainable=("x?.r*", "r*", "vt*", "x*.m1:threshold"),
)

INPUTS = np.array([[0.2, 0.1], [0.3, 3.1], [3.3, 0.2], [2.9, 3.0]])

GRADIENT = 1e-7
"""Differences of fourth order with steps of 1e-3 are right to 1e-12, and rounding over the step."""


def drawn() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {k: rng.uniform(0.8, 1.2, shape) for k, shape in SYSTEM.parameter_shapes().items()}


def loss(params, samples: np.ndarray) -> float:
    (point,) = SYSTEM.settle(params, INPUTS, [Free()])
    assert point.converged.all()
    return 0.5 * (SYSTEM.outputs(point.state)[samples] ** 2).sum(axis=1).mean()


def test_groups_have_the_names_of_their_patterns():
    shapes = SYSTEM.parameter_shapes()
    assert shapes == {"x_r": (12,), "r": (4,), "vt": (2,), "x_m1_threshold": (3,)}
    circuit = SYSTEM.programmed({k: np.full(v, 2.0) for k, v in shapes.items()})
    assert circuit.values[circuit.element("r1")] == pytest.approx(2e-4)
    assert circuit.values[circuit.element("vt2")] == 6.0
    m1 = sensitivity.parameter(circuit, "x1.m1:threshold")
    assert sensitivity.value_of(circuit, m1) == pytest.approx(1.6)


def test_the_gradient_is_that_of_finite_differences():
    params = drawn()
    (point,) = SYSTEM.settle(params, INPUTS, [Free()])
    samples = np.array([True, True, False, True])
    gradient, valid = SYSTEM.cost_gradient(
        params, INPUTS, point.state, SYSTEM.outputs(point.state), samples
    )
    assert (valid == samples).all()
    for name, values in params.items():
        for k in range(min(len(values), 2)):
            cost = {}
            for side in (-2, -1, 1, 2):
                moved = values.copy()
                moved[k] += 1e-3 * side
                cost[side] = loss(params | {name: moved}, samples)
            numeric = (8 * (cost[1] - cost[-1]) - (cost[2] - cost[-2])) / 12e-3
            scale = np.abs(gradient[name]).max()
            assert gradient[name][k] == pytest.approx(numeric, abs=GRADIENT * scale), (name, k)


def test_a_start_leads_to_the_same_state():
    params = drawn()
    (cold,) = SYSTEM.settle(params, INPUTS, [Free()])
    (warm,) = SYSTEM.settle(params, INPUTS, [Free()], start=cold.state)
    assert warm.num_steps.max() < cold.num_steps.max()
    np.testing.assert_allclose(warm.state, cold.state, rtol=1e-9, atol=1e-12)


def test_a_lost_sample_counts_in_no_gradient():
    params = drawn()
    (point,) = SYSTEM.settle(params, INPUTS, [Free()])
    state = point.state.copy()
    state[1] = np.nan
    outputs, rest = SYSTEM.outputs(state), np.array([True, False, True, True])
    found, _ = SYSTEM.cost_gradient(params, INPUTS, state, outputs, rest)
    slopes = SYSTEM.outputs(point.state)
    expected, _ = SYSTEM.cost_gradient(params, INPUTS, point.state, slopes, rest)
    np.testing.assert_allclose(found["r"], expected["r"], rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inputs": ("va", "vc")}, "no element 'vc'"),
        ({"inputs": ("va", "r1")}, "'r1' is no V or I source"),
        ({"output_nodes": ("yy",)}, "no node 'yy' .*did you mean 'y'"),
        ({"output_nodes": ("0",)}, "always zero"),
        ({"output_nodes": (("y", "Y"),)}, "always zero"),
        ({"trainable": ("rr*",)}, "'rr.*' matches nothing"),
        ({"trainable": ("x1.m1:treshold",)}, "did you mean 'x1.m1:threshold'"),
        ({"trainable": ("r1", "r*")}, "'r1' is in 'r1' and matches 'r.*' too"),
        ({"trainable": ("v*",)}, "'va' is in inputs"),
        ({"trainable": ("x1.m1:body_effect",)}, "is zero in the netlist"),
        ({"trainable": ()}, "trainable is empty"),
        ({"trainable": (".param:*",)}, r"'.param:\*' matches nothing"),
        ({"inputs": ("va", "VA")}, "names a source twice"),
    ],
)
def test_names_that_are_wrong_are_refused(changes, reason):
    with pytest.raises((ConfigError, NetlistError), match=reason):
        dataclasses.replace(SYSTEM, **changes).check()


EXPERIMENT = f"""
name = "transistors"
[dataset]
kind = "logic.Xor"
amplitude = 1.0
target = 1.0
[substrate]
kind = "netlist.Netlist"
path = '{PATH}'
inputs = ["va", "vb"]
output_nodes = [["y", "h3"]]
trainable = ["r*", "x*.r*", "vt*"]
[initializer]
kind = "uniform.Uniform"
lower = 1.0
upper = 1.0
[rule]
kind = "adjoint.Adjoint"
[optimizer]
kind = "adam"
learning_rate = 0.05
[constraint]
kind = "box.Box"
lower = 0.05
upper = 20.0
[training]
epochs = 15
"""


RECIPROCAL = """resistors, diodes and floating sources have an energy
Va a 0 1
Vb b 0 1
.param load=2k bias={0.5*load/1k}
R1 a h1 {load}
R2 b h1 3k
R3 h1 y {2*load}
R4 y n 1.5k
R5 n 0 1k
D1 h1 s dx
Vs s 0 0.3
Vf h1 f {bias}
R6 f n 5k
.model dx d(is=1u n=2 rs=10)
.end
"""

SAMPLES = np.array([[0.6, -0.4], [1.5, 0.8], [-0.3, 2.0]])
TARGETS = np.array([[0.1], [0.3], [-0.1]])

LIMIT = 1e-8
"""Small-signal EP is the adjoint, by a symmetric Jacobian; rounding and parameters' differences."""

SECOND_ORDER = 1e-5
"""Relative error of C-EP at a nudge of 1e-3 of the outputs' stiffness: its square, times ten."""


def reciprocal(**changes) -> Netlist:
    return dataclasses.replace(
        Netlist(
            path="reciprocal.cir",
            inputs=("va", "vb"),
            output_nodes=(("y", "n"),),
            trainable=("r[2-6]", "vs", ".param:load", "d1:saturation_current"),
            text=RECIPROCAL,
        ),
        **changes,
    )


def unit(system: Netlist) -> dict[str, np.ndarray]:
    return {name: np.ones(shape) for name, shape in system.parameter_shapes().items()}


def gradients(system: Netlist, *rules) -> list[dict[str, np.ndarray]]:
    cost = SquaredError()
    return [rule(system, unit(system), SAMPLES, TARGETS, cost).gradient for rule in rules]


def test_equilibrium_propagation_is_exact_where_there_is_an_energy():
    system = reciprocal()
    beta = 1e-3 * system.nudge_scale(unit(system))
    rules = [Adjoint(), SmallSignal(), EquilibriumPropagation("centered", beta)]
    exact, limit, nudged = gradients(system, *rules)
    (sprung,) = gradients(system, EquilibriumPropagation("centered", beta, "live"))
    for name, expected in exact.items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(limit[name], expected, atol=LIMIT * scale)
        for found in (nudged, sprung):
            np.testing.assert_allclose(found[name], expected, atol=SECOND_ORDER * scale)


def test_a_param_that_many_cards_use_has_the_gradient_of_finite_differences():
    system = reciprocal()
    (exact,) = gradients(system, Adjoint())

    def loss(factor: float) -> float:
        params = unit(system) | {"param_load": np.array([factor])}
        (point,) = system.settle(params, SAMPLES, [Free()])
        return 0.5 * ((system.outputs(point.state) - TARGETS) ** 2).sum(axis=1).mean()

    step = 1e-3
    sides = {k: loss(1.0 + k * step) for k in (-2, -1, 1, 2)}
    numeric = (8 * (sides[1] - sides[-1]) - (sides[2] - sides[-2])) / (12 * step)
    assert exact["param_load"][0] == pytest.approx(numeric, rel=1e-6)


def test_equilibrium_propagation_is_biased_with_transistors():
    params = drawn()
    cost, targets = SquaredError(), np.zeros((4, 2))
    exact = Adjoint()(SYSTEM, params, INPUTS, targets, cost).gradient
    limit = SmallSignal()(SYSTEM, params, INPUTS, targets, cost).gradient
    errors = [np.abs(limit[k] - exact[k]).max() / np.abs(exact[k]).max() for k in exact]
    assert max(errors) > 0.01


def test_phases_attach_what_they_say():
    system, rng = reciprocal(), np.random.default_rng(1)
    params = unit(system)
    (free, held) = system.settle(params, SAMPLES, [Free(), Hold(TARGETS)])
    np.testing.assert_allclose(system.outputs(held.state), TARGETS, atol=1e-12)
    stiffness = 1e-4
    (_, sprung) = system.settle(params, SAMPLES, [Free(), Spring(stiffness, TARGETS)])
    push = stiffness * (TARGETS - system.outputs(sprung.state))
    (_, forced) = system.settle(params, SAMPLES, [Free(), Force(push)])
    np.testing.assert_allclose(forced.state, sprung.state, atol=1e-9)
    small = 1e-9 * rng.standard_normal((3, 1))
    change, valid = system.respond(params, SAMPLES, free.state, small)
    (_, moved) = system.settle(params, SAMPLES, [Free(), Force(small)])
    assert valid.all()
    np.testing.assert_allclose(change, moved.state - free.state, atol=1e-9 * 1e-3 * 50)


def test_coupled_learning_is_its_formula_at_one_resistor():
    system = reciprocal(trainable=("r4", "r5"))
    eta, params = 0.5, {"r4": np.ones(1), "r5": np.ones(1)}
    rule = CoupledLearning("positive", eta)
    found = rule(system, params, SAMPLES, TARGETS, SquaredError()).gradient
    (free,) = system.settle(params, SAMPLES, [Free()])
    outputs = system.outputs(free.state)
    wanted = outputs - eta * (outputs - TARGETS)
    # R4 lies across the output, so its contrast is g (V_held^2 - V_free^2) / 2 eta.
    expected = (wanted**2 - outputs**2).mean() / 1.5e3 / 2.0 / eta
    assert found["r4"][0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.ngspice
@pytest.mark.parametrize("kind", ["free", "force", "spring", "hold"])
def test_the_trained_netlist_has_the_states_of_the_system(kind):
    phase = {
        "free": Free(),
        "force": Force(np.array([[1e-4]])),
        "spring": Spring(1e-4, np.array([[0.4]])),
        "hold": Hold(np.array([[0.4]])),
    }[kind]
    system = reciprocal()
    rng = np.random.default_rng(2)
    params = {k: rng.uniform(0.7, 1.4, v.shape) for k, v in unit(system).items()}
    settled = system.settle(params, SAMPLES[:1], [Free(), phase])[-1]
    voltages = plain_operating_point(system.netlist(params, SAMPLES[:1], phase, "x"))
    names, values = system.named_state(settled.state)
    for name, value in zip(names, values[0], strict=True):
        assert voltages[system.deck.nodes[name]] == pytest.approx(value, abs=1e-9)


@pytest.mark.ngspice
def test_trained_transistors_are_written_with_models_of_their_own():
    system = dataclasses.replace(
        SYSTEM, trainable=("x*.m1:threshold", "x*.m1:width", "x1.m1:transconductance")
    )
    rng = np.random.default_rng(3)
    params = {k: rng.uniform(0.8, 1.2, v.shape) for k, v in unit(system).items()}
    (settled,) = system.settle(params, INPUTS[:1], [Free()])
    voltages = plain_operating_point(system.netlist(params, INPUTS[:1], Free(), "x"))
    names, values = system.named_state(settled.state)
    for name, value in zip(names, values[0], strict=True):
        assert voltages[system.deck.nodes[name]] == pytest.approx(value, abs=1e-9)


def test_a_run_holds_its_netlist(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "part.cir").write_text("* models\n.model dx d(is=1u n=2 rs=10)\n")
    whole = RECIPROCAL.replace(".model dx d(is=1u n=2 rs=10)", ".include part.cir")
    (folder / "r.cir").write_text(whole)
    experiment = folder / "r.toml"
    experiment.write_text(
        """name = "r"
[dataset]
kind = "logic.SingleSample"
inputs = [1.0, 0.5]
targets = [0.2]
[substrate]
kind = "netlist.Netlist"
path = "r.cir"
include = true
inputs = ["va", "vb"]
output_nodes = [["y", "n"]]
trainable = ["r*"]
[initializer]
kind = "uniform.Uniform"
lower = 1.0
upper = 1.001
[rule]
kind = "equilibrium_propagation.EquilibriumPropagation"
beta = 1e-6
[optimizer]
kind = "adam"
learning_rate = 0.02
[training]
epochs = 5
"""
    )
    run = train(Experiment.load(experiment), tmp_path / "there")
    (folder / "r.cir").unlink()
    (folder / "part.cir").unlink()
    (run.path / "results.json").unlink()
    assert "r_spring" not in (run.path / "free.cir").read_text()
    assert train(resume=run.path).results["loss"] == Run.open(run.path).results["loss"]


def test_a_netlist_is_trained_from_an_experiments_file(tmp_path):
    (tmp_path / "x.toml").write_text(EXPERIMENT)
    experiment = Experiment.load(tmp_path / "x.toml")
    trainer, params = experiment.trainer, experiment.initial_params()
    losses = []
    state = trainer.init(params)
    for _ in range(15):
        state, figures = trainer.epoch(state)
        losses.append(figures["loss"])
    assert losses[-1] < 0.5 * losses[0]
