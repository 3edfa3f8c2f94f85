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
        gain: $\gamma$ of every weight, above zero.
        gains: $\gamma$ of groups by name, instead. A group with one axis is drawn as well, with
            n = 1: the couplings of a graph are no biases.
    """

    gain: float = 1.0
    gains: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse weights of no size."""
        for where, gain in {"": self.gain, **self.gains}.items():
            if not (math.isfinite(gain) and gain > 0):
                name = f" for '{where}'" if where else ""
                raise ConfigError(f"Normal has gain {gain}{name}; it must be finite and positive.")

    def __call__(self, shapes, rng):
        """Return the drawn parameters.

        Raises:
            ConfigError: If there is no group of a name in `gains`.
        """
        if unknown := sorted(set(self.gains) - set(shapes)):
            raise ConfigError(
                f"gains names '{unknown[0]}', but the groups are {', '.join(sorted(shapes))}."
            )
        gains = {name: self.gain if len(shape) > 1 else 0.0 for name, shape in shapes.items()}
        gains |= self.gains
        return {
            name: rng.standard_normal(shape) * (gains[name] / math.sqrt(math.prod(shape[:-1])))
            for name, shape in shapes.items()
        }
