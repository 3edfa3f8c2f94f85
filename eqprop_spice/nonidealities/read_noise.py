"""Noise of whoever reads the voltages."""

import dataclasses

import jax

from eqprop_spice.nonidealities.base import AbstractNonideality, check_not_negative, check_seed


@dataclasses.dataclass(frozen=True)
class ReadNoise(AbstractNonideality):
    """Every reading of a node in a phase has a normal error of its own.

    The nudge is made by the circuit itself and has none.

    Attributes:
        deviation: Standard deviation of a reading [V].
        seed: Seed of the errors.
    """

    deviation: float
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a deviation or a seed below zero."""
        check_not_negative(self, deviation=self.deviation)
        check_seed(self, self.seed)

    @property
    def changes_readings(self) -> bool:
        """Readings have errors."""
        return True

    def on_voltages(self, voltages, key):
        """Return the voltages with their errors [V]."""
        draw = jax.random.normal(jax.random.fold_in(key, self.seed), voltages.shape)
        return voltages + self.deviation * draw
