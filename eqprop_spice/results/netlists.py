"""The netlists of an experiment: a training sample in the free and the nudged phase."""

from typing import Any

import jax
import numpy as np

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free
from eqprop_spice.spice.writer import netlist

SHOWN_SAMPLES = 500
"""Training samples that are settled at a time for what a run shows of them: the native engine
compiles the solution of a block of this size once."""


def trained_netlists(
    experiment: Experiment, params: dict[str, Any], *, sample: int = 0
) -> dict[str, str]:
    """Return the netlists of a training sample in the free and the nudged phase."""
    arrays = {name: np.asarray(value) for name, value in params.items()}
    data, circuit = experiment.data, experiment.circuit
    rows = slice(sample, sample + 1)
    inputs, targets = data.train_inputs[rows], data.train_targets[rows]
    # Among its neighbors: the native engine has compiled the solution of a block this size.
    first = sample - sample % SHOWN_SAMPLES
    block = data.train_inputs[first : first + SHOWN_SAMPLES]
    settled = experiment.trainer.settle_all(params, block)
    free = jax.tree.map(lambda a: a[sample - first : sample - first + 1], settled)
    arrays = experiment.network.devices(arrays)
    outputs = np.asarray(circuit.outputs(free.voltages))
    title = f"{experiment.table.name} sample {sample}"
    texts = {"free": netlist(circuit, arrays, inputs[0], Free(), title=title)}
    displacement = experiment.rule.displacement(outputs, targets, experiment.cost)
    if displacement is None:
        nudged = experiment.rule.nudged_phase(outputs, targets, experiment.cost)
        texts["nudged"] = netlist(circuit, arrays, inputs[0], nudged, title=title)
    else:
        held = np.asarray(experiment.network.held_voltages(free, displacement))[0]
        extended = np.concatenate([inputs[0], held])
        title += " with its outputs held"
        texts["nudged"] = netlist(circuit.clamped, arrays, extended, Free(), title=title)
    return texts
