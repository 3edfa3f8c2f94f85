"""What a constraint is."""

import dataclasses

from eqprop_spice.arrays import Array


@dataclasses.dataclass(frozen=True)
class AbstractConstraint:
    """Maps updated parameters to the nearest that a device can realize."""

    def __call__(self, params: dict[str, Array]) -> dict[str, Array]:
        """Return the parameters within the constraint."""
        raise NotImplementedError
