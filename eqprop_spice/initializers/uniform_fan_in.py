"""Uniform starting values of the size that the number of inputs asks for, with either sign."""

import dataclasses
import math

import numpy as np

from eqprop_spice.errors import ConfigError
from eqprop_spice.initializers.base import AbstractInitializer


@dataclasses.dataclass(frozen=True)
class UniformFanIn(AbstractInitializer):
    r"""Draw weights from $U(-\gamma_k, \gamma_k)/\sqrt{n_k}$, biases from their range.

    A group with one axis is a bias; any other is a weight, of which n = all axes but the last lead
    into one unit. A bias has the n of the weight that comes before it.

    Attributes:
        gains: $\gamma_k$ of each weight, first to last, or one for all.
        bias_gain: $\gamma$ of the biases; 0 leaves them zero.

    References:
        Scellier et al. (2023), arXiv:2312.15103.
    """

    gains: tuple[float, ...] = (0.5,)
    bias_gain: float = 0.5

    def __post_init__(self) -> None:
        """Refuse weights of no size."""
        if not self.gains or not all(math.isfinite(gain) and gain > 0 for gain in self.gains):
            raise ConfigError(
                f"UniformFanIn has gains {list(self.gains)}; they must be finite and positive."
            )
        if not (math.isfinite(self.bias_gain) and self.bias_gain >= 0):
            raise ConfigError(
                f"UniformFanIn has bias_gain {self.bias_gain}; it must be finite, 0 or more."
            )

    def __call__(self, shapes, rng):
        """Return the drawn parameters.

        Raises:
            ConfigError: If there are several gains, but not one for each weight.
        """
        weights = [name for name, shape in shapes.items() if len(shape) > 1]
        if len(self.gains) not in (1, len(weights)):
            raise ConfigError(
                f"gains has {len(self.gains)} values, but the system has {len(weights)} weights: "
                f"{', '.join(weights)}."
            )
        gains = dict(zip(weights, np.broadcast_to(self.gains, len(weights)), strict=True))
        drawn, fan_in = {}, 1
        for name, shape in shapes.items():
            if name in gains:
                fan_in = math.prod(shape[:-1])
            # A gain of -0.0 is a 0, but no range for numpy.
            largest = abs(gains.get(name, self.bias_gain)) / math.sqrt(fan_in)
            drawn[name] = rng.uniform(-largest, largest, shape)
        return drawn
