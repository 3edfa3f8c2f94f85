"""Conductances that differ from what they are programmed to."""

import dataclasses

import numpy as np

from eqprop_spice.nonidealities.base import (
    AbstractNonideality,
    check_not_negative,
    check_seed,
    generator,
)


@dataclasses.dataclass(frozen=True)
class ConductanceMismatch(AbstractNonideality):
    r"""Every device takes $g\,e^{\sigma n}$ when programmed to g, with a fixed normal n of its own.

    Devices that share a conductance also share its mismatch.

    Attributes:
        deviation: $\sigma$, the relative standard deviation where it is small.
        seed: Seed of the chip.
    """

    deviation: float
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a deviation or a seed below zero."""
        check_not_negative(self, deviation=self.deviation)
        check_seed(self, self.seed)

    def on_conductances(self, params):
        """Return the conductances of the devices [S]."""
        return {
            name: value
            * np.exp(self.deviation * generator(self.seed, name).standard_normal(value.shape))
            for name, value in params.items()
        }
