"""The error budget: what the distance between an estimate and the exact gradient is made of.

Causes are taken away one after the other, from the user's estimate to the exact gradient. Each
stage's step, relative to what is left after it, is the share of its cause.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from eqprop_spice.audit.case import Case
from eqprop_spice.gradients.comparison import compare
from eqprop_spice.rules.base import AbstractRule

STAGES: tuple[str, ...] = (
    "solver tolerance",
    "finite nudge",
    "learning rule",
    "amplifier sign",
    "missing weights",
    "not reciprocal",
)
"""The causes in the order in which they are taken away."""


@dataclasses.dataclass(frozen=True, eq=False)
class Budget:
    """The estimate at every stage, and each stage's share by layer.

    Attributes:
        estimates: By stage, the gradient *before* that cause is taken away; last, "exact".
        shares: By stage and layer, norm of the step over the norm of what is left after it.
    """

    estimates: dict[str, dict[str, np.ndarray]]
    shares: dict[str, dict[str, float]]

    def worst(self, stage: str) -> float:
        """Return the largest share of a stage over the layers."""
        values = [v for v in self.shares[stage].values() if not np.isnan(v)]
        return max(values, default=0.0)


def limit_of(case: Case, rule: AbstractRule) -> AbstractRule:
    """Return the rule with a nudge that is as good as vanishing; itself if it has no beta."""
    return rule.nudged_by(case.smallest_nudge)


def budget(case: Case, exact: Mapping[str, np.ndarray]) -> Budget:
    """Take away the causes one by one.

    Args:
        case: What is audited.
        exact: The exact gradient by group name.
    """
    tight = case.tight_engine
    standard = dict(case.limit.gradient)
    signed, weighted = standard, standard
    if case.substrate.weights == "none" and case.weights is not None:
        # One weight per parameter: exact wherever the devices that share it have the same.
        weights = {
            g.key: g.layout.parameter_means(case.weights[g.name])
            for g in case.circuit.trainable_groups
        }
        signed = {k: np.sign(weights[k]) * v for k, v in standard.items()}
        weighted = {k: weights[k] * v for k, v in standard.items()}
    gradients = (
        case.configured.gradient,
        case.estimate(engine=tight).gradient,
        case.estimate(limit_of(case, case.rule), engine=tight).gradient,
        standard,
        signed,
        weighted,
        exact,
    )
    arrays = [case.visible(g) for g in gradients]
    shares = {
        stage: {k: compare(before[k], after[k]).relative_error for k in after}
        for stage, before, after in zip(STAGES, arrays, arrays[1:], strict=False)
    }
    estimates = dict(zip((*STAGES, "exact"), arrays, strict=True))
    return Budget(estimates, shares)
