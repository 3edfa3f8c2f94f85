"""What a constraint is."""

import dataclasses
from collections.abc import Mapping

from eqprop_spice.arrays import Array


@dataclasses.dataclass(frozen=True)
class AbstractConstraint:
    """Maps updated parameters to the nearest that a device can realize."""

    def __call__(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """Return the parameters within the constraint."""
        raise NotImplementedError

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse parameters that this cannot constrain; most take any.

        Raises:
            ConfigError: If so.
        """
