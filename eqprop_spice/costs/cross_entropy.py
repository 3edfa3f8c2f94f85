"""Softmax cross-entropy."""

import dataclasses
import math

from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class CrossEntropy(AbstractCost):
    r"""Softmax cross-entropy of the outputs in units of a voltage scale.

    $C = -s^2 \sum_k t_k \log p_k$ with $p = \mathrm{softmax}(y / s)$, where s is `scale` [V] and
    the targets are probabilities. The factor $s^2$ gives C the unit V^2 of the squared error, so
    that beta and learning rates keep their units and $\partial C/\partial y = s (p - t)$ [V].
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a scale that is none."""
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ConfigError(f"CrossEntropy has scale {self.scale} V; it must be positive.")

    def value(self, outputs, targets):
        """Return the cost of each sample [V^2]."""
        xp = outputs.__array_namespace__()
        logits = outputs / self.scale
        shifted = logits - logits.max(axis=-1, keepdims=True)
        log_normalizer = xp.log(xp.exp(shifted).sum(-1))
        return self.scale**2 * (targets.sum(-1) * log_normalizer - (targets * shifted).sum(-1))

    def gradient(self, outputs, targets):
        r"""Return $s (p \sum_k t_k - t)$ [V]."""
        xp = outputs.__array_namespace__()
        logits = outputs / self.scale
        exponentials = xp.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities = exponentials / exponentials.sum(-1, keepdims=True)
        return self.scale * (probabilities * targets.sum(-1, keepdims=True) - targets)
