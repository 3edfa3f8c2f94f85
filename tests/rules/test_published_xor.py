"""The conventions of the public XOR code, checked against its formulas."""

from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Force, Free
from eqprop_spice.rules.power_computation import PowerComputation

pytestmark = pytest.mark.ngspice

FILE = Path(__file__).parents[2] / "experiments" / "kiraz" / "xor_published.toml"
ALPHA, LAMBDA, BETA = 5e-3, 0.78426420453, 1e-6
ROUNDING = 1e-6
"""Relative; the update is a difference of drops that agree in about eight digits."""


def expected_update(experiment: Experiment, params: dict, rows: slice) -> tuple:
    """The published formula: alpha lambda / beta (V_nudged^2 - V_free^2), in the code's order."""
    circuit, data = experiment.circuit, experiment.data
    inputs, target = data.train_inputs[rows], data.train_targets[rows]
    engine = experiment.engine
    (free,) = engine.settle(circuit, params, inputs, [Free()])
    # `I1 y 0 {beta (t - y)}` takes its current out of the output.
    away = Force(-BETA * (target - circuit.outputs(free.voltages)))
    _, nudged = engine.settle(circuit, params, inputs, [Free(), away])

    def drops(point) -> tuple[np.ndarray, np.ndarray]:
        v = dict(zip(circuit.node_names, point.voltages[0], strict=True))
        hidden = np.array([v["n0_0"], v["n0_1"]])
        sources = np.array([v["x_0"], v["x_1"], v["b0_0"]])
        outputs = np.array([v["a2_0"], v["a2_1"]]) - v["n3_0"]
        return sources[:, None] - hidden[None, :], outputs

    (first_free, second_free), (first, second) = drops(free), drops(nudged)
    factor = ALPHA * LAMBDA / BETA
    one = factor * (first**2 - first_free**2)
    collected = np.concatenate([one[:, 0], one[:, 1]])  # R1, R3, R5, R2, R4, R6
    return collected.reshape(3, 2), factor * (second**2 - second_free**2)


def test_power_method_is_the_rule_of_that_name() -> None:
    experiment = Experiment.load(FILE, ["rule.method=power", "ngspice={}", "rule.beta=1e-4"])
    params = experiment.initial_params()
    data = experiment.data
    arguments = (
        experiment.network, params, data.train_inputs, data.train_targets, experiment.cost,
    )  # fmt: skip
    estimate = experiment.rule(*arguments).gradient
    plain = PowerComputation(1e-4)(*arguments).gradient
    for name, active in (("dense_0", [0, 1, 4]), ("dense_3", [0, 1])):
        found = np.asarray(estimate[name])[active]
        np.testing.assert_array_equal(found, np.asarray(plain[name])[active])


def test_one_update_is_that_of_the_public_code() -> None:
    accurate = ["ngspice.reltol=1e-10", "ngspice.vntol=1e-13", "ngspice.abstol=1e-15"]
    experiment = Experiment.load(FILE, [*accurate, "rule.beta=1e-6"])
    trainer, params = experiment.trainer, experiment.initial_params()
    rows = slice(1, 2)
    first, second = expected_update(experiment, params, rows)
    data = experiment.data
    estimate = experiment.rule(
        experiment.network, params, data.train_inputs[rows], data.train_targets[rows],
        experiment.cost,
    )  # fmt: skip
    rate = experiment.table.optimizer.learning_rate
    assert trainer.batches(0)[1].tolist() == [1]
    active = [0, 1, 4]
    ours = -rate * np.asarray(estimate.gradient["dense_0"])
    np.testing.assert_allclose(ours[active], first, rtol=ROUNDING, atol=ROUNDING * abs(first).max())
    assert (ours[[2, 3, 5]] == 0.0).all()
    ours = -rate * np.asarray(estimate.gradient["dense_3"])[:2, 0]
    np.testing.assert_allclose(ours, second, rtol=ROUNDING, atol=ROUNDING * abs(second).max())


def test_without_the_permutation_every_update_goes_home() -> None:
    permuted = Experiment.load(FILE, ["ngspice.reltol=1e-10"])
    straight = Experiment.load(FILE, ["ngspice.reltol=1e-10", "rule.permuted=false"])
    params, data = permuted.initial_params(), permuted.data
    one, other = (
        x.rule(x.network, params, data.train_inputs[:1], data.train_targets[:1], x.cost).gradient
        for x in (permuted, straight)
    )
    home = np.asarray(other["dense_0"])[[0, 1, 4]]
    np.testing.assert_array_equal(np.asarray(one["dense_0"])[[0, 1, 4]], home.T.reshape(3, 2))
    np.testing.assert_array_equal(one["dense_3"], other["dense_3"])
