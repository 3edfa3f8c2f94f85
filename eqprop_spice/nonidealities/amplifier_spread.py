"""Amplifiers that differ from each other."""

import dataclasses

import numpy as np

from eqprop_spice.nonidealities.base import (
    AbstractNonideality,
    check_not_negative,
    check_seed,
    generator,
)


@dataclasses.dataclass(frozen=True)
class AmplifierSpread(AbstractNonideality):
    r"""Amplifier i delivers $A e^{\sigma n_i} (v + o_i)$; its reflection stays as it is.

    With unequal gains A/kappa differs between the nodes of a layer: the circuit is not reciprocal,
    and the rule, which has the weights of equal gains, is biased.

    Attributes:
        gain_deviation: $\sigma$, the relative standard deviation of the gains.
        offset_deviation: Standard deviation of the offsets, at the inputs [V].
        seed: Seed of the chip.
    """

    gain_deviation: float = 0.0
    offset_deviation: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a deviation or a seed below zero."""
        check_not_negative(
            self, gain_deviation=self.gain_deviation, offset_deviation=self.offset_deviation
        )
        check_seed(self, self.seed)

    def on_circuit(self, circuit):
        """Return the circuit with amplifiers as they were built."""
        amplifiers = []
        for group in circuit.amplifiers:
            rng = generator(self.seed, group.name)
            gains, offsets = rng.standard_normal((2, len(group.inputs)))
            amplifiers.append(
                dataclasses.replace(
                    group,
                    gains=group.gains * np.exp(self.gain_deviation * gains),
                    offsets=group.offsets + self.offset_deviation * offsets,
                )
            )
        return dataclasses.replace(circuit, amplifiers=tuple(amplifiers))
