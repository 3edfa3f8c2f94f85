"""Half the mean squared error over outputs: for waveforms, whose outputs are moments of time."""

import dataclasses

from eqprop_spice.costs.base import AbstractCost


@dataclasses.dataclass(frozen=True)
class MeanSquaredError(AbstractCost):
    r"""Half the mean squared distance, $C = \frac{1}{2n} \sum_k (y_k - t_k)^2$.

    Of a waveform it is the mean over the period, and does not grow with the number of time steps.
    """

    def value(self, outputs, targets):
        """Return the cost of each sample."""
        return 0.5 * ((outputs - targets) ** 2).mean(-1)

    def gradient(self, outputs, targets):
        """Return $(y - t)/n$."""
        return (outputs - targets) / outputs.shape[-1]
