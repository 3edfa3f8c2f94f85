"""Which output voltages a layered circuit can have, whatever its conductances."""

import math

import numpy as np
from jaxtyping import Float

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.groups import Sources
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.datasets.base import Data
from eqprop_spice.errors import ConfigError


def check_reach(circuit: Circuit, data: Data, cost: AbstractCost, *, differential: bool) -> None:
    """Refuse targets that no conductances bring about, where voltages are wanted.

    Args:
        circuit: The circuit.
        data: The samples.
        cost: What is minimized; only a squared error wants the outputs to be the targets.
        differential: Whether an output is the difference of two nodes.

    Raises:
        ConfigError: If a target is out of reach, with the bound.
    """
    if not isinstance(cost, SquaredError):
        return
    reach = largest_output(circuit, data.train_inputs, differential=differential)
    largest = np.abs(data.train_targets).max()
    if largest > reach:
        raise ConfigError(
            f"The largest target is {largest:.3g} V, but no output of this circuit can be farther "
            f"from zero than {reach:.3g} V: the largest source times the gains of the amplifiers. "
            "Give smaller targets, larger inputs or more gain."
        )


def largest_output(
    circuit: Circuit, inputs: Float[np.ndarray, "sample input"], *, differential: bool
) -> float:
    """Return a voltage [V] that no output exceeds, of either sign; infinity where none is known.

    A node of resistors lies between the voltages around it, so that no output is farther from zero
    than the largest source and offset times the gains on its way. Current sources have no such
    bound, nor have amplifiers whose outputs push their inputs away.

    Args:
        circuit: The circuit.
        inputs: Source voltages [V].
        differential: Whether an output is the difference of two nodes.
    """
    pushed = any((amplifiers.reflections <= 0.0).any() for amplifiers in circuit.amplifiers)
    if pushed or circuit.supplied_parameters:
        return math.inf
    reach = max((_largest(sources, inputs) for sources in circuit.sources), default=0.0)
    for amplifiers in circuit.amplifiers:
        reach += float(np.abs(amplifiers.offsets).max(initial=0.0))
        reach *= max(float(np.abs(amplifiers.gains).max(initial=0.0)), 1.0)
    return 2.0 * reach if differential else reach


def _largest(sources: Sources, inputs: np.ndarray) -> float:
    """Return the largest voltage that some sources have [V]."""
    follows = sources.columns >= 0
    factors = np.abs(sources.scales[follows])
    followed = np.abs(inputs).max(initial=0.0) * factors.max(initial=0.0)
    return float(max(followed, np.abs(sources.scales[~follows]).max(initial=0.0)))
