r"""Pulsed devices by the law of their steps."""

import dataclasses

import jax.numpy as jnp

from eqprop_spice.arrays import Array
from eqprop_spice.updates.base import AbstractPulsed, Device


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantStep(AbstractPulsed):
    """f = 1: all steps are alike, up to the bounds."""

    def growth(self, w: Array, device: Device) -> tuple[Array, Array]:
        """Return one; see `AbstractPulsed`."""
        return jnp.ones_like(w), jnp.ones_like(w)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractLinearStep(AbstractPulsed):
    r"""$f_+ = 1 - \gamma_+ w / b$, $f_- = 1 - \gamma_- w / a$ with the nominal bounds a and b.

    Attributes:
        gamma_up: How much smaller a step up is at the upper bound than at w = 0.
        gamma_down: The same down, at the lower bound.
    """

    gamma_up: float = 0.0
    gamma_down: float = 0.0

    def growth(self, w: Array, device: Device) -> tuple[Array, Array]:
        """Return f; see the class."""
        return 1.0 - self.gamma_up * w / self.high, 1.0 - self.gamma_down * w / self.low


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearStep(AbstractLinearStep):
    """Steps that shrink linearly with w, to any size at the bounds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractSoftBounds(AbstractPulsed):
    """Steps that shrink linearly to nothing at the bounds of every device."""

    def growth(self, w: Array, device: Device) -> tuple[Array, Array]:
        """Return 1 - w / bound; see the class."""
        return 1.0 - w / device.high, 1.0 - w / device.low


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftBounds(AbstractSoftBounds):
    """Steps that shrink linearly to nothing at the bounds of every device."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractExponentialStep(AbstractPulsed):
    r"""$f_\pm = \max(0, 1 - A_\pm e^{\pm \gamma_\pm z})$, $z = 2 \alpha w / (b - a) + \beta$.

    Attributes:
        amplitude_up: $A_+$.
        amplitude_down: $A_-$.
        gamma_up: $\gamma_+$.
        gamma_down: $\gamma_-$.
        slope: $\alpha$.
        shift: $\beta$.
    """

    amplitude_up: float = 0.00081
    amplitude_down: float = 0.36833
    gamma_up: float = 12.44625
    gamma_down: float = 12.78785
    slope: float = 0.244
    shift: float = 0.2425

    def growth(self, w: Array, device: Device) -> tuple[Array, Array]:
        """Return f; see the class."""
        z = 2.0 * self.slope * w / (device.high - device.low) + self.shift
        up = 1.0 - self.amplitude_up * jnp.exp(self.gamma_up * z)
        down = 1.0 - self.amplitude_down * jnp.exp(-self.gamma_down * z)
        return jnp.maximum(up, 0.0), jnp.maximum(down, 0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExponentialStep(AbstractExponentialStep):
    """Steps that end exponentially towards the bounds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PowerStep(AbstractPulsed):
    r"""$f_+ = \omega^\gamma$, $f_- = (1 - \omega)^\gamma$ with $\omega = (b - w) / (b - a)$.

    Attributes:
        gamma: The exponent; 1 are soft bounds at half the step.
    """

    gamma: float = 1.0

    def growth(self, w: Array, device: Device) -> tuple[Array, Array]:
        """Return f; see the class."""
        share = jnp.clip((device.high - w) / (device.high - device.low), 0.0, 1.0)
        return share**self.gamma, (1.0 - share) ** self.gamma
