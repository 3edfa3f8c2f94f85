"""What a dataset is: source voltages and target voltages, for training and for testing."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.datasets.encoding import Encoding, numbers
from eqprop_spice.errors import ConfigError

Augmentation: TypeAlias = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Returns changed copies of a batch of inputs [V]."""

Task = Literal["regression", "binary", "classes"]


@dataclasses.dataclass(frozen=True)
class Data:
    """Samples as voltages.

    Attributes:
        train_inputs: Source voltages of the training samples [V], `sample input`.
        train_targets: Their targets [V], `sample output`.
        test_inputs: Source voltages of the test samples [V]; without rows where there are none.
        test_targets: Their targets [V].
        task: When an output is right: "regression" never says, "binary" by the side of
            the threshold on which every output lies, "classes" by the largest output.
        threshold: The voltage between false and true of binary outputs [V].
        augment: What changes training inputs at random whenever they are met, if anything.
        encoding: How a user's features became voltages; None where inputs are voltages.
    """

    train_inputs: Float[np.ndarray, "sample input"]
    train_targets: Float[np.ndarray, "sample output"]
    test_inputs: Float[np.ndarray, "test input"]
    test_targets: Float[np.ndarray, "test output"]
    task: Task
    threshold: float = 0.0
    augment: Augmentation | None = None
    encoding: Encoding | None = None

    @property
    def num_inputs(self) -> int:
        """Number of source voltages per sample."""
        return self.train_inputs.shape[1]

    @property
    def num_outputs(self) -> int:
        """Number of outputs per sample."""
        return self.train_targets.shape[1]

    def voltages(self, features: Any) -> Float[np.ndarray, "sample input"]:
        """Return a user's features as source voltages [V]; without an encoding they are voltages.

        Raises:
            ConfigError: If they are no finite numbers, or not as many as the circuit has inputs.
        """
        if self.encoding is not None:
            return self.encoding.inputs(features)
        given = numbers(features, "the inputs")
        if given.ndim != 2 or given.shape[1] != self.num_inputs:
            raise ConfigError(
                f"The inputs have the shape {given.shape}; (samples, {self.num_inputs}) is "
                "expected, in volts."
            )
        return given

    def predictions(self, outputs: Float[np.ndarray, "sample output"]) -> np.ndarray:
        """Return what outputs [V] say: labels, class numbers, truth values, or numbers."""
        if self.encoding is not None:
            return self.encoding.predictions(outputs)
        if self.task == "classes":
            return np.where(np.isfinite(outputs), outputs, -np.inf).argmax(1)
        return outputs > self.threshold if self.task == "binary" else outputs

    def correct(
        self, outputs: Float[np.ndarray, "batch output"], targets: Float[np.ndarray, "batch output"]
    ) -> Bool[np.ndarray, " batch"]:
        """Return which outputs decide as their targets do; NaN never does."""
        valid = np.isfinite(outputs).all(1)
        if self.task == "classes":
            filled = np.where(np.isfinite(outputs), outputs, -np.inf)
            return valid & (filled.argmax(1) == targets.argmax(1))
        return valid & ((outputs > self.threshold) == (targets > self.threshold)).all(1)


@dataclasses.dataclass(frozen=True)
class AbstractDataset:
    """Loads samples and turns them into voltages."""

    def load(self) -> Data:
        """Return the samples.

        Raises:
            ConfigError: If files are missing or damaged, with what to do.
        """
        raise NotImplementedError


def one_hot(
    labels: np.ndarray, num_classes: int, on: float, off: float
) -> Float[np.ndarray, "sample class"]:
    """Return targets [V]: `on` at the class, `off` elsewhere."""
    targets = np.full((len(labels), num_classes), off)
    targets[np.arange(len(labels)), labels] = on
    return targets
