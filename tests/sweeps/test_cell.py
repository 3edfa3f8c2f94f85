from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.engines.layered.plan import LayeredPlan
from eqprop_spice.engines.native import plan_for
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.experiment.tables import GoalTable
from eqprop_spice.results.run import train
from eqprop_spice.sweeps.batch import can_batch, run_batch
from eqprop_spice.sweeps.cell import CellResult, from_bytes, run_cell, to_bytes
from eqprop_spice.sweeps.child import compute

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"
pytestmark = pytest.mark.ngspice

CASE_1 = EXPERIMENTS / "case_1.toml"

BATCH_ERROR = 1e-7
"""Relative difference of figures that the two native programs may show: their sums are rounded in
another order, and dozens of updates carry that on."""


def case_1(*overrides: str, **values) -> Experiment:
    return Experiment.load(
        CASE_1, ["engine=native", "training.epochs=40", *overrides], values=values
    )


@pytest.mark.parametrize("engine", ["native", "ngspice"])
def test_a_cell_is_what_train_does(engine, tmp_path):
    experiment = case_1(f"engine={engine}", "goal.stop=false")
    run = train(experiment, tmp_path / "run")
    result = run_cell(experiment)
    assert (result.status == "learned") is run.results["learned"]
    np.testing.assert_array_equal(result.figures["loss"][:-1], run.history["loss"].values)
    assert result.figures["max_error"][-1] == run.results["max_error"]
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_a_cell_stops_where_train_stops(tmp_path):
    experiment = case_1("engine=ngspice")
    run = train(experiment, tmp_path / "run")
    result = run_cell(experiment)
    known = np.isfinite(result.figures["loss"])
    assert result.status == "learned"
    assert known.sum() - 1 == run.results["epochs"]
    assert known[: known.sum()].all()
    assert result.figures["max_error"][known][-1] == run.results["max_error"] < 1e-3


def test_minibatches_and_test_goals_are_those_of_train(tmp_path):
    iris = Experiment.load(
        EXPERIMENTS / "iris.toml",
        ["training.epochs=3", "goal={test_accuracy=0.8,stop=true}"],
    )
    run = train(iris, tmp_path / "run")
    result = run_cell(iris)
    assert np.isfinite(result.figures["loss"]).sum() - 1 == run.results["epochs"]
    assert (result.status == "learned") is run.results["learned"]
    epochs = run.results["epochs"]
    assert result.figures["test_accuracy"][epochs] == run.results["test_accuracy"]
    unconverged = result.figures["num_unconverged"]
    np.testing.assert_array_equal(unconverged[:epochs], run.history["num_unconverged"].values)
    assert np.isnan(unconverged[epochs:]).all()


@pytest.mark.parametrize("engine", ["native", "ngspice"])
def test_without_a_goal_nothing_is_learned(engine):
    bounded = case_1(f"engine={engine}", "training.epochs=3")
    table = bounded.table.model_copy(update={"goal": GoalTable()})
    experiment = Experiment(table, bounded.origin)
    results = [run_cell(experiment)]
    if can_batch(experiment):
        results += run_batch(experiment, [{"seed": 0}])
    for result in results:
        assert result.status == "stalled"
        np.testing.assert_array_equal(result.figures["num_unconverged"], [0, 0, 0, np.nan])


@pytest.mark.parametrize(("rate", "status"), [(1e-12, "stalled"), (10.0, "diverged")])
def test_what_does_not_learn_says_how(rate, status):
    bounded = case_1(f"optimizer.learning_rate={rate}")
    table = bounded.table.model_copy(update={"constraint": None})
    experiment = Experiment(table, bounded.origin)
    result = run_cell(experiment)
    assert result.status == status
    (batched,) = run_batch(experiment, [{"seed": 0}])
    assert batched.status == status
    assert bool(batched.error) is bool(result.error) is (status == "diverged")
    np.testing.assert_array_equal(
        np.isfinite(batched.figures["loss"]), np.isfinite(result.figures["loss"])
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        (
            "goal.stop=false",
            "rule.variant=centered",
            "rule.nudge=live",
            "optimizer.schedule=cosine",
        ),
    ],
)
def test_a_batch_is_its_cells(overrides):
    """Against the trainer itself, which knows nothing of batches."""
    cells = [
        {"seed": seed, "rule.beta": beta, "optimizer.learning_rate": alpha}
        for seed, beta, alpha in ((0, 1e-5, 5e-4), (1, 1e-3, 5e-4), (2, 1e-2, 1e-3), (7, 0.1, 1e-3))
    ]
    experiment = case_1(*overrides)
    assert can_batch(experiment)
    for result, cell in zip(run_batch(experiment, cells), cells, strict=True):
        alone = run_cell(case_1(*overrides, **cell))
        assert result.status == alone.status
        for name, column in alone.figures.items():
            np.testing.assert_allclose(
                result.figures[name], column, rtol=BATCH_ERROR, atol=1e-12, err_msg=name
            )


def test_a_batch_counts_samples_that_are_right():
    xor = Experiment.load(EXPERIMENTS / "xor.toml", ["engine=native", "training.epochs=30"])
    (result,) = run_batch(xor, [{"seed": 4}])
    alone = run_cell(
        Experiment.load(EXPERIMENTS / "xor.toml", ["engine=native", "seed=4", "training.epochs=30"])
    )
    np.testing.assert_array_equal(result.figures["accuracy"], alone.figures["accuracy"])
    assert result.figures["accuracy"].max() > 0.5


def test_what_cannot_be_one_program_is_not_batched():
    assert not can_batch(case_1("engine=ngspice"))
    minibatches = ["engine=native", "training.batch_size=1"]
    assert not can_batch(Experiment.load(EXPERIMENTS / "xor.toml", minibatches))
    # Series diodes with negative reflections need the general plan.
    published = ["circuit.layers.2.reflection=published", "training.weights=none"]
    assert not can_batch(case_1(*published))


def test_held_outputs_are_batched_where_their_circuit_can_be():
    held = case_1('rule={kind="coupled_learning.CoupledLearning"}', "training.epochs=2")
    layered = isinstance(plan_for(held.circuit.clamped), LayeredPlan)
    assert can_batch(held) is layered
    # The process that computes cells finds the way by itself.
    (result,) = compute(held.to_toml(), [{"seed": 0}])
    alone = run_cell(held).figures["loss"]
    np.testing.assert_allclose(result.figures["loss"], alone, rtol=BATCH_ERROR)


def test_results_travel_as_bytes():
    results = [
        CellResult({"loss": np.array([1.0, np.nan])}, "learned", "", 0.5),
        CellResult.crash("the process was ended by SIGSEGV"),
    ]
    back = from_bytes(to_bytes(results))
    assert [(r.status, r.error, r.seconds) for r in back] == [
        (r.status, r.error, r.seconds) for r in results
    ]
    np.testing.assert_array_equal(back[0].figures["loss"], [1.0, np.nan])
    assert np.isnan(back[1].figures["loss"]).all()
    assert from_bytes(to_bytes(results[1:]))[0].figures == {}
