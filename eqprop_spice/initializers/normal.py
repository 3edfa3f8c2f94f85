"""Normal starting values: for systems whose parameters have either sign."""

import dataclasses
import math

from eqprop_spice.errors import ConfigError
from eqprop_spice.initializers.base import AbstractInitializer


@dataclasses.dataclass(frozen=True)
class Normal(AbstractInitializer):
    r"""Draw weights from $N(0, \gamma^2/n)$ and leave biases zero.

    A group with one axis is a bias; any other is a weight, of which n = all axes but the last
    lead into one unit.

    Attributes:
        gain: $\gamma$, above zero.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        """Refuse weights of no size."""
        if not (math.isfinite(self.gain) and self.gain > 0):
            raise ConfigError(f"Normal has gain {self.gain}; it must be finite and positive.")

    def __call__(self, shapes, rng):
        """Return the drawn parameters."""
        return {
            name: rng.standard_normal(shape)
            * (self.gain / math.sqrt(math.prod(shape[:-1])) if len(shape) > 1 else 0.0)
            for name, shape in shapes.items()
        }
