"""What a trained system says of new samples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConvergenceError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free


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
    trainer, substrate = experiment.trainer, experiment.substrate
    parts = [np.zeros((0, experiment.data.num_outputs))]
    for part, point in trainer.settle_parts(params, inputs):
        if not point.converged.all():
            first = part.start + int(np.argmin(point.converged))
            (again,) = substrate.settle(params, inputs[first : first + 1], [Free()])
            raise ConvergenceError(
                f"{int((~point.converged).sum())} samples do not settle; the first is sample "
                f"{first}, {substrate.explain(again, 0)}."
            )
        parts.append(np.asarray(substrate.outputs(point.state)))
    return np.concatenate(parts)


def predict(experiment: Experiment, params: Mapping[str, Array], features: Any) -> np.ndarray:
    """Return labels, truth values or numbers for a user's features; see `Data.predictions`.

    Raises:
        ConfigError: If the features are not what the circuit was trained with.
        ConvergenceError: If a sample does not settle.
    """
    data = experiment.data
    return data.predictions(outputs(experiment, params, data.voltages(features)))
