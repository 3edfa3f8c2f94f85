"""The verdict: which cause explains that a circuit does not follow its gradient, and the remedy."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from eqprop_spice.audit.budget import STAGES, Budget, limit_of
from eqprop_spice.audit.case import Case
from eqprop_spice.engines.uniqueness import Uniqueness
from eqprop_spice.gradients.beta_scan import BetaScan
from eqprop_spice.gradients.comparison import compare, worst_error
from eqprop_spice.rules.small_signal import SmallSignal

LIMIT = 0.1
"""Share of a layer's gradient above which a cause counts: a tenth still leaves the direction."""

PERMUTED = 1e-2
"""Two layers whose sorted entries agree to this fraction hold the same numbers."""

BLOCKED = 0.75
"""Share of a layer's steepest descent that bounds may take away: what is left then points less
than half along the gradient."""

PROBE = 1e-3
"""Size of the update that probes the bounds, relative to a layer's mean conductance."""


@dataclasses.dataclass(frozen=True)
class Cause:
    """Something that keeps a circuit from following its gradient.

    Attributes:
        code: Its name.
        size: Its share in the worst layer.
        finding: What was found, in a sentence.
        remedy: What to change.
    """

    code: str
    size: float
    finding: str
    remedy: str


def find_causes(
    case: Case,
    found: Budget,
    exact: Mapping[str, np.ndarray],
    *,
    scan: BetaScan,
    uniqueness: Uniqueness,
) -> list[Cause]:
    """Return all causes that matter, in the order in which to mend them."""
    causes = []
    unconverged = int((~np.asarray(case.configured.converged)).sum())
    if unconverged:
        causes.append(
            Cause(
                "unconverged operating points",
                unconverged / len(case.inputs),
                f"{unconverged} of {len(case.inputs)} samples have no operating point in some "
                "phase of the rule.",
                "Tighten the range of the conductances, lower the nudge, or loosen "
                "ngspice.residual_tolerance if it asks for more than the solver's tolerances give.",
            )
        )
    for stage in STAGES:
        size = found.worst(stage)
        if size > LIMIT:
            causes.append(_stage_cause(case, found, stage, size, scan))
    blocked = _blocked(case, exact)
    if blocked is not None:
        causes.append(blocked)
    if uniqueness.most_points > 1:
        causes.append(
            Cause(
                "several operating points",
                uniqueness.num_samples_with_several / len(case.inputs),
                f"Newton's method found {uniqueness.most_points} operating points for one sample, "
                f"with outputs {_listed(uniqueness.example)} V: what the circuit answers "
                "depends on where it comes from, and a nudge can make it jump.",
                "Use an amplifier with positive reflection (kendall, transformer), or larger "
                "conductances into the hidden nodes than out of them.",
            )
        )
    return causes


def _listed(points: list[list[float]]) -> str:
    return " and ".join("(" + ", ".join(f"{o:.3g}" for o in p[:4]) + ")" for p in points[:4])


def _shown(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {100 * v:.3g} %" for name, v in shares.items() if v > LIMIT)


def _stage_cause(case: Case, found: Budget, stage: str, size: float, scan: BetaScan) -> Cause:
    """Put a stage of the budget in words."""
    where = _shown(found.shares[stage])
    if stage == "learning rule":
        return _rule_cause(case, found, size, where)
    beta = case.rule.nudge_strength
    weights = case.weights or {}
    if stage == "solver tolerance":
        finding = f"The solver's error is {where} of the estimate"
        finding += f" at beta = {beta:.3g} S." if beta is not None else "."
        remedy = "Set reltol = 1e-10, vntol = 1e-13, abstol = 1e-15 in [ngspice]"
        window = (
            f", or beta in {scan.window[0]:.1g} ... {scan.window[1]:.1g} S" if scan.window else ""
        )
        return Cause(stage, size, finding, f"{remedy}{window}.")
    if stage == "finite nudge":
        finding = f"The nudge is too large for the linear regime: the bias is {where}"
        finding += f" at beta = {beta:.3g} S." if beta is not None else "."
        return Cause(
            stage, size, finding, 'Lower beta, use variant = "centered", or set beta = "auto".'
        )
    if stage == "amplifier sign":
        negative = [k for k, share in found.shares[stage].items() if share > LIMIT]
        return Cause(
            stage,
            size,
            f"The amplifiers reflect currents with a negative sign, so the update of "
            f"{', '.join(negative)} climbs the loss.",
            'Use reflection = "kendall" (F h 0 E -1/A in SPICE), or weights = "reciprocity".',
        )
    if stage == "missing weights":
        factors = ", ".join(
            f"{k} {np.abs(weights[k]).max():.4g}"
            for k, share in found.shares[stage].items()
            if share > LIMIT
        )
        return Cause(
            stage,
            size,
            f"The voltage drops are not multiplied by the reciprocity weights: {factors}.",
            'Set weights = "reciprocity" in [training], or use reflection = "transformer".',
        )
    if case.weights is not None:
        names = ", ".join(group.name for group in case.circuit.groups_without_energy)
        return Cause(
            stage,
            size,
            f"The devices of {names} are not reciprocal: the circuit has no energy, so equilibrium "
            f"propagation is biased: {where}.",
            "Keep their drops small beside the gates' overdrive, or use adjoint.Adjoint, which "
            "gives the exact gradient.",
        )
    return Cause(
        stage,
        size,
        "No weights make Kirchhoff's equations of this circuit symmetric, so equilibrium "
        f"propagation is biased: {where}.",
        "Make A/kappa uniform over the amplifiers of every layer behind the first; the rule "
        "adjoint.Adjoint gives the exact gradient.",
    )


def _rule_cause(case: Case, found: Budget, size: float, where: str) -> Cause:
    """Find out in which way a rule's limit differs from the small-signal gradient."""
    estimate, standard = found.estimates["learning rule"], found.estimates["amplifier sign"]
    reversed_sign = {k: compare(-estimate[k], standard[k]).relative_error for k in standard}
    if max(reversed_sign.values()) < LIMIT:
        return Cause(
            "nudge sign",
            size,
            "The estimate is the gradient with the opposite sign in every layer: the nudge pulls "
            "away from the target, or the phases are exchanged.",
            "Inject -beta dC/dy into the outputs. A SPICE source I n+ n- pulls its current out of "
            "n+: to inject into y, write I 0 y.",
        )
    if _good_alone(case):
        return Cause(
            "batch average",
            size,
            "The rule is right for single samples and wrong for a batch: it averages voltage drops "
            f"over the batch before it squares them ({where}).",
            "Square the drops of every sample first, then average.",
        )
    permuted = {k: _permutation(estimate[k], standard[k]) for k in standard}
    names = [k for k, order in permuted.items() if order is not None]
    if names:
        order = permuted[names[0]]
        assert order is not None
        shown = ", ".join(str(i) for i in order[:12]) + (", ..." if len(order) > 12 else "")
        return Cause(
            "permuted updates",
            size,
            f"The updates of {', '.join(names)} are the right numbers in another order: "
            f"conductances 0, 1, 2, ... of {names[0]} get the updates of {shown}.",
            "Add every update to the conductance whose voltage drop it came from.",
        )
    return Cause(
        "learning rule",
        size,
        f"Even with a vanishing nudge and exact operating points the rule does not estimate the "
        f"gradient: {where}.",
        "Compare the rule per layer with small_signal.SmallSignal.",
    )


def _good_alone(case: Case) -> bool:
    """Whether the rule is right on single samples."""
    if len(case.inputs) < 2:
        return False
    rule, engine = limit_of(case, case.rule), case.tight_engine
    for i in range(2):
        rows = slice(i, i + 1)
        alone = case.visible(case.estimate(rule, engine=engine, rows=rows).gradient)
        standard = case.visible(case.estimate(SmallSignal(), engine=engine, rows=rows).gradient)
        if not worst_error(alone, standard) < LIMIT:
            return False
    return True


def _permutation(estimate: np.ndarray, standard: np.ndarray) -> list[int] | None:
    """Return which entry of the standard each entry of the estimate is, if they are permuted."""
    scale = np.abs(standard).max(initial=0.0)
    if not np.abs(np.sort(estimate) - np.sort(standard)).max(initial=0.0) <= PERMUTED * scale:
        return None
    if np.abs(estimate - standard).max(initial=0.0) <= PERMUTED * scale:
        return None
    order = np.empty(len(standard), int)
    order[np.argsort(estimate, kind="stable")] = np.argsort(standard, kind="stable")
    return order.tolist()


def _blocked(case: Case, exact: Mapping[str, np.ndarray]) -> Cause | None:
    """Look for a layer whose descent is stopped by the constraint."""
    if case.constraint is None:
        return None
    wanted = {}
    for name, everywhere in exact.items():
        # A constraint that switches resistors off keeps those in place on purpose.
        slope = np.where(case.conducting[name], everywhere, 0.0)
        largest = np.abs(slope).max()
        size = PROBE * np.abs(case.params[name]).mean() / largest if largest > 0 else 0.0
        wanted[name] = -size * slope
    tried = {name: jnp.asarray(case.params[name] + step) for name, step in wanted.items()}
    allowed = case.constraint(tried)
    for name, step in wanted.items():
        made = np.asarray(allowed[name]) - case.params[name]
        total = float((step**2).sum())
        share = 1.0 - float((made * step).sum()) / total if total > 0 else 0.0
        if share > BLOCKED:
            lost = np.abs((step - made) * step)
            worst = np.argsort(lost, axis=None)[::-1][:3]
            places = [np.unravel_index(i, lost.shape) for i in worst if lost.flat[i] > 0.05 * total]
            shown = ", ".join(
                f"{name}{[int(i) for i in place]} at {case.params[name][place]:.4g} S"
                for place in places
            )
            return Cause(
                "conductances at their bounds",
                share,
                f"{100 * share:.3g} % of the descent of {name} is stopped by the constraint: "
                f"{shown or 'many conductances'}.",
                "Widen the constraint, or start further from its bounds.",
            )
    return None
