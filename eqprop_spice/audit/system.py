"""The audit of a system that is no circuit: does its rule follow the gradient of the loss?

Circuits have more to be asked for (weights, powers, operating points): see `report.py`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.audit.report import OK, VARIANTS, by_layer, scan_dict
from eqprop_spice.audit.verdict import LIMIT
from eqprop_spice.errors import ConfigError, ConvergenceError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.files import for_json
from eqprop_spice.gradients.beta_scan import BetaScan, beta_grid, scan
from eqprop_spice.gradients.comparison import Comparison, compare_layers, worst_error
from eqprop_spice.notebook import html_table
from eqprop_spice.phases import Free
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.base import AbstractRule, Estimate
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.base import require

STEP = 1e-4
"""Step of central differences, relative to a parameter and the mean size of its group."""

AGREEMENT = 1e-3
"""Relative error of finite differences above which the exact gradient is not believed."""


@dataclasses.dataclass(frozen=True)
class SystemAudit:
    """What was found.

    Attributes:
        name: Of the experiment.
        references: Finite differences of the loss against the exact gradient, by layer.
        estimates: Estimates of rules against the exact gradient, by layer.
        scans: Error of P-EP, N-EP and C-EP against the strength of the nudge.
        verdict: `OK`, or what is wrong.
    """

    name: str
    references: dict[str, dict[str, Comparison]]
    estimates: dict[str, dict[str, Comparison]]
    scans: dict[str, BetaScan]
    verdict: str

    def _repr_html_(self) -> str:
        """Show a notebook the verdict."""
        rows = {"verdict": self.verdict}
        return html_table(f"Audit of {self.name}", rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data for JSON; what is not a number is None."""
        return for_json(
            {
                "name": self.name,
                "references": by_layer(self.references),
                "estimates": by_layer(self.estimates),
                "scans": {k: scan_dict(v) for k, v in self.scans.items()},
                "verdict": self.verdict,
            }
        )


def audit_system(
    experiment: Experiment,
    *,
    params: Mapping[str, Array] | None = None,
    num_samples: int = 16,
    num_parameters: int = 100,
    seed: int = 0,
) -> SystemAudit:
    """Compare the rule of an experiment with the exact gradient, layer by layer.

    Args:
        experiment: The experiment.
        params: Parameters; the starting ones of the experiment's seed if None.
        num_samples: Training samples to use; all where there are fewer.
        num_parameters: Parameters to vary one by one; all where there are fewer.
        seed: Seed of both choices.

    Raises:
        ConfigError: If a number is below one, or the system has no exact gradient.
        ConvergenceError: If a sample does not settle.
    """
    for option, value in (("samples", num_samples), ("conductances", num_parameters)):
        if value < 1:
            raise ConfigError(f"--{option} is {value}; it must be at least 1.")
    substrate, data = experiment.substrate, experiment.data
    require(substrate, "adjoint", experiment.source)
    if params is None:
        params = experiment.trainer.init(experiment.initial_params()).params
    arrays = {name: np.asarray(value) for name, value in params.items()}
    rng = np.random.default_rng(seed)
    count = len(data.train_inputs)
    rows = np.sort(rng.choice(count, min(count, num_samples), replace=False))
    inputs, targets = data.train_inputs[rows], data.train_targets[rows]

    def estimate(rule: AbstractRule) -> Estimate:
        return rule(substrate, arrays, inputs, targets, experiment.cost)

    # Each compiled once, the strength of a nudge being an argument.
    compiled = jax.jit if substrate.traceable else lambda function: function
    settle = compiled(lambda moved: substrate.settle(moved, inputs, [Free()])[0])
    nudged = {
        label: compiled(lambda b, v=variant: estimate(EquilibriumPropagation(v, b)))
        for label, variant in VARIANTS.items()
    }

    def loss(moved: Mapping[str, np.ndarray]) -> float:
        free = settle(dict(moved))
        if not np.asarray(free.converged).all():
            failed = int(np.argmin(np.asarray(free.converged)))
            raise ConvergenceError(
                f"Sample {int(rows[failed])} does not settle ({substrate.explain(free, failed)}), "
                "so there is no gradient to compare with. Lower the gain of the initializer."
            )
        outputs = np.asarray(substrate.outputs(free.state))
        return float(np.asarray(experiment.cost.value(outputs, targets)).mean())

    loss(arrays)
    exact = {k: np.asarray(v) for k, v in estimate(Adjoint()).gradient.items()}
    chosen = _choose(arrays, num_parameters, rng)
    differences = _differences(loss, arrays, chosen)
    references = {"finite differences": compare_layers(differences, _at(exact, chosen))}
    beta = experiment.rule.nudge_strength or 1e-3 * substrate.nudge_scale(arrays)
    found = {"as configured": estimate(experiment.rule)}
    scans = {}
    if "force" in substrate.abilities:
        betas = beta_grid(substrate, arrays)
        found |= {label: at(beta) for label, at in nudged.items()}
        scans = {label: scan(at, exact, betas) for label, at in nudged.items()}
    if "response" in substrate.abilities:
        found["small signal"] = estimate(SmallSignal())
    estimates = {label: one.gradient for label, one in found.items()}
    verdict = OK
    if worst_error(differences, _at(exact, chosen)) > AGREEMENT:
        verdict = "exact gradient in doubt"
    elif worst_error(estimates["as configured"], exact) > LIMIT:
        verdict = "biased rule"
    layers = {label: compare_layers(one, exact) for label, one in estimates.items()}
    return SystemAudit(experiment.table.name, references, layers, scans, verdict)


def _choose(
    params: Mapping[str, np.ndarray], count: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Choose positions in the raveled arrays, as many in each group as there are."""
    share = max(1, count // len(params))
    return {
        name: np.sort(rng.choice(values.size, min(share, values.size), replace=False))
        for name, values in params.items()
    }


def _at(
    gradient: Mapping[str, np.ndarray], chosen: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return {name: gradient[name].ravel()[positions] for name, positions in chosen.items()}


def _differences(
    loss, params: Mapping[str, np.ndarray], chosen: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return central differences of the loss by the chosen parameters."""
    found = {}
    for name, positions in chosen.items():
        values = params[name]
        typical = float(np.abs(values).mean()) or 1.0
        slopes = []
        for position in positions.tolist():
            step = STEP * (abs(float(values.flat[position])) + typical)
            ends = []
            for sign in (1.0, -1.0):
                moved = np.array(values, float)
                moved.flat[position] += sign * step
                ends.append(loss({**params, name: moved}))
            slopes.append((ends[0] - ends[1]) / (2.0 * step))
        found[name] = np.array(slopes)
    return found
