"""Logic gates: two inputs at +-amplitude, all four patterns for training."""

import dataclasses

import numpy as np

from eqprop_spice.datasets.base import AbstractDataset, Data

PATTERNS = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
OR = np.array([-1.0, 1.0, 1.0, 1.0])
AND = np.array([-1.0, -1.0, -1.0, 1.0])
XOR = np.array([-1.0, 1.0, 1.0, -1.0])


def _patterns(targets: np.ndarray, amplitude: float, target: float) -> Data:
    inputs = amplitude * PATTERNS
    scaled = target * targets
    return Data(inputs, scaled, inputs[:0], scaled[:0], "binary")


@dataclasses.dataclass(frozen=True)
class Xor(AbstractDataset):
    """Exclusive or.

    Attributes:
        amplitude: Input voltage of true; minus that is false [V].
        target: Output voltage of true [V].
        target_false: Output voltage of false [V]; minus `target` by default.
    """

    amplitude: float = 2.0
    target: float = 1.0
    target_false: float | None = None

    def load(self) -> Data:
        """Return the four patterns."""
        data = _patterns(XOR[:, None], self.amplitude, self.target)
        if self.target_false is None:
            return data
        targets = np.where(data.train_targets > 0, self.target, self.target_false)
        threshold = 0.5 * (self.target + self.target_false)
        return dataclasses.replace(data, train_targets=targets, threshold=threshold)


@dataclasses.dataclass(frozen=True)
class Gates(AbstractDataset):
    """OR, AND and XOR at once, one output each; attributes as in `Xor`."""

    amplitude: float = 2.0
    target: float = 1.0

    def load(self) -> Data:
        """Return the four patterns."""
        return _patterns(np.stack([OR, AND, XOR], axis=1), self.amplitude, self.target)


@dataclasses.dataclass(frozen=True)
class SingleSample(AbstractDataset):
    """One input vector with its target.

    Attributes:
        inputs: Source voltages [V].
        targets: Target voltages [V].
    """

    inputs: tuple[float, ...]
    targets: tuple[float, ...]

    def load(self) -> Data:
        """Return the sample."""
        inputs = np.array([self.inputs], float)
        targets = np.array([self.targets], float)
        return Data(inputs, targets, inputs[:0], targets[:0], "regression")
