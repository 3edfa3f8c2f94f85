"""What a non-ideality is."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class AbstractNonideality:
    """Changes the circuit, the conductances it is programmed with, or the voltages it is read at.

    The learning rule knows nothing of it: its weights are those of the drawn circuit, and updates
    go to the programmed conductances. All randomness comes from the non-ideality's own seed, so
    that a seed stands for one fabricated chip.
    """

    @property
    def changes_readings(self) -> bool:
        """Whether `on_voltages` does anything."""
        return False

    def on_circuit(self, circuit: Circuit) -> Circuit:
        """Return the circuit as it was built; netlists are written from it."""
        return circuit

    def on_conductances(self, params: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the conductances [S] that the devices take when programmed with `params` [S]."""
        return params

    def on_voltages(
        self, voltages: Float[Array, "batch node"], key: Any
    ) -> Float[Array, "batch node"]:
        """Return the voltages [V] as they are read; `key` differs for every reading."""
        return voltages


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the random numbers of one group of devices, the same whatever else there is."""
    return np.random.default_rng([seed, *name.encode()])


def check_not_negative(owner: object, **values: float) -> None:
    """Refuse a spread below zero.

    Raises:
        ConfigError: If so.
    """
    for name, value in values.items():
        if not 0.0 <= value < np.inf:
            raise ConfigError(
                f"{type(owner).__name__} has {name} {value}; it must be finite and not negative."
            )


def check_seed(owner: object, seed: int) -> None:
    """Refuse a seed below zero.

    Raises:
        ConfigError: If so.
    """
    if seed < 0:
        raise ConfigError(f"{type(owner).__name__} has seed {seed}; it must not be negative.")
