"""Equilibrium propagation with a finite nudge: P-EP, N-EP and C-EP."""

import dataclasses
from typing import Any, Literal

from eqprop_spice.arrays import Array
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractNudge, AbstractPhase, ConstantNudge, Spring
from eqprop_spice.rules.base import is_positive
from eqprop_spice.rules.contrast import SIGNS, AbstractContrast, Variant


@dataclasses.dataclass(frozen=True)
class EquilibriumPropagation(AbstractContrast):
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

    variant: Variant = "centered"
    beta: float | Array = 1e-4
    nudge: Literal["constant", "live"] = "constant"

    def __post_init__(self) -> None:
        """Refuse a nudge of no strength."""
        if not is_positive(self.beta):
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

    @property
    def signs(self) -> tuple[int, int]:
        """How the states of this variant are perturbed."""
        return SIGNS[self.variant]

    @property
    def strength(self) -> float | Array:
        """The nudge [S]."""
        return self.beta

    @property
    def nudge_strength(self) -> Any:
        """Beta [S]."""
        return self.beta

    def nudged_by(self, beta: Any) -> "EquilibriumPropagation":
        """Return this rule with another beta [S]."""
        return dataclasses.replace(self, beta=beta)

    @property
    def needs(self) -> frozenset[str]:
        """The outputs are pushed, by a force or a spring."""
        return frozenset({"spring" if self.nudge == "live" else "force"})

    def phase(self, sign, targets, cost) -> AbstractPhase | AbstractNudge:
        """Return the nudged phase; see `AbstractContrast`."""
        beta = sign * self.beta
        if self.nudge == "live":
            return Spring(beta, targets)
        return ConstantNudge(cost, targets, beta)
