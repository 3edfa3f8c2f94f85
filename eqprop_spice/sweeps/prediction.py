r"""Where training should succeed, predicted from single gradients, without training a sweep.

With s the response of the largest node voltage to a unit of beta times error, a solver error of
$\delta V$ is an error $\delta V / (\beta s)$ of the output, which learning cannot get below: it
reaches a goal $e^*$ only for $\beta > \delta V / (s\,e^*)$. A finite nudge biases the gradient,
by b beta for one-sided and b beta squared for centered nudges: it points uphill somewhere once the
bias is as large as the gradient. Gradient descent diverges above $\alpha = 2 / \lambda$, with
$\lambda$ the largest curvature of the loss; a momentum m raises that to $2 (1 + m) / \lambda$.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import numpy as np
import xarray as xr

from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.native import Native
from eqprop_spice.errors import ConvergenceError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Force, Free
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.sweeps.cell import is_full_batch

POWER_STEPS = 30
"""Steps of the power iteration; its error falls with the square of the ratio of eigenvalues."""

RELATIVE_STEP = 1e-4
"""Length of the finite difference relative to the conductances: truncation of 1e-4 squared."""

SMALL_BETA = 1e-7
"""Beta [S] of the response s; the native engine's voltages are right to 1e-14 V."""

SMALL_NUDGE = 1e-2
"""Smaller beta of the bias, relative to the conductances: far above the rounding of a centered
nudge's bias of 1e-4, and far below where higher orders count."""

MAX_DESCENT = 400
"""Updates after which the curvature is measured wherever descent has come."""

SMALLEST_ORDER = 0.5
"""Where the bias grows slower with beta, rounding hides it; one-sided nudges have order 1, centered
ones 2."""

MOST_SAMPLES = 100
"""A prediction that takes longer than a cell is none."""

STARTS = 8
"""Starts that the borders are measured for: enough for a median and a range."""

Params = dict[str, np.ndarray]
Gradient = Callable[[Mapping[str, np.ndarray]], Mapping[str, object]]


def can_predict(experiment: Experiment) -> bool:
    """Whether the borders can be measured: of a circuit, few samples, all in every update."""
    if experiment.table.circuit is None:
        return False
    return is_full_batch(experiment) and len(experiment.data.train_inputs) <= MOST_SAMPLES


def noise_floor(experiment: Experiment, params: Mapping[str, np.ndarray], beta: float) -> float:
    """Return the largest error of the change that a nudge makes, as the engine reads it [V].

    Args:
        experiment: The experiment; its engine is compared with the native one, whose voltages are
            right to rounding.
        params: Conductances [S].
        beta: Strength of the nudge [S].
    """
    changes = [
        _nudged_change(experiment, engine, params, beta) for engine in (experiment.engine, Native())
    ]
    return float(np.abs(changes[0] - changes[1]).max())


def _nudged_change(
    experiment: Experiment, engine: AbstractEngine, params: Mapping[str, np.ndarray], beta: float
) -> np.ndarray:
    """Return the change of all node voltages under a nudge [V], `batch node`."""
    circuit, data = experiment.circuit, experiment.data
    devices = {k: np.asarray(v) for k, v in experiment.network.devices(dict(params)).items()}
    (exact,) = Native().settle(circuit, devices, data.train_inputs, [Free()])
    outputs = np.asarray(circuit.outputs(np.asarray(exact.voltages)))
    nudge = Force(-beta * experiment.cost.gradient(outputs, data.train_targets))
    free, nudged = engine.settle(circuit, devices, data.train_inputs, [Free(), nudge])
    change = np.asarray(nudged.voltages) - np.asarray(free.voltages)
    if not np.isfinite(change).all():
        raise ConvergenceError("A sample of the prediction has no operating point.")
    return change


def lowest_beta(experiment: Experiment, params: Mapping[str, np.ndarray]) -> float:
    """Return the beta [S] below which the solver's errors hide an error as small as the goal.

    NaN if the goal is no error, or the solver is exact.
    """
    goal = experiment.table.goal.max_error
    if goal is None or isinstance(experiment.engine, Native):
        return float("nan")
    response = np.abs(_nudged_change(experiment, Native(), params, SMALL_BETA)).max() / SMALL_BETA
    error = _largest_error(experiment, params)
    floor = noise_floor(experiment, params, experiment.table.rule.get("beta", SMALL_BETA))
    return floor / (response * goal / error)


def _largest_error(experiment: Experiment, params: Mapping[str, np.ndarray]) -> float:
    (point,) = Native().settle(
        experiment.circuit, dict(params), experiment.data.train_inputs, [Free()]
    )
    outputs = np.asarray(experiment.circuit.outputs(np.asarray(point.voltages)))
    return float(np.abs(outputs - experiment.data.train_targets).max())


def _flat(gradient: Mapping[str, object]) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(gradient[name])) for name in sorted(gradient)])


def relative_bias(experiment: Experiment, params: Mapping[str, np.ndarray], beta: float) -> float:
    """Return the bias of a finite nudge's gradient, relative to the gradient of none.

    Both come from the native engine, whose noise is no part of it.
    """
    network = dataclasses.replace(experiment.network, engine=Native())
    data, rule = experiment.data, experiment.rule
    arguments = (dict(params), data.train_inputs, data.train_targets, experiment.cost)
    exact = _flat(SmallSignal()(network, *arguments).gradient)
    biased = _flat(dataclasses.replace(rule, beta=beta)(network, *arguments).gradient)
    return float(np.linalg.norm(biased - exact) / np.linalg.norm(exact))


def highest_beta(experiment: Experiment, params: Mapping[str, np.ndarray]) -> float:
    """Return the beta [S] at which the bias is as large as the gradient, from two smaller ones.

    NaN for rules without a finite nudge.
    """
    rule = experiment.rule
    if not isinstance(rule, EquilibriumPropagation):
        return float("nan")
    scale = float(np.mean([np.mean(value) for value in params.values()]))
    small = SMALL_NUDGE * scale
    first, second = (relative_bias(experiment, params, beta) for beta in (small, 2.0 * small))
    order = np.log2(second / first)
    if not order > SMALLEST_ORDER:
        return float("nan")
    return float(2.0 * small * (1.0 / second) ** (1.0 / order))


def gradient_function(experiment: Experiment) -> Gradient:
    """Return the exact gradient of the loss [V^2/S] by group, compiled once."""
    network = dataclasses.replace(experiment.network, engine=Native())
    data, cost = experiment.data, experiment.cost

    @jax.jit
    def gradient(params):
        arguments = (params, data.train_inputs, data.train_targets, cost)
        return SmallSignal()(network, *arguments).gradient

    return gradient


def curvature(
    experiment: Experiment, params: Mapping[str, np.ndarray], gradient: Gradient
) -> float:
    r"""Return the largest eigenvalue of the loss's Hessian H [V^2/S^2] by power iteration.

    With rates relative to the mean conductance, of $D H D$ with D each group's mean [V^2].
    """
    names = sorted(params)
    shapes = [np.shape(params[name]) for name in names]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    start = _flat(params)
    relative = experiment.table.optimizer.scale == "mean_conductance"
    means = [np.mean(params[name]) if relative else 1.0 for name in names]
    scale = np.concatenate([np.full(s, m) for s, m in zip(shapes, means, strict=True)], axis=None)

    def at(values: np.ndarray) -> np.ndarray:
        parts = np.split(values, ends[:-1])
        arrays = {n: p.reshape(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return _flat(gradient(arrays))

    direction, eigenvalue = scale.copy(), 0.0
    for _ in range(POWER_STEPS):
        along = scale * direction / np.linalg.norm(direction)
        step = RELATIVE_STEP * np.abs(start[start != 0.0]).min() / np.max(np.abs(along))
        direction = scale * (at(start + step * along) - at(start - step * along)) / (2.0 * step)
        eigenvalue = float(np.linalg.norm(direction))
    return eigenvalue


def highest_rate(
    experiment: Experiment, params: Mapping[str, np.ndarray], gradient: Gradient
) -> float:
    """Return the learning rate above which descent overshoots; NaN for optimizers but sgd."""
    table = experiment.table.optimizer
    if table.kind != "sgd":
        return float("nan")
    momentum = table.options.get("momentum", 0.0)
    return 2.0 * (1.0 + momentum) / curvature(experiment, params, gradient)


def _descended(experiment: Experiment, params: Params) -> Params:
    """Return the conductances after training as the experiment says, as far as it comes."""
    trainer = experiment.trainer
    state = trainer.init(params)
    goal = experiment.table.goal.max_error or 0.0
    for _ in range(min(experiment.table.training.epochs, MAX_DESCENT)):
        following, figures = trainer.epoch(state)
        if figures["max_error"] <= goal:
            break
        state = following
    return {name: np.asarray(value) for name, value in state.params.items()}


def predicted_region(experiment: Experiment, num_starts: int = STARTS) -> xr.Dataset:
    """Return the borders of the region in which training should succeed.

    Args:
        experiment: The experiment.
        num_starts: Starts to measure at.

    Returns:
        `beta_low`, `beta_high` [S] and `alpha_high` (unit of the learning rate) at the quartiles
        over starts. The curvature is that where training with the experiment's own rate ends.
    """
    native = {"engine": "native"}
    exact = Experiment.parse(experiment.to_toml(), source=experiment.source, values=native)
    gradient = gradient_function(exact)
    rows = []
    for seed in range(num_starts):
        start = experiment.drawn_params(np.random.default_rng(seed))
        rate = highest_rate(exact, _descended(exact, start), gradient)
        rows.append((lowest_beta(experiment, start), highest_beta(exact, start), rate))
    quartiles = np.full((3, 3), np.nan)
    for column, values in enumerate(np.array(rows).T):
        known = values[np.isfinite(values)]
        if len(known):
            quartiles[:, column] = np.percentile(known, [25, 50, 75])
    names = ("beta_low", "beta_high", "alpha_high")
    return xr.Dataset(
        {name: ("quartile", quartiles[:, i]) for i, name in enumerate(names)},
        coords={"quartile": [0.25, 0.5, 0.75]},
    )
