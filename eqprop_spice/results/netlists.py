"""The netlists of an experiment: a training sample in the free and the nudged phase."""

from typing import Any

import numpy as np

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free
from eqprop_spice.substrates.base import require

SHOWN_SAMPLES = 500
"""Training samples that are settled at a time for what a run shows of them: the native engine
compiles the solution of a block of this size once."""


def trained_netlists(
    experiment: Experiment, params: dict[str, Any], *, sample: int = 0
) -> dict[str, str]:
    """Return the netlists of a training sample in the free and the nudged phase.

    Raises:
        ConfigError: If the system of the experiment is none that SPICE knows.
    """
    substrate, data = experiment.substrate, experiment.data
    require(substrate, "netlist", experiment.source)
    arrays = {name: np.asarray(value) for name, value in params.items()}
    rows = slice(sample, sample + 1)
    inputs, targets = data.train_inputs[rows], data.train_targets[rows]
    # Among its neighbors: the native engine has compiled the solution of a block this size.
    first = sample - sample % SHOWN_SAMPLES
    block = data.train_inputs[first : first + SHOWN_SAMPLES]
    settled = experiment.trainer.settle_all(params, block)
    outputs = np.asarray(substrate.outputs(settled.state))[sample - first : sample - first + 1]
    phases = {
        "free": Free(),
        "nudged": experiment.rule.shown_phase(outputs, targets, experiment.cost),
    }
    title = f"{experiment.table.name} sample {sample}"
    return {name: substrate.netlist(arrays, inputs, phase, title) for name, phase in phases.items()}
