"""Netlists that learn: gradients, names, and training from an experiment's file."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.engines.nodal import sensitivity
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Force, Free
from eqprop_spice.rules.adjoint import Adjoint
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
    ],
)
def test_names_that_are_wrong_are_refused(changes, reason):
    with pytest.raises((ConfigError, NetlistError), match=reason):
        dataclasses.replace(SYSTEM, **changes).check()


def test_what_needs_an_energy_is_refused():
    with pytest.raises(ConfigError, match=r"adjoint\.Adjoint"):
        SYSTEM.settle(drawn(), INPUTS, [Free(), Force(np.zeros((4, 2)))])
    Adjoint().check_substrate(SYSTEM)


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
