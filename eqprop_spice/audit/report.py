"""The audit itself: every check once, and its result as plain data."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.audit.budget import Budget, budget
from eqprop_spice.audit.case import Case
from eqprop_spice.audit.references import (
    exact_gradient,
    finite_differences,
    operating_point,
    sensitivities,
)
from eqprop_spice.audit.variation import PhaseVariation, vary
from eqprop_spice.audit.verdict import Cause, find_causes
from eqprop_spice.circuits.maps import sum_at
from eqprop_spice.circuits.reciprocity import Edge, asymmetric_edges, asymmetry
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.engines.uniqueness import Uniqueness, find_operating_points
from eqprop_spice.files import for_json
from eqprop_spice.gradients.beta_scan import TARGET_ERROR, BetaScan, beta_grid, scan
from eqprop_spice.gradients.comparison import Comparison, compare_layers
from eqprop_spice.notebook import html_table
from eqprop_spice.phases import Free
from eqprop_spice.rules.base import Estimate
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.power_computation import PowerComputation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.settled import OperatingPoint

VARIANTS: dict[str, Any] = {"P-EP": "positive", "N-EP": "negative", "C-EP": "centered"}

LARGE = 10_000
"""Number of resistors above which ngspice and the power check vary only a few conductances."""

FEW = 20

MAX_POWER_COMPUTATION = 500
"""Conductances up to which the power-computation method is shown: it takes 2 (N + 1) solutions."""

POWER_STEP = 1e-4
"""Relative step of the power-computation method: its one-sided difference errs by this fraction."""

MAX_JACOBIAN = 3000
"""Free nodes up to which the asymmetry of a dense Jacobian is computed."""

LINEAR_SHARE = 1e-2
"""Diodes that add less than this share to the conductance at their nodes leave a circuit linear."""

OK = "OK"


@dataclasses.dataclass(frozen=True, eq=False)
class Audit:
    """Everything an audit found.

    Attributes:
        case: What was audited.
        exact: The exact gradient by group name.
        estimates: Gradients by label, at all conductances or at the chosen ones.
        agreement: References against the exact gradient, by label and layer.
        comparisons: Estimates of the user's network against the exact gradient, by label and layer.
        budget: What the user's estimate lacks.
        scans: Error against beta, by variant.
        beta: The nudge [S] that estimates were compared at.
        solver_error: Largest difference of a free voltage between the user's engine and a tight
            one [V].
        uniqueness: Operating points found.
        asymmetry: Of the Jacobian, for a circuit without weights or energy; None if it has both
            or is too large.
        edges: The devices without a co-content, the most asymmetric first.
        variation: Powers by phase and how conductances change them.
        causes: What keeps the circuit from following its gradient, first things first.
        remarks: What else a user should know.
    """

    case: Case
    exact: dict[str, np.ndarray]
    estimates: dict[str, dict[str, Array]]
    agreement: dict[str, dict[str, Comparison]]
    comparisons: dict[str, dict[str, Comparison]]
    budget: Budget
    scans: dict[str, BetaScan]
    beta: float
    solver_error: float
    uniqueness: Uniqueness
    asymmetry: float | None
    edges: list[Edge]
    variation: dict[str, PhaseVariation]
    causes: list[Cause]
    remarks: list[str]

    @property
    def verdict(self) -> str:
        """`OK`, or the first cause."""
        return self.causes[0].code if self.causes else OK

    def _repr_html_(self) -> str:
        """Show a notebook the verdict."""
        rows = {"verdict": self.verdict, **{c.code: f"{c.finding} {c.remedy}" for c in self.causes}}
        return html_table(f"Audit of {self.case.name}", rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data for JSON; what is not a number is None."""
        weights = self.case.weights
        return for_json(
            {
                "name": self.case.name,
                "verdict": self.verdict,
                "causes": [dataclasses.asdict(c) for c in self.causes],
                "remarks": self.remarks,
                "num_samples": len(self.case.inputs),
                "varied": {k: len(v) for k, v in self.case.selection.items()},
                "references": by_layer(self.agreement),
                "estimates": by_layer(self.comparisons),
                "budget": self.budget.shares,
                "beta": self.beta,
                "solver_error": self.solver_error,
                "scans": {k: scan_dict(s) for k, s in self.scans.items()},
                "weights": None
                if weights is None
                else {
                    k: sorted({float(f"{w:.12g}") for w in np.unique(weights[k])})
                    for k in self.exact
                },
                "without_energy": {
                    group.name: type(group.device).__name__
                    for group in self.case.circuit.groups_without_energy
                },
                "asymmetry": self.asymmetry,
                "edges": [dataclasses.asdict(edge) for edge in self.edges],
                "uniqueness": dataclasses.asdict(self.uniqueness),
                "power": {
                    phase: {
                        "powers": v.powers,
                        "co_contents": v.contents,
                        "tellegen": v.tellegen,
                        "co_content_slope_error": v.stationarity_error(),
                        "dissipation_slope_error": v.dissipation_error(),
                    }
                    for phase, v in self.variation.items()
                },
            }
        )


def by_layer(comparisons: dict[str, dict[str, Comparison]]) -> dict[str, Any]:
    """Return comparisons by label and layer as plain data."""
    return {
        label: {layer: dataclasses.asdict(c) for layer, c in layers.items()}
        for label, layers in comparisons.items()
    }


def scan_dict(found: BetaScan) -> dict[str, Any]:
    """Return a scan as plain data."""
    return {
        "betas": found.betas.tolist(),
        "errors": found.errors.tolist(),
        "slope": found.slope,
        "noise": found.noise,
        "best": found.best,
        "window": found.window,
    }


def audit(case: Case) -> Audit:
    """Check everything.

    Raises:
        ConvergenceError: If a sample has no operating point even at tight tolerances.
    """
    point = operating_point(case, case.tight_engine)
    exact = exact_gradient(case, point)
    scans = _scans(case)
    own = scans[_variant_label(case)]
    beta = float(case.rule.nudge_strength or scans["C-EP"].best or case.smallest_nudge)
    estimates = {"as configured": case.configured.gradient}
    for label, variant in VARIANTS.items():
        estimates[label] = case.estimate(EquilibriumPropagation(variant, beta)).gradient
    estimates["small signal"] = case.estimate(SmallSignal()).gradient
    estimates |= _published_methods(case, beta)
    visible = case.visible(exact)
    uniqueness = find_operating_points(case.circuit, case.params, case.inputs)
    references = _references(case, point)
    found = budget(case, exact)
    return Audit(
        case,
        exact,
        {label: dict(g) for label, g in estimates.items()},
        {label: compare_layers(*pair) for label, pair in _pairs(case, exact, references).items()},
        {label: compare_layers(case.visible(g), visible) for label, g in estimates.items()},
        found,
        scans,
        beta,
        _solver_error(case, point),
        uniqueness,
        _asymmetry(case, point),
        asymmetric_edges(case.circuit, case.params, np.asarray(point.voltages)),
        vary(_thinned(case), case.tight_engine, beta),
        find_causes(case, found, exact, scan=own, uniqueness=uniqueness),
        _remarks(case, point, own, uniqueness, found),
    )


def _published_methods(case: Case, beta: float) -> dict[str, Mapping[str, Array]]:
    """Return the voltage-drop and the power-computation method of the literature."""
    unweighted = dataclasses.replace(case.substrate, weights="none")
    drops = dataclasses.replace(case, substrate=unweighted)
    rule = EquilibriumPropagation("positive", beta)
    methods: dict[str, Mapping[str, Array]] = {"VDM": drops.estimate(rule).gradient}
    # It varies conductances by fractions, and currents may be zero.
    if num_resistors(case.params) <= MAX_POWER_COMPUTATION and not case.currents:
        power = PowerComputation(beta, POWER_STEP)
        methods["PCM"] = case.estimate(power, engine=case.tight_engine).gradient
    return methods


def _solver_error(case: Case, point: OperatingPoint) -> float:
    """Return how far the user's engine is from the operating points [V]."""
    (found,) = case.substrate.settle(case.params, case.inputs, [Free()])
    difference = np.abs(np.asarray(found.voltages) - np.asarray(point.voltages))
    return float(np.nanmax(difference, initial=0.0))


def _scans(case: Case) -> dict[str, BetaScan]:
    """Scan the nudges of all variants on the user's engine, against their own limit.

    The limit has the user's weights: what those lack is not the nudge's fault.
    """
    limit = case.visible(case.limit.gradient)
    betas = beta_grid(case.substrate, case.params)

    def at(variant: Any, beta: float) -> Estimate:
        estimate = case.estimate(EquilibriumPropagation(variant, beta))
        return dataclasses.replace(estimate, gradient=case.visible(estimate.gradient))

    return {
        label: scan(functools.partial(at, variant), limit, betas)
        for label, variant in VARIANTS.items()
    }


def _variant_label(case: Case) -> str:
    """Return which scan is that of the user's rule; C-EP where it is none of them."""
    variant = getattr(case.rule, "variant", "centered")
    return {v: k for k, v in VARIANTS.items()}.get(variant, "C-EP")


def _thinned(case: Case) -> Case:
    """Return the case with few conductances to vary where all would take minutes."""
    if num_resistors(case.params) <= LARGE:
        return case
    share = max(1, FEW // len(case.selection))
    few = {name: chosen[:: max(1, len(chosen) // share)] for name, chosen in case.selection.items()}
    return dataclasses.replace(case, selection=few)


def num_resistors(params: Mapping[str, np.ndarray]) -> int:
    """Return how many conductances a circuit has."""
    return sum(values.size for values in params.values())


def _references(case: Case, point: OperatingPoint) -> dict[str, tuple[Case, dict[str, np.ndarray]]]:
    """Return the gradients that check the exact one, each with the conductances it was taken at."""
    thinned = _thinned(case)
    found = {
        "finite differences, native": (case, finite_differences(case, Native())),
        "finite differences, ngspice": (thinned, finite_differences(thinned, NgSpice())),
    }
    by_ngspice = sensitivities(case, point)
    if by_ngspice is not None:
        found["ngspice .sens"] = (case, by_ngspice)
    return found


def _pairs(case: Case, exact: dict[str, np.ndarray], references):
    """Return every reference beside the exact gradient at the same conductances."""
    pairs = {label: (g, taken.chosen(exact)) for label, (taken, g) in references.items()}
    if case.has_energy and case.all_conduct:
        weighted = case
        if case.substrate.weights != "reciprocity":
            substrate = dataclasses.replace(case.substrate, weights="reciprocity")
            weighted = dataclasses.replace(case, substrate=substrate)
        pairs["small signal with weights"] = (dict(weighted.limit.gradient), exact)
    return pairs


def _asymmetry(case: Case, point: OperatingPoint) -> float | None:
    """Return how asymmetric the circuit is, if it has no energy."""
    if case.has_energy or len(case.circuit.free_nodes) > MAX_JACOBIAN:
        return None
    plan = GeneralPlan(case.circuit)
    voltages = np.asarray(point.voltages)
    return max(asymmetry(plan.jacobian(case.params, v)) for v in voltages)


def _remarks(
    case: Case, point: OperatingPoint, own: BetaScan, uniqueness: Uniqueness, found: Budget
) -> list[str]:
    """Say what is no cause, but good to know."""
    remarks = []
    devices = case.circuit.groups_without_energy
    if devices:
        names = ", ".join(f"{group.name} ({type(group.device).__name__})" for group in devices)
        shares = found.shares["not reciprocal"].items()
        bias = ", ".join(f"{name} {100 * share:.2g} %" for name, share in shares)
        remarks.append(
            f"The circuit has no energy, because of {names}: even with a vanishing nudge, "
            f"equilibrium propagation is off the gradient by {bias}."
        )
    if own.window is None:
        remarks.append(
            f"No beta keeps the error below {100 * TARGET_ERROR:g} %: "
            "tighten the solver's tolerances."
        )
    if not uniqueness.guaranteed and uniqueness.most_points == 1:
        remarks.append(str(uniqueness.caution))
    share = diode_share(case, point)
    if share is not None and share < LINEAR_SHARE:
        remarks.append(
            f"The diodes add at most {100 * share:.2g} % to the conductance at their nodes: the "
            "circuit is nearly linear. Raise the inputs, or lower the shift."
        )
    return remarks


def diode_share(case: Case, point: OperatingPoint) -> float | None:
    """Return the largest share of nonlinear devices in the conductance of a node, over samples."""
    circuit, voltages = case.circuit, np.asarray(point.voltages)
    linear = circuit.node_conductances(case.params)
    nonlinear = np.zeros(voltages.shape)
    for group in circuit.nonlinear_groups:
        sum_at(nonlinear, group.own_conductances(case.params, voltages))
    free = circuit.free_nodes
    if not nonlinear[:, free].any():
        return None
    return float((nonlinear / (nonlinear + linear + np.finfo(float).tiny))[:, free].max())
