"""What a trained system says of new samples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConvergenceError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free

BLOCK = 256
"""Samples settled at a time. Engines that compile do it once for this number, whatever comes."""


def outputs(
    experiment: Experiment,
    params: Mapping[str, Array],
    inputs: Float[np.ndarray, "sample input"],
) -> Float[np.ndarray, "sample output"]:
    """Return the outputs [V] of the free phase.

    Args:
        experiment: What was trained.
        params: Its conductances [S], or other parameters.
        inputs: Source voltages [V].

    Raises:
        ConvergenceError: If a sample does not settle.
    """
    update, substrate = experiment.trainer.update, experiment.substrate
    parts = [np.zeros((0, experiment.data.num_outputs))]
    for start in range(0, len(inputs), BLOCK):
        block = inputs[start : start + BLOCK]
        missing = BLOCK - len(block) if substrate.traceable else 0
        filled = np.concatenate([block, np.repeat(block[:1], missing, axis=0)])
        point = update.free(params, filled)
        converged = np.asarray(point.converged)[: len(block)]
        if not converged.all():
            first = start + int(np.argmin(converged))
            (again,) = substrate.settle(params, inputs[first : first + 1], [Free()])
            raise ConvergenceError(
                f"{int((~converged).sum())} samples do not settle; the first is sample {first}, "
                f"{substrate.explain(again, 0)}."
            )
        parts.append(np.asarray(substrate.outputs(point.state))[: len(block)])
    return np.concatenate(parts)


def predict(experiment: Experiment, params: Mapping[str, Array], features: Any) -> np.ndarray:
    """Return labels, truth values or numbers for a user's features; see `Data.predictions`.

    Raises:
        ConfigError: If the features are not what the circuit was trained with.
        ConvergenceError: If a sample does not settle.
    """
    data = experiment.data
    return data.predictions(outputs(experiment, params, data.voltages(features)))
