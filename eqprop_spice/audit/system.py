"""The audit of a system that is no circuit: does its rule follow the gradient of the loss?

Circuits have more to be asked for (weights, powers, operating points): see `report.py`.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.audit.report import OK, VARIANTS, by_layer, scan_dict
from eqprop_spice.audit.verdict import LIMIT
from eqprop_spice.circuits.reciprocity import Edge
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
        edges: Devices without a co-content, the most asymmetric first.
        verdict: `OK`, or what is wrong.
    """

    name: str
    references: dict[str, dict[str, Comparison]]
    estimates: dict[str, dict[str, Comparison]]
    scans: dict[str, BetaScan]
    edges: list[Edge]
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
                "edges": [dataclasses.asdict(edge) for edge in self.edges],
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
    substrate = experiment.substrate
    require(substrate, "adjoint", experiment.source)
    if params is None:
        params = experiment.trainer.init(experiment.initial_params()).params
    arrays = {name: np.asarray(value) for name, value in params.items()}
    rng = np.random.default_rng(seed)
    count = len(experiment.data.train_inputs)
    rows = np.sort(rng.choice(count, min(count, num_samples), replace=False))
    subject = _Subject(experiment, rows)
    subject.loss(arrays)
    exact = {k: np.asarray(v) for k, v in subject.estimate(arrays, Adjoint()).gradient.items()}
    chosen = _choose(arrays, num_parameters, rng)
    differences, at_chosen = _differences(subject.loss, arrays, chosen), _at(exact, chosen)
    scans = subject.scans(arrays, exact)
    estimates = subject.estimates(arrays)
    verdict = OK
    if worst_error(differences, at_chosen) > AGREEMENT:
        verdict = "exact gradient in doubt"
    elif worst_error(estimates["as configured"], exact) > LIMIT:
        verdict = "biased rule"
    references = {"finite differences": compare_layers(differences, at_chosen)}
    layers = {label: compare_layers(one, exact) for label, one in estimates.items()}
    edges = subject.edges(arrays)
    return SystemAudit(experiment.table.name, references, layers, scans, edges, verdict)


class _Subject:
    """Some training samples of an experiment, and what is asked of them."""

    def __init__(self, experiment: Experiment, rows: np.ndarray) -> None:
        self._experiment, self._rows = experiment, rows
        self._substrate, data = experiment.substrate, experiment.data
        self._inputs, self._targets = data.train_inputs[rows], data.train_targets[rows]
        # Each compiled once, the strength of a nudge being an argument.
        compiled = jax.jit if self._substrate.traceable else lambda function: function
        self._settle = compiled(
            lambda params: self._substrate.settle(params, self._inputs, [Free()])[0]
        )
        self._nudged = {
            label: compiled(
                lambda params, b, v=variant: self.estimate(params, EquilibriumPropagation(v, b))
            )
            for label, variant in VARIANTS.items()
        }

    def estimate(self, params: Mapping[str, Array], rule: AbstractRule) -> Estimate:
        """Return what a rule takes the gradient for."""
        cost = self._experiment.cost
        return rule(self._substrate, params, self._inputs, self._targets, cost)

    def loss(self, params: Mapping[str, np.ndarray]) -> float:
        """Return the mean cost.

        Raises:
            ConvergenceError: If a sample does not settle.
        """
        free = self._settle(dict(params))
        if not np.asarray(free.converged).all():
            failed = int(np.argmin(np.asarray(free.converged)))
            raise ConvergenceError(
                f"Sample {int(self._rows[failed])} does not settle "
                f"({self._substrate.explain(free, failed)}), "
                "so there is no gradient to compare with. Lower the gain of the initializer."
            )
        outputs = np.asarray(self._substrate.outputs(free.state))
        return float(np.asarray(self._experiment.cost.value(outputs, self._targets)).mean())

    def edges(self, params: Mapping[str, Array]) -> list[Edge]:
        """Return how asymmetric each device without a co-content is."""
        state = self._settle(dict(params)).state
        return self._substrate.asymmetric_edges(params, self._inputs, state)

    def estimates(self, params: Mapping[str, Array]) -> dict[str, Mapping[str, Array]]:
        """Return the gradients of all rules that the system can follow."""
        experiment, abilities = self._experiment, self._substrate.abilities
        found = {"as configured": self.estimate(params, experiment.rule)}
        if "force" in abilities:
            scale = self._substrate.nudge_scale(params)
            beta = experiment.rule.nudge_strength or 1e-3 * scale
            found |= {label: at(params, beta) for label, at in self._nudged.items()}
        if "response" in abilities:
            found["small signal"] = self.estimate(params, SmallSignal())
        return {label: one.gradient for label, one in found.items()}

    def scans(
        self, params: Mapping[str, Array], exact: Mapping[str, np.ndarray]
    ) -> dict[str, BetaScan]:
        """Return the errors of the contrasts against the strength of the nudge."""
        if "force" not in self._substrate.abilities:
            return {}
        betas = beta_grid(self._substrate, params)
        return {
            label: scan(functools.partial(at, params), exact, betas)
            for label, at in self._nudged.items()
        }


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
