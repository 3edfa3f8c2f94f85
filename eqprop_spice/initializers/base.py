"""What an initializer is."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class AbstractInitializer:
    """Draws the starting conductances."""

    def __call__(
        self, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Return conductances [S] of the given shapes by group name."""
        raise NotImplementedError

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse parameters that this cannot draw; most draw any.

        Raises:
            ConfigError: If so.
        """
