"""A call of the native engine does not wait for the host, so that it can run on a GPU."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from eqprop_spice.experiment.experiment import Experiment

IRIS = Path(__file__).parents[2] / "experiments" / "iris.toml"


def iris(reflection: str) -> Experiment:
    overrides = ["engine=native", f"circuit.layers.2.reflection={reflection}"]
    return Experiment.load(IRIS, overrides)


def call(experiment: Experiment) -> tuple[Any, ...]:
    """Return what one call of an epoch takes: two minibatches of ten."""
    trainer, data = experiment.trainer, experiment.data
    state = trainer.init(experiment.initial_params())
    batches = (part[:20].reshape(2, 10, -1) for part in (data.train_inputs, data.train_targets))
    return (state.params, state.optimizer_state, state.carry, *batches, 0.1, None, 2)


@pytest.mark.parametrize(("reflection", "calls_back"), [("kendall", False), ("published", True)])
def test_only_circuits_that_may_need_the_host_call_back(reflection: str, calls_back: bool) -> None:
    """With negative reflections, sparse matrices of SciPy may have to help."""
    experiment = iris(reflection)
    steps: Any = experiment.trainer.update.steps
    program = steps.trace(*call(experiment)).lower().as_text()
    assert ("callback" in program) == calls_back


def test_nothing_is_transferred_inside_of_a_call() -> None:
    experiment = iris("kendall")
    steps = experiment.trainer.update.steps
    on_the_host = call(experiment)
    arguments = jax.device_put(on_the_host)
    steps(*arguments)
    with jax.transfer_guard("disallow"):
        with pytest.raises(jax.errors.JaxRuntimeError, match="isallowed"):
            steps(*on_the_host)
        _, _, _, outputs, converged = steps(*arguments)
    assert np.asarray(converged).all()
    assert np.isfinite(np.asarray(outputs)).all()
