"""Costs: how far the outputs of one sample are from its targets."""

import dataclasses

from jaxtyping import Float

from eqprop_spice.arrays import Array


def _namespace(array):
    """Return numpy or jax.numpy, whichever the array belongs to."""
    return array.__array_namespace__()


@dataclasses.dataclass(frozen=True)
class AbstractCost:
    """The cost of one output vector; the loss is its mean over samples at the free state."""

    def value(
        self, outputs: Float[Array, "batch output"], targets: Float[Array, "batch output"]
    ) -> Float[Array, " batch"]:
        """Return the cost of each sample."""
        raise NotImplementedError

    def gradient(
        self, outputs: Float[Array, "batch output"], targets: Float[Array, "batch output"]
    ) -> Float[Array, "batch output"]:
        """Return the derivative of the cost by each output [1/V times the cost's unit]."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class SquaredError(AbstractCost):
    r"""Half the squared distance, $C = \frac12 \sum_k (y_k - t_k)^2$ [V^2]."""

    def value(self, outputs, targets):
        """Return the cost of each sample [V^2]."""
        return 0.5 * ((outputs - targets) ** 2).sum(-1)

    def gradient(self, outputs, targets):
        """Return $y - t$ [V]."""
        return outputs - targets


@dataclasses.dataclass(frozen=True)
class CrossEntropy(AbstractCost):
    r"""Softmax cross-entropy of the outputs in units of a voltage scale.

    $C = -s^2 \sum_k t_k \log p_k$ with $p = \mathrm{softmax}(y / s)$, where s is `scale` [V] and
    the targets are probabilities. The factor $s^2$ gives C the unit V^2 of the squared error, so
    that beta and learning rates keep their units and $\partial C/\partial y = s (p - t)$ [V].
    """

    scale: float = 1.0

    def value(self, outputs, targets):
        """Return the cost of each sample [V^2]."""
        xp = _namespace(outputs)
        logits = outputs / self.scale
        shifted = logits - logits.max(axis=-1, keepdims=True)
        log_normalizer = xp.log(xp.exp(shifted).sum(-1))
        return self.scale**2 * (targets.sum(-1) * log_normalizer - (targets * shifted).sum(-1))

    def gradient(self, outputs, targets):
        r"""Return $s (p \sum_k t_k - t)$ [V]."""
        xp = _namespace(outputs)
        logits = outputs / self.scale
        exponentials = xp.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities = exponentials / exponentials.sum(-1, keepdims=True)
        return self.scale * (probabilities * targets.sum(-1, keepdims=True) - targets)
