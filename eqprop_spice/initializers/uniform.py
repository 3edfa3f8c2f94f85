"""Conductances drawn from one uniform distribution."""

import dataclasses
import math

from eqprop_spice.errors import ConfigError
from eqprop_spice.initializers.base import AbstractInitializer


@dataclasses.dataclass(frozen=True)
class Uniform(AbstractInitializer):
    """Draw every conductance from U(lower, upper).

    Attributes:
        lower: Smallest conductance [S], above zero.
        upper: Largest conductance [S].
        groups: Smallest and largest value of groups by name, instead.
    """

    lower: float = 1e-4
    upper: float = 1e-1
    groups: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse bounds that are not an interval of positive conductances."""
        for lower, upper in ((self.lower, self.upper), *self.groups.values()):
            if not 0 < lower <= upper < math.inf:
                raise ConfigError(
                    f"Uniform has bounds {lower} S and {upper} S; they must be positive, finite "
                    "and in ascending order."
                )

    def __call__(self, shapes, rng):
        """Return the drawn conductances."""
        bounds = {name: self.groups.get(name, (self.lower, self.upper)) for name in shapes}
        return {name: rng.uniform(*bounds[name], shape) for name, shape in shapes.items()}

    def check_shapes(self, shapes) -> None:
        """Refuse bounds of a group that is not there."""
        if unknown := sorted(set(self.groups) - set(shapes)):
            raise ConfigError(
                f"groups names '{unknown[0]}', but the groups are {', '.join(sorted(shapes))}."
            )
