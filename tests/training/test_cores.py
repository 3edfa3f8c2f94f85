"""Large minibatches on several cores: the results of one core but for rounding, and repeatable."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eqprop_spice.arrays import CORES_VARIABLE, chosen_cores
from eqprop_spice.errors import ConfigError
from eqprop_spice.sweeps.supervisor import _safe_environment

ROOT = Path(__file__).parents[2]

TOGETHER = """
import dataclasses
import functools
import threading

import numpy as np

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.training import cores
from eqprop_spice.training.trainer import TrainingState

assert cores.most_cores() == 2
assert [cores.num_cores(n) for n in (4, 63, 64, 65, 66, 62)] == [1, 1, 2, 1, 2, 1]

text = open("experiments/digits.toml").read()
experiment = Experiment.parse(
    text, overrides=["engine='native'", "training.batch_size=256", "training.epochs=500"]
)
trainer = experiment.trainer
assert trainer.update.spread
params = experiment.drawn_params(np.random.default_rng(0))
alone = dataclasses.replace(trainer, update=dataclasses.replace(trainer.update, spread=False))

# 6 minibatches of 256 or less: the last one is too small for two cores, or odd.
found, figures = trainer.epoch(trainer.init(params))
expected, expected_figures = alone.epoch(alone.init(params))
for name, values in expected.params.items():
    np.testing.assert_allclose(found.params[name], values, rtol=1e-9)
assert len(found.params[name].sharding.device_set) == 2
for name, value in expected_figures.items():
    np.testing.assert_allclose(figures[name], value, rtol=1e-9)
for name, value in alone.evaluate(expected.params, test=True).items():
    np.testing.assert_allclose(trainer.evaluate(found.params, test=True)[name], value, rtol=1e-9)

# What a checkpoint holds goes on to the same bits, also where threads train side by side.
again, _ = trainer.epoch(found)
kept = {name: np.asarray(values) for name, values in found.params.items()}
import jax
resumed = TrainingState(kept, jax.tree.map(np.asarray, found.optimizer_state), found.epoch)
results = []
threads = [
    threading.Thread(target=lambda: results.append(trainer.epoch(resumed)[0])) for _ in range(3)
]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(results) == 3
for result in results:
    for name, values in again.params.items():
        np.testing.assert_array_equal(result.params[name], values)

# Samples that do not settle count nowhere, however they lie.
from jax.sharding import Mesh, PartitionSpec as P
import jax.numpy as jnp
from eqprop_spice.rules.base import Estimate

rng = np.random.default_rng(1)
each = rng.normal(size=(8, 3))


def mean(samples, settled, meeting):
    share = jnp.maximum(settled.sum(), 1)
    gradient = {"g": jnp.where(settled[:, None], samples, 0.0).sum(0) / share}
    return meeting(Estimate(gradient, samples, settled))["g"]


for settled in (np.arange(8) % 3 > 0, np.arange(8) > 3, np.zeros(8, bool)):
    of_all = jax.shard_map(
        functools.partial(mean, meeting=cores.gradient_of_all),
        mesh=Mesh(jax.devices(), "cores"),
        in_specs=P("cores"),
        out_specs=P(),
        check_vma=False,
    )
    np.testing.assert_allclose(
        jax.jit(of_all)(each, settled), mean(each, settled, cores.gradient_here), rtol=1e-12
    )
print("good")
"""


@pytest.mark.slow
def test_two_cores_give_what_one_gives():
    environment = os.environ | {CORES_VARIABLE: "2", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TOGETHER],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("good\n", 0), done.stderr


@pytest.mark.parametrize("value", ["0", "-1", "two", ""])
def test_a_wrong_number_of_cores_is_named(monkeypatch, value):
    monkeypatch.setenv(CORES_VARIABLE, value)
    with pytest.raises(ConfigError, match=f"{CORES_VARIABLE} is '{value}'"):
        chosen_cores()


def test_processes_of_a_sweep_have_a_core_each(monkeypatch):
    monkeypatch.delenv(CORES_VARIABLE)
    assert _safe_environment()[CORES_VARIABLE] == "1"
    monkeypatch.setenv(CORES_VARIABLE, "3")
    assert _safe_environment()[CORES_VARIABLE] == "3"
