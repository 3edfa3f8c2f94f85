r"""Which nudges a circuit and its solver can bear: the error of EP against beta.

A small nudge moves the voltages less than the solver's tolerance: the error grows as $1/\beta$. A
large one leaves the linear regime: the error grows as $\beta$ (P-EP, N-EP) or $\beta^2$ (C-EP). In
between lies the range to use; where there is none, the solver has to be tightened.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.gradients.comparison import worst_error
from eqprop_spice.rules.base import AbstractRule, Estimate
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.base import AbstractSubstrate

TARGET_ERROR = 1e-2
"""Relative error of the worst layer that a recommended beta stays below."""

DECADES = (-10, 1)
"""Nudges are scanned over these decades relative to how stiff the outputs are."""

PER_DECADE = 2

SCANNED_SAMPLES = 16
"""Samples that a rule is scanned on."""

LINEAR_ERROR = 0.3
"""Above this error the leading order of the bias is no longer what is measured."""

CLEAR_OF_FLOOR = 5.0
"""An error this many times the smallest counts as on a flank: of noise, or of bias."""


@dataclasses.dataclass(frozen=True, eq=False)
class BetaScan:
    """The error of a rule against the strength of its nudge.

    Attributes:
        betas: Strengths [S], ascending.
        errors: Relative error of the worst layer; NaN where nothing converged.
        slope: Measured order of the bias in beta; None if no range shows it.
        noise: Error times beta where the solver's noise dominates [S]; None if it never does.
        best: Beta with the smallest error [S].
        window: Smallest and largest beta [S] with an error below `TARGET_ERROR`; None if none has.
    """

    betas: Float[np.ndarray, " beta"]
    errors: Float[np.ndarray, " beta"]
    slope: float | None
    noise: float | None
    best: float | None
    window: tuple[float, float] | None


def beta_grid(
    substrate: AbstractSubstrate, params: Mapping[str, Array]
) -> Float[np.ndarray, " beta"]:
    """Return the nudges to scan [S]."""
    low, high = DECADES
    steps = np.linspace(low, high, (high - low) * PER_DECADE + 1)
    return substrate.nudge_scale(params) * 10.0**steps


def scan(
    estimate: Callable[[float], Estimate],
    reference: Mapping[str, Array],
    betas: Float[np.ndarray, " beta"],
) -> BetaScan:
    """Measure the error of a rule at several nudges.

    Args:
        estimate: The rule's estimate at a beta [S].
        reference: The exact gradient by group name.
        betas: Strengths to try [S], ascending.
    """
    errors = np.full(len(betas), np.nan)
    for i, beta in enumerate(betas.tolist()):
        found = estimate(beta)
        if np.asarray(found.converged).all():
            errors[i] = worst_error(found.gradient, reference)
    if np.isnan(errors).all():
        return BetaScan(betas, errors, None, None, None, None)
    lowest = int(np.nanargmin(errors))
    return BetaScan(
        betas,
        errors,
        _slope(betas, errors, lowest),
        _noise(betas, errors, lowest),
        float(betas[lowest]),
        _window(betas, errors, lowest),
    )


def scan_rule(
    rule: AbstractRule,
    substrate: AbstractSubstrate,
    params: Mapping[str, Array],
    inputs: Float[Array, "batch input"],
    targets: Float[Array, "batch output"],
    *,
    cost: AbstractCost,
) -> BetaScan:
    """Scan the beta of a rule on the first samples, against its small-signal limit.

    Args:
        rule: A rule with a nudge.
        substrate: What learns; its weights are in both, so they make no difference.
        params: Conductances [S] by group name.
        inputs: Source voltages [V].
        targets: Targets [V].
        cost: The cost of one output vector.
    """
    arrays = {name: np.asarray(values, float) for name, values in params.items()}
    some = (arrays, inputs[:SCANNED_SAMPLES], targets[:SCANNED_SAMPLES], cost)

    def estimate(beta: float) -> Estimate:
        return rule.nudged_by(beta)(substrate, *some)

    limit = SmallSignal()(substrate, *some).gradient
    return scan(estimate, limit, beta_grid(substrate, arrays))


def _slope(betas: np.ndarray, errors: np.ndarray, lowest: int) -> float | None:
    """Fit the order of the bias on the right flank."""
    index = np.arange(len(betas))
    flank = index > lowest
    flank &= (errors > CLEAR_OF_FLOOR * errors[lowest]) & (errors < LINEAR_ERROR)
    if flank.sum() < 3:
        return None
    return float(np.polyfit(np.log(betas[flank]), np.log(errors[flank]), 1)[0])


def _noise(betas: np.ndarray, errors: np.ndarray, lowest: int) -> float | None:
    """Return the level of the left flank, on which error times beta is constant."""
    flank = (np.arange(len(betas)) < lowest) & (errors > CLEAR_OF_FLOOR * errors[lowest])
    return float(np.median((errors * betas)[flank])) if flank.any() else None


def _window(betas: np.ndarray, errors: np.ndarray, lowest: int) -> tuple[float, float] | None:
    """Return the unbroken range around the best beta that stays below the target."""
    good = errors <= TARGET_ERROR
    if not good[lowest]:
        return None
    first = last = lowest
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(betas) and good[last + 1]:
        last += 1
    return float(betas[first]), float(betas[last])
