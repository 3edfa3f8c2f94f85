"""The power-computation method: finite differences of the total dissipated power."""

import dataclasses
from typing import Any

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import ConstantNudge, Free
from eqprop_spice.rules.base import AbstractRule, Estimate, is_positive


@dataclasses.dataclass(frozen=True)
class PowerComputation(AbstractRule):
    r"""PCM: contrast the derivatives of the dissipated power $P_d$ in two phases.

    It takes $-\frac{1}{2\beta}\,\partial_g [P_d(u_\beta) - P_d(u_0)]$ for the gradient (the sign of
    the public code), with one-sided finite differences: all N conductances are varied one by one
    in both phases, which takes 2 (N + 1) operating points per sample. The literature compares it
    with the voltage-drop method (VDM), which is `equilibrium_propagation.EquilibriumPropagation`
    with `weights = "none"`.

    Dissipated power is not stationary at an operating point, so this is no gradient in general:
    see docs/why_published_circuits_fail.md for where it comes close. In a network of resistors
    alone it vanishes with beta: by reciprocity the power has no term linear in the nudge.

    Attributes:
        beta: Strength of the nudge [S].
        step: Relative change of each conductance.

    References:
        Kiraz, Pham and Desgreys; repository eqprop-non-sum-separable-energy-consideration.
    """

    beta: float | Array = 1e-4
    step: float = 1e-2

    def __post_init__(self) -> None:
        """Refuse a nudge or a difference of no size."""
        for name in ("beta", "step"):
            value = getattr(self, name)
            if not is_positive(value):
                raise ConfigError(f"{name} is {value}; it must be finite and positive.")

    @property
    def nudge_strength(self) -> Any:
        """Beta [S]."""
        return self.beta

    def nudged_by(self, beta: Any) -> "PowerComputation":
        """Return this rule with another beta [S]."""
        return dataclasses.replace(self, beta=beta)

    @property
    def needs(self) -> frozenset[str]:
        """The power is compared, not the voltage drops."""
        return frozenset({"force", "dissipation"})

    def phases(self, targets, cost):
        """Return the nudged phase; as published, it follows the outputs of each varied circuit."""
        return [ConstantNudge(cost, targets, self.beta)]

    def __call__(
        self, substrate, params, inputs, targets, cost, *, start=None, key=None
    ) -> Estimate:
        """Return the estimate; see `AbstractRule`."""
        phases = [Free(), *self.phases(targets, cost)]

        def contrast(varied):
            free, nudged = substrate.settle(varied, inputs, phases, start=start, key=key)
            change = substrate.dissipated_power(varied, nudged.state)
            change = change - substrate.dissipated_power(varied, free.state)
            return change, free.converged & nudged.converged, free.state

        base, converged, free = contrast(params)
        outputs = substrate.outputs(free)
        xp = outputs.__array_namespace__()
        gradient = {}
        for name, values in params.items():
            slopes = []
            for index in np.ndindex(values.shape):
                one = np.zeros(values.shape)
                one[index] = self.step
                change, good, _ = contrast({**params, name: values * (1.0 + one)})
                converged = converged & good
                slopes.append((change - base) / (self.step * values[index]))
            gradient[name] = xp.stack(slopes, axis=1)
        share = xp.maximum(converged.sum(), 1)
        means = {
            name: (
                xp.where(converged[:, None], slopes, 0.0).sum(0) / share / (-2.0 * self.beta)
            ).reshape(params[name].shape)
            for name, slopes in gradient.items()
        }
        return Estimate(means, outputs, converged, free)
