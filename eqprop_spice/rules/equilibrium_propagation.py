"""Equilibrium propagation with a finite nudge: P-EP, N-EP and C-EP."""

import dataclasses
import math
from typing import Literal

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractPhase, Force, Free, Nudge, Spring, constant_nudge
from eqprop_spice.rules.base import AbstractRule, Estimate


@dataclasses.dataclass(frozen=True)
class EquilibriumPropagation(AbstractRule):
    r"""Contrast two phases: $\partial C/\partial\theta \approx (E_\theta(s_2)-E_\theta(s_1))/d$.

    P-EP takes the phases 0 and $+\beta$ ($d = \beta$), N-EP $-\beta$ and 0 ($d = \beta$), C-EP
    $-\beta$ and $+\beta$ ($d = 2\beta$). The bias is of order beta, beta and beta squared.

    Attributes:
        variant: Which two phases are compared.
        beta: Strength of the nudge [S], above zero.
        nudge: "constant" injects the current $-\beta\,\partial C/\partial y$ of the free outputs;
            "live" attaches a conductance beta to a source at the target (squared error only).

    References:
        Scellier and Bengio (2017), arXiv:1602.05179; Kendall et al. (2020), arXiv:2006.01981;
        Laborieux et al. (2021), arXiv:2006.03824; Scellier et al. (2023), arXiv:2312.15103.
    """

    variant: Literal["positive", "negative", "centered"] = "centered"
    beta: float = 1e-4
    nudge: Literal["constant", "live"] = "constant"

    def __post_init__(self) -> None:
        """Refuse a nudge of no strength."""
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise ConfigError(
                f"beta is {self.beta} S; it must be finite and positive. For the limit beta -> 0 "
                'use the rule "small_signal.SmallSignal"; for a negative nudge set '
                'variant = "negative".'
            )

    def check_cost(self, cost) -> None:
        """Refuse a live nudge along anything but the squared error."""
        if self.nudge == "live" and not isinstance(cost, SquaredError):
            raise ConfigError(
                "A live nudge is a conductance to a source at the target, which is the gradient of "
                'the squared error only. Use nudge = "constant" with other costs.'
            )

    def __call__(self, substrate, params, inputs, targets, cost) -> Estimate:
        """Return the gradient estimate; see `AbstractRule`."""
        self.check_cost(cost)
        plus = self._phase(self.beta, targets, cost)
        minus = self._phase(-self.beta, targets, cost)
        perturbed = {"positive": [plus], "negative": [minus], "centered": [minus, plus]}
        free, *states = substrate.settle(params, inputs, [Free(), *perturbed[self.variant]])
        first, second, distance = {
            "positive": lambda: (free, states[0], self.beta),
            "negative": lambda: (states[0], free, self.beta),
            "centered": lambda: (states[0], states[1], 2.0 * self.beta),
        }[self.variant]()
        converged = substrate.converged(free)
        for state in states:
            converged = converged & substrate.converged(state)
        contrast = substrate.contrast(first, second, converged)
        gradient = {name: value / distance for name, value in contrast.items()}
        return Estimate(gradient, substrate.outputs(free), converged)

    def nudged_phase(self, outputs, targets, cost) -> AbstractPhase:
        """Return the nudged phase of this rule at given free outputs."""
        beta = -self.beta if self.variant == "negative" else self.beta
        if self.nudge == "live":
            return Spring(beta, targets)
        return Force(-beta * cost.gradient(outputs, targets))

    def _phase(self, beta: float, targets, cost) -> AbstractPhase | Nudge:
        if self.nudge == "live":
            return Spring(beta, targets)
        return constant_nudge(cost, targets, beta)
