"""Diodes that differ from each other."""

import dataclasses

import numpy as np

from eqprop_spice.circuits.groups import Group
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
        """Return the circuit with the saturation currents of this chip."""
        return dataclasses.replace(circuit, groups=tuple(map(self._spread, circuit.groups)))

    def _spread(self, group: Group) -> Group:
        if not isinstance(group.device, Shockley):
            return group
        draw = generator(self.seed, group.name).standard_normal(group.num_instances)
        drawn = group.values.get("saturation_current", group.device.saturation_current)
        spread = drawn * np.exp(self.deviation * draw)
        values = {**group.values, "saturation_current": spread}
        return dataclasses.replace(group, values=values)
