"""Rectified uniform conductances: half of them at the lower bound."""

import dataclasses
import math

import numpy as np

from eqprop_spice.errors import ConfigError
from eqprop_spice.initializers.base import AbstractInitializer


@dataclasses.dataclass(frozen=True)
class RectifiedUniform(AbstractInitializer):
    r"""Draws w from $U(\pm a/\sqrt n)$ with n the fan-in, and takes what is above the lower bound.

    Attributes:
        scale: a [S].
        lower: Smallest conductance [S], above zero: a resistor that is there.

    References:
        Scellier (2024), arXiv:2402.11674.
    """

    scale: float = 1.0
    lower: float = 1e-9

    def __post_init__(self) -> None:
        """Refuse bounds that leave nothing to draw."""
        if not 0.0 < self.lower < self.scale < math.inf:
            raise ConfigError(
                f"RectifiedUniform needs 0 < lower < scale; got lower {self.lower} S and scale "
                f"{self.scale} S."
            )

    def __call__(self, shapes, rng):
        """Return the drawn conductances."""
        return {
            name: np.maximum(
                rng.uniform(-1.0, 1.0, shape) * (self.scale / math.sqrt(shape[0])), self.lower
            )
            for name, shape in shapes.items()
        }
