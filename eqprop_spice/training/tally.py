"""The figures of some samples: loss, accuracy, largest error, and how many did not settle."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.datasets.base import Data


@dataclasses.dataclass(frozen=True)
class Tally:
    """Sums over samples; numbers, or arrays of like shape for several networks.

    Attributes:
        num_samples: How many samples were met.
        num_unconverged: How many of them have no state.
        num_correct: How many are classified as wanted; one without a state is not.
        total_cost: Sum of the cost over those that have a state.
        max_error: Largest distance of an output from its target over those [V].
    """

    num_samples: int = 0
    num_unconverged: Any = 0
    num_correct: Any = 0
    total_cost: Any = 0.0
    max_error: Any = 0.0

    def __add__(self, other: "Tally") -> "Tally":
        """Return the sums over the samples of both."""
        return Tally(
            self.num_samples + other.num_samples,
            self.num_unconverged + other.num_unconverged,
            self.num_correct + other.num_correct,
            self.total_cost + other.total_cost,
            np.maximum(self.max_error, other.max_error),
        )

    def figures(self, data: Data, prefix: str = "") -> dict[str, Any]:
        """Return means over the samples that have a state, by the names of a history."""
        counted = self.num_samples - self.num_unconverged
        some = np.where(counted, counted, np.nan)
        figures = {
            f"{prefix}loss": self.total_cost / some,
            f"{prefix}max_error": np.where(counted, self.max_error, np.nan),
            f"{prefix}num_unconverged": 1.0 * self.num_unconverged,
        }
        if data.task != "regression":
            figures[f"{prefix}accuracy"] = self.num_correct / max(self.num_samples, 1)
        return {name: np.asarray(value)[()] for name, value in figures.items()}


def tally(
    outputs: Float[np.ndarray, "*network sample output"],
    targets: Float[np.ndarray, "*network sample output"],
    converged: Bool[np.ndarray, "*network sample"],
    *,
    data: Data,
    cost: AbstractCost,
) -> Tally:
    """Count some samples of one network, or of several."""
    shape = converged.shape
    flat = [array.reshape(-1, array.shape[-1]) for array in (outputs, targets)]
    with np.errstate(invalid="ignore", over="ignore"):
        costs = np.where(converged, np.asarray(cost.value(*flat)).reshape(shape), 0.0)
        errors = np.where(converged, np.abs(outputs - targets).max(-1), 0.0)
    correct = data.correct(*flat).reshape(shape) & converged
    return Tally(
        shape[-1],
        (~converged).sum(-1),
        correct.sum(-1),
        costs.sum(-1),
        errors.max(-1, initial=0.0),
    )
