"""What trainings share, and that nothing else stays behind."""

import gc
import weakref
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Jaxpr

from eqprop_spice.engines.native import MAX_PLANS, Native, plan_for
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free
from eqprop_spice.training import compilation
from eqprop_spice.training.update import MAX_SHARED
from tests.references import Layered

IRIS = Path(__file__).parents[2] / "experiments" / "iris.toml"
CASE_1 = IRIS.with_name("case_1.toml")


def iris(*overrides: str) -> Experiment:
    return Experiment.load(IRIS, ["engine=native", "training.batch_size=30", *overrides])


def one_epoch(experiment: Experiment):
    trainer = experiment.trainer
    state, _ = trainer.epoch(trainer.init(experiment.initial_params()))
    return {name: np.asarray(values) for name, values in state.params.items()}


def test_trainings_that_differ_in_seed_and_rate_compile_once():
    first = iris("training.max_unconverged=0.31")
    one_epoch(first)
    others = ["seed=1", "optimizer.learning_rate=1e-7", "goal.test_accuracy=0.5", "name=other"]
    for other in others:
        second = iris("training.max_unconverged=0.31", other)
        assert second.trainer.update is first.trainer.update
        one_epoch(second)
    compiled: Any = first.trainer.update.steps
    assert compiled._cache_size() == 1


def test_samples_for_training_and_for_testing_are_settled_by_one_program():
    experiment = iris("training.max_unconverged=0.32")
    trainer, params, data = experiment.trainer, experiment.initial_params(), experiment.data
    free: Any = trainer.update.free
    parts = [trainer.settle_all(params, x) for x in (data.train_inputs, data.test_inputs)]
    assert free._cache_size() == 1
    assert [len(part.state) for part in parts] == [120, 30]
    together = np.concatenate([data.train_inputs, data.test_inputs])
    voltages = np.concatenate([part.state for part in parts])
    np.testing.assert_allclose(free(params, together).voltages, voltages, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(
    "other",
    [
        "rule.beta=2e-4",
        "optimizer.options={momentum=0.8}",
        "training.epochs=7",
        "engine=ngspice",
        "constraint={kind='box.Box',lower=1e-6,upper=1.0}",
        "nonidealities=[{kind='read_noise.ReadNoise',deviation=1e-6}]",
    ],
)
def test_other_trainings_share_nothing(other):
    assert iris(other).trainer.update is not iris().trainer.update


def test_other_samples_of_the_same_sizes_share_what_is_compiled():
    other = iris("dataset.scale=2.0")
    assert other.trainer.update is iris().trainer.update
    assert not np.array_equal(other.trainer.data.train_inputs, iris().trainer.data.train_inputs)


def test_short_trainings_of_small_circuits_compile_quickly():
    assert iris().trainer.update.quick
    assert iris("training.epochs=1000").trainer.update.quick
    assert not iris("training.epochs=2000").trainer.update.quick
    assert not iris("training.epochs=100", "circuit.layers.0.num_outputs=300").trainer.update.quick


@pytest.mark.parametrize("known", [True, False])
def test_quick_programs_calculate_the_same(known, monkeypatch):
    """Also where the compiler does not know the options any more."""
    if not known:
        monkeypatch.setattr(compilation, "UNOPTIMIZED", {"xla_of_old": 0})
    compilation.unoptimized.cache_clear()
    assert (compilation.unoptimized() is not None) == known
    program = compilation.compiled(lambda x: jnp.sin(x).sum(), quick=True)
    compilation.unoptimized.cache_clear()
    np.testing.assert_allclose(program(np.arange(5.0)), np.sin(np.arange(5.0)).sum(), rtol=1e-15)


def test_the_rate_that_counts_is_the_own_one():
    start = iris().trainer.init(iris().initial_params()).params
    moved = [
        {n: values - np.asarray(start[n]) for n, values in one_epoch(iris(rate)).items()}
        for rate in ("optimizer.learning_rate=1e-9", "optimizer.learning_rate=2e-9")
    ]
    for name, slow in moved[0].items():
        np.testing.assert_allclose(moved[1][name], 2.0 * slow, rtol=1e-4, atol=1e-15)


def test_samples_do_not_stay_in_memory():
    experiment = iris()
    one_epoch(experiment)
    update, data = experiment.trainer.update, weakref.ref(experiment.data)
    del experiment
    gc.collect()
    assert data() is None
    assert iris().trainer.update is update


def test_updates_are_forgotten_in_time():
    first = weakref.ref(iris("training.epochs=1001").trainer.update)
    for epochs in range(1002, 1002 + MAX_SHARED):
        _ = iris(f"training.epochs={epochs}").trainer
    gc.collect()
    assert first() is None


def test_what_jax_traced_of_earlier_trainings_is_forgotten():
    counts = []
    for number in range(MAX_SHARED + 1):
        overrides = ["engine=native", f"training.epochs={3001 + number}"]
        experiment = Experiment.load(CASE_1, overrides)
        update: Any = experiment.trainer.update
        update.free.trace(experiment.initial_params(), experiment.data.train_inputs)
        del experiment, update
        gc.collect()
        counts.append(sum(isinstance(part, Jaxpr) for part in gc.get_objects()))
    # It grew by two dozens with every training, for ever.
    assert min(counts[1:]) <= counts[0]


def test_what_jax_traced_for_earlier_plans_is_forgotten(monkeypatch):
    forgotten = []
    monkeypatch.setattr("jax.clear_caches", lambda: forgotten.append(True))
    for number in range(MAX_PLANS):
        plan_for(Layered(hidden=(1,), bias=(1.0 + number,)).circuit())
    assert len(forgotten) == 1


def test_compiled_programs_go_with_their_plan():
    experiment = iris()
    inputs = experiment.data.train_inputs[:1]
    Native().settle(experiment.circuit, experiment.initial_params(), inputs, [Free()])
    plan = weakref.ref(plan_for(experiment.circuit))
    assert plan() is not None
    plan_for.cache_clear()
    gc.collect()
    assert plan() is None


def program_length(experiment: Experiment) -> int:
    """Return the number of operations that are compiled for one update."""
    trainer, batch = experiment.trainer, experiment.table.training.batch_size
    state = trainer.init(experiment.initial_params())
    inputs, targets = experiment.data.train_inputs[:batch], experiment.data.train_targets[:batch]
    update: Any = trainer.update
    traced = update.step.trace(
        state.params, state.optimizer_state, state.carry, inputs, targets, 1e-3, None
    )
    return traced.lower().as_text().count("\n")


def test_what_is_compiled_does_not_grow_with_widths_batches_or_devices():
    """Nor with values per device; only with the number of layers."""
    spread = "nonidealities=[{kind='diode_spread.SaturationSpread',deviation=0.1}]"
    length = program_length(iris())
    assert program_length(iris("circuit.layers.0.num_outputs=100")) == length
    assert program_length(iris("training.batch_size=75")) == length
    spread_length = program_length(iris(spread))
    assert program_length(iris(spread, "circuit.layers.0.num_outputs=100")) == spread_length
    assert spread_length <= 1.5 * length
