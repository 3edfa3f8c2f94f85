"""Diodes that differ from each other."""

import dataclasses

import numpy as np

from eqprop_spice.circuits.groups import Group
from eqprop_spice.circuits.layouts import Pairs
from eqprop_spice.devices.diode import Shockley
from eqprop_spice.nonidealities.base import (
    AbstractNonideality,
    check_not_negative,
    check_seed,
    generator,
)


@dataclasses.dataclass(frozen=True)
class SaturationSpread(AbstractNonideality):
    r"""Diode i has the saturation current $I_s e^{\sigma n_i}$, and a SPICE model of its own.

    Attributes:
        deviation: $\sigma$; a spread of 26 mV in the forward voltage is 1 (for N = 1).
        seed: Seed of the chip.
    """

    deviation: float
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a deviation or a seed below zero."""
        check_not_negative(self, deviation=self.deviation)
        check_seed(self, self.seed)

    def on_circuit(self, circuit):
        """Return the circuit with every diode in a group of its own."""
        groups: list[Group] = []
        for group in circuit.groups:
            device = group.device
            if not isinstance(device, Shockley):
                groups.append(group)
                continue
            first, second = group.layout.pairs()
            draw = generator(self.seed, group.name).standard_normal(len(first))
            for i, factor in enumerate(np.exp(self.deviation * draw).tolist()):
                one = dataclasses.replace(
                    device,
                    model=f"{device.model}_{group.name}_{i}",
                    saturation_current=device.saturation_current * factor,
                )
                pair = Pairs(first[i : i + 1], second[i : i + 1])
                groups.append(Group(f"{group.name}_{i}", one, pair))
        return dataclasses.replace(circuit, groups=tuple(groups))
