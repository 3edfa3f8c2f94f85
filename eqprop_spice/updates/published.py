"""Devices with the parameters that were fitted to measurements, named after their source.

Steps, bounds and spreads are those of the presets of the open toolkit of Rasch et al. (2021),
arXiv:2104.02184; what is not given there is zero.
"""

import dataclasses

import jax.numpy as jnp

from eqprop_spice.arrays import Array
from eqprop_spice.updates.pulsed import (
    AbstractExponentialStep,
    AbstractLinearStep,
    AbstractSoftBounds,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReRamSoftBounds(AbstractSoftBounds):
    """Filamentary ReRAM of Gong et al. (2018), doi:10.1038/s41467-018-04485-1: a loose fit."""

    num_states: float = 1000.0
    low: float = -0.75
    high: float = 1.25
    bound_spread: float = 0.3
    cycle_spread: float = 3.75
    write_noise: float = 56.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReRamExponential(AbstractExponentialStep):
    """The same ReRAM of Gong et al. (2018), fitted with exponential steps."""

    num_states: float = 2.0 / 0.00135
    step_spread: float = 0.2
    up_down: float = 0.259359
    up_down_spread: float = 0.05
    bound_spread: float = 0.3
    cycle_spread: float = 5.0
    write_noise: float = 75.0
    amplitude_up: float = -1.18445
    amplitude_down: float = -0.081404
    gamma_up: float = 5.0
    gamma_down: float = 5.0
    slope: float = -0.5
    shift: float = -0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class EcRam(AbstractLinearStep):
    """Lithium ECRAM of Tang et al. (2018), doi:10.1109/IEDM.2018.8614551."""

    num_states: float = 1000.0
    low: float = -0.8276
    high: float = 1.1724
    step_spread: float = 0.1
    bound_spread: float = 0.05
    gamma_up: float = 0.1153
    gamma_down: float = 0.5085


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetalOxideEcRam(AbstractLinearStep):
    """Metal-oxide ECRAM of Kim et al. (2019), doi:10.1109/IEDM19573.2019.8993463."""

    num_states: float = 2.0 / 2.8214e-4
    low: float = -0.8286
    high: float = 1.1714
    step_spread: float = 0.1
    bound_spread: float = 0.05
    cycle_spread: float = 2.0
    gamma_up: float = 0.4152
    gamma_down: float = 0.7342


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capacitor(AbstractLinearStep):
    """Capacitor cell of Li et al. (2018), doi:10.1109/VLSIT.2018.8510648: it leaks."""

    num_states: float = 400.0
    step_spread: float = 0.1
    up_down_spread: float = 0.06
    bound_spread: float = 0.07
    gamma_up: float = 0.05
    gamma_down: float = 0.05
    lifetime: float = 1e6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Idealized(AbstractLinearStep):
    """The idealized device of Rasch et al. (2019), arXiv:1906.02698: 10,000 constant steps."""

    num_states: float = 10000.0
    up_down_spread: float = 0.0
    bound_spread: float = 0.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseChange(AbstractLinearStep):
    r"""Phase-change memory of Joshi et al. (2020), arXiv:1906.03138: written with noise, drifting.

    What is read deviates from what was written by $\sigma = 0.26348 + 1.965 r - 1.1731 r^2$ of
    `reference`, r being the conductance over `upper`, which stands for 25 of these units.

    Attributes:
        reference: $g_{max}$ in the unit of sigma.
    """

    num_states: float = 1000.0
    up_down_spread: float = 0.0
    drift: float = 0.05
    reference: float = 25.0

    def write_deviation(self, w: Array) -> Array:
        """Return the programming noise in w; see the class."""
        r = jnp.clip(self.conductance(w) / self.upper, 0.0, 1.0)
        sigma = jnp.maximum(0.26348 + 1.965 * r - 1.1731 * r**2, 0.0) / self.reference
        return sigma * self.upper * (self.high - self.low) / (self.upper - self.lower)

    @property
    def _writes_exactly(self) -> bool:
        return False
