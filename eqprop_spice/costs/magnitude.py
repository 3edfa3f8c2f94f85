"""How far the magnitudes of phasors are from those of others: a filter mask has no phases."""

import dataclasses

from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class MagnitudeError(AbstractCost):
    r"""Half the squared difference of squares, $C = \frac12 \sum_k (|y_k|^2 - |t_k|^2)^2$.

    Outputs and targets are phasors, each as its real and its imaginary part, one after the other.
    Phases of the targets do not matter.
    """

    def value(self, outputs, targets):
        """Return the cost of each sample [V^4]."""
        return 0.5 * (_excess(outputs, targets) ** 2).sum((-2, -1))

    def gradient(self, outputs, targets):
        r"""Return $2 (|y|^2 - |t|^2)\,y$ [V^3]."""
        slopes = 2.0 * _excess(outputs, targets) * _phasors(outputs)
        return slopes.reshape(outputs.shape)


def _phasors(values: Float[Array, "*batch output"]) -> Float[Array, "*batch phasor 2"]:
    """Return values as pairs of a real and an imaginary part."""
    if values.shape[-1] % 2:
        raise ConfigError(
            f"MagnitudeError compares phasors, a real and an imaginary part each, but there are "
            f"{values.shape[-1]} outputs. Use squared_error.SquaredError."
        )
    return values.reshape(*values.shape[:-1], -1, 2)


def _excess(
    outputs: Float[Array, "*batch output"], targets: Float[Array, "*batch output"]
) -> Float[Array, "*batch phasor 1"]:
    """Return by how much the squared magnitudes of outputs exceed those of targets."""
    sizes = [(_phasors(values) ** 2).sum(-1, keepdims=True) for values in (outputs, targets)]
    return sizes[0] - sizes[1]
