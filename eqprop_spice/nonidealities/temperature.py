"""A circuit at another temperature."""

import dataclasses
import math

from eqprop_spice.constants import TEMPERATURE, THERMAL_VOLTAGE
from eqprop_spice.devices.diode import Shockley
from eqprop_spice.errors import ConfigError
from eqprop_spice.nonidealities.base import AbstractNonideality

ENERGY_GAP = 1.11
"""EG [eV] of a diode's model in SPICE, where it is not given: silicon."""

SATURATION_EXPONENT = 3.0
"""XTI of a diode's model in SPICE, where it is not given."""


@dataclasses.dataclass(frozen=True)
class Temperature(AbstractNonideality):
    r"""All diodes at a temperature T, as SPICE computes them; resistors keep their conductance.

    $I_s(T) = I_s (T/T_0)^{X/N} \exp((T/T_0 - 1) E_g / N v_T(T))$, and $N v_T$ is proportional to T,
    with $T_0$ = 300.15 K. Netlists hold diodes that are at 27 degC what these are at T.

    Attributes:
        kelvin: The temperature T [K].

    References:
        Vogt et al., ngspice manual, section 7.3.
    """

    kelvin: float

    def __post_init__(self) -> None:
        """Refuse temperatures at which no diode works as one."""
        if not 100.0 <= self.kelvin <= 600.0:
            raise ConfigError(
                f"Temperature has kelvin {self.kelvin}; it is from 100 to 600. 27 degC is 300.15 K."
            )

    def on_circuit(self, circuit):
        """Return the circuit at this temperature."""
        groups = [
            dataclasses.replace(group, device=self._heated(group.device))
            if isinstance(group.device, Shockley)
            else group
            for group in circuit.groups
        ]
        return dataclasses.replace(circuit, groups=tuple(groups))

    def _heated(self, diode: Shockley) -> Shockley:
        ratio = self.kelvin / TEMPERATURE
        n = diode.emission_coefficient
        exponent = (ratio - 1.0) * ENERGY_GAP / (n * THERMAL_VOLTAGE * ratio)
        growth = ratio ** (SATURATION_EXPONENT / n) * math.exp(exponent)
        return dataclasses.replace(
            diode,
            saturation_current=diode.saturation_current * growth,
            emission_coefficient=n * ratio,
        )
