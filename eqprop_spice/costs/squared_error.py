"""Half the squared distance."""

import dataclasses

from eqprop_spice.costs.base import AbstractCost


@dataclasses.dataclass(frozen=True)
class SquaredError(AbstractCost):
    r"""Half the squared distance, $C = \frac12 \sum_k (y_k - t_k)^2$ [V^2]."""

    def value(self, outputs, targets):
        """Return the cost of each sample [V^2]."""
        return 0.5 * ((outputs - targets) ** 2).sum(-1)

    def gradient(self, outputs, targets):
        """Return $y - t$ [V]."""
        return outputs - targets
