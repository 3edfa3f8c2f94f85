"""A circuit at another temperature."""

import dataclasses

from eqprop_spice.errors import ConfigError
from eqprop_spice.nonidealities.base import AbstractNonideality


@dataclasses.dataclass(frozen=True)
class Temperature(AbstractNonideality):
    """All devices at one temperature, as SPICE computes them; resistors keep their conductance.

    Each device says what it is then (`at_temperature`).

    Attributes:
        kelvin: The temperature [K].
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
        groups = [group.at_temperature(self.kelvin) for group in circuit.groups]
        return dataclasses.replace(circuit, groups=tuple(groups))
