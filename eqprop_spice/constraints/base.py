"""What a constraint is."""

import dataclasses
from collections.abc import Mapping

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class AbstractConstraint:
    """Maps updated parameters to the nearest that a device can realize."""

    def __call__(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """Return the parameters within the constraint."""
        raise NotImplementedError

    @property
    def named(self) -> frozenset[str]:
        """Groups that it names, and so constrains even if they are no conductances."""
        return frozenset()

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse parameters that this cannot constrain; most take any.

        Raises:
            ConfigError: If so.
        """
        if unknown := sorted(self.named - set(shapes)):
            raise ConfigError(
                f"groups names '{unknown[0]}', but the groups are {', '.join(sorted(shapes))}."
            )


@dataclasses.dataclass(frozen=True)
class Sparing(AbstractConstraint):
    """A constraint that leaves some groups alone.

    Attributes:
        constraint: The constraint of the others.
        spared: Names of the groups.
    """

    constraint: AbstractConstraint
    spared: frozenset[str]

    def __call__(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """Return the parameters within the constraint."""
        others = self.constraint({k: v for k, v in params.items() if k not in self.spared})
        return {k: v if k in self.spared else others[k] for k, v in params.items()}

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse what the constraint cannot constrain among the others."""
        self.constraint.check_shapes({k: s for k, s in shapes.items() if k not in self.spared})


def sparing(constraint: AbstractConstraint, currents: frozenset[str]) -> AbstractConstraint:
    """Return a constraint that leaves those of the currents alone which it does not name."""
    spared = currents - constraint.named
    return Sparing(constraint, spared) if spared else constraint
