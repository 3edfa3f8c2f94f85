"""A trained network's predictions, simulated again in ngspice."""

import dataclasses

import jax
import numpy as np

from eqprop_spice.engines.ngspice.engine import HELD_POINTS
from eqprop_spice.engines.uniqueness import SAME
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import Free
from eqprop_spice.results.run import Run
from eqprop_spice.substrates.base import require

CHUNK = 250
"""Samples per sweep; bounds ngspice's memory."""


@dataclasses.dataclass(frozen=True)
class Verification:
    """How a run's engine compares with ngspice.

    Attributes:
        num_samples: Samples compared.
        largest_difference: Over all nodes and samples that both engines solved [V].
        num_differing: Predictions that differ: the class, or the sign of any output.
        num_unconverged: Samples that one of the two did not solve; they count as differing.
        num_other_solutions: Samples whose states differ though both are right: the circuit has
            several operating points.
        num_wrong: Samples whose states differ and one of them is no operating point.
    """

    num_samples: int
    largest_difference: float
    num_differing: int
    num_unconverged: int
    num_other_solutions: int
    num_wrong: int


def verify(run: Run, *, num_samples: int) -> Verification:
    """Solve samples of a run with its own engine and with ngspice, and compare.

    Test samples are taken where the dataset has them, training samples otherwise.

    Raises:
        ConfigError: If there are fewer samples.
    """
    experiment = run.experiment
    data = experiment.data
    inputs = data.test_inputs if len(data.test_inputs) else data.train_inputs
    if not 1 <= num_samples <= len(inputs):
        raise ConfigError(f"--samples is {num_samples}; there are 1 to {len(inputs)} samples.")
    inputs = inputs[:num_samples]
    params = run.params
    own = experiment.trainer.settle_all(params, inputs)
    substrate = experiment.substrate
    require(substrate, "reference", experiment.source)
    reference = substrate.reference()
    parts = [
        reference.settle(params, inputs[i : i + CHUNK], [Free()] * HELD_POINTS)[-1]
        for i in range(0, num_samples, CHUNK)
    ]
    spice = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    both = np.asarray(own.converged) & spice.converged
    states = [substrate.named_state(settled.state)[1] for settled in (own, spice)]
    difference = np.abs(states[0] - states[1])[both]
    apart = np.zeros(num_samples, bool)
    apart[both] = difference.max(axis=1) > SAME
    right = apart.copy()
    for settled in (own, spice):
        state = jax.tree.map(lambda leaf: np.asarray(leaf)[apart], settled.state)
        right[apart] &= substrate.confirmed(params, inputs[apart], state)
    outputs = [np.asarray(substrate.outputs(settled.state)) for settled in (own, spice)]
    if data.task == "classes":
        decisions = [np.nan_to_num(o).argmax(1) for o in outputs]
        same = decisions[0] == decisions[1]
    else:
        same = ((outputs[0] > data.threshold) == (outputs[1] > data.threshold)).all(1)
    return Verification(
        num_samples,
        float(difference.max()) if both.any() else float("nan"),
        int((~(same & both)).sum()),
        int((~both).sum()),
        int(right.sum()),
        int((apart & ~right).sum()),
    )
