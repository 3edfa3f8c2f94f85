"""Newton's method on every second layer of a chain, the layers between solved exactly."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.engines.layered_chain import Chain
from eqprop_spice.engines.layered_linear import Jacobian, dot, largest
from eqprop_spice.engines.layered_network import (
    Blocks,
    Network,
    inflow,
    kept_layers,
    slack_layers,
    spring_currents,
    spring_diagonal,
)
from eqprop_spice.engines.layered_nodes import diode_currents, solve_nodes

MAX_STEPS = 80
"""Where Newton gives up; 2 to 6 steps are usual."""

GOOD_RESIDUAL = 1e-11
"""Violation of Kirchhoff's law that Newton does not stop above while it still helps."""

SOLUTION_ACCURACY = 1e-14
"""Error [V] that the last step aims at, for voltages of about 1 V."""

SMALLEST_DAMPING = 1e-12
"""Where no part of Newton's step helps, the state is as good as rounding lets it be."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """An iterate, per layer `batch node`, with the slack layers solved for the kept ones.

    Attributes:
        voltages: Voltages u [V].
        slopes: Conductances of the nodes' diodes [S].
        inflows: Currents from sources, nudges and neighbors [A].
        residuals: Current that leaves each node of the kept layers [A].
        damping: Part of Newton's step that is tried next, `batch 1`.
        steps: Newton steps taken, `batch 1`.
        finished: Whether the sample moves no more, `batch 1`.
    """

    voltages: Blocks
    slopes: Blocks
    inflows: Blocks
    residuals: Blocks
    damping: Array
    steps: Array
    finished: Array


def _drawn(network: Network, voltages, k: int) -> Array:
    """Return what leaves layer k through its linear conductances and springs [A]."""
    drawn = network.linear[k] * voltages[k]
    if network.spring is not None and k == len(voltages) - 1:
        drawn = drawn + spring_currents(network, voltages[k])
    return drawn


def violations(network: Network, voltages: Blocks, inflows: Blocks, k: int) -> Array:
    """Return Kirchhoff's residual at layer k relative to the currents that meet in each node."""
    diode, _, magnitude = diode_currents(network.chain.layers[k].diodes, voltages[k])
    drawn = _drawn(network, voltages, k)
    scale = jnp.abs(drawn) + magnitude + jnp.abs(network.currents[k]) + jnp.abs(inflows[k])
    residual = jnp.abs(drawn + diode - inflows[k])
    return residual / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)


def worst_violation(network: Network, state: State) -> tuple[Array, Array]:
    """Return each sample's largest relative violation of Kirchhoff's law, and the node it is at."""
    count = len(state.voltages)
    violation = jnp.concatenate(
        [violations(network, state.voltages, state.inflows, k) for k in range(count)], axis=1
    )
    nodes = np.concatenate([layer.nodes for layer in network.chain.layers])
    return violation.max(axis=1), jnp.asarray(nodes)[violation.argmax(axis=1)]


def _solve_layer(network: Network, current: Array, k: int, guess=None) -> tuple[Array, Array]:
    """Solve layer k for a given inflow: voltages [V] and diode conductances [S]."""
    return solve_nodes(network.chain.layers[k].diodes, network.linear[k], current, guess)


def _evaluate(network: Network, voltages: list, slopes: list, inflows: list):
    """Return slopes and inflows of all layers, and the kept ones' residuals and violation."""
    slopes, inflows = list(slopes), list(inflows)
    residuals, worst = [], []
    for k in kept_layers(len(voltages)):
        diode, slopes[k], magnitude = diode_currents(network.chain.layers[k].diodes, voltages[k])
        inflows[k] = inflow(network, voltages, k)
        drawn = _drawn(network, voltages, k)
        residuals.append(drawn + diode - inflows[k])
        scale = jnp.abs(drawn) + magnitude + jnp.abs(network.currents[k]) + jnp.abs(inflows[k])
        worst.append(residuals[-1] / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny))
    return tuple(slopes), tuple(inflows), tuple(residuals), largest(worst)


def _state(voltages: Blocks, slopes: Blocks, inflows: Blocks, residuals: Blocks) -> State:
    """Return the state at which an iteration starts."""
    column = (voltages[-1].shape[0], 1)
    return State(
        voltages,
        slopes,
        inflows,
        residuals,
        damping=jnp.ones(column),
        steps=jnp.zeros(column, int),
        finished=jnp.zeros(column, bool),
    )


def cold_state(network: Network) -> State:
    """Guess the kept layers by one pass from the inputs to the outputs, and solve the slack."""
    count = len(network.linear)
    voltages: list = [None] * count
    slopes: list = [None] * count
    inflows: list = [None] * count
    for k in range(count):
        inflows[k] = inflow(network, voltages, k)
        voltages[k], slopes[k] = _solve_layer(network, inflows[k], k)
    for k in slack_layers(count):
        before, inflows[k] = inflows[k], inflow(network, voltages, k)
        guess = voltages[k] + (inflows[k] - before) / (network.linear[k] + slopes[k])
        voltages[k], slopes[k] = _solve_layer(network, inflows[k], k, guess)
    evaluated = _evaluate(network, voltages, slopes, inflows)
    return _state(tuple(voltages), *evaluated[:3])


def warm_state(network: Network, other: Network, state: State) -> State:
    """Start from the solution of another phase; only the outputs' loads have changed."""
    change = network.currents[-1] - other.currents[-1]
    residual = state.residuals[-1] - change
    for sign, load in ((1.0, network), (-1.0, other)):
        if load.spring is not None:
            residual = residual + sign * spring_currents(load, state.voltages[-1])
    inflows = (*state.inflows[:-1], state.inflows[-1] + change)
    return _state(state.voltages, state.slopes, inflows, (*state.residuals[:-1], residual))


def _trial(network: Network, state: State, changes: Blocks) -> tuple[list, list, list]:
    r"""Return voltages, slopes and inflows after a damped step, with every diode law obeyed.

    At a kept node the linearized diode current $i$ and voltage $u$ of Newton's step define a load
    line; the trial is where it meets the diodes, $c v + D(v) = c u + i$. To first order that is
    the step itself, but an exponential cannot throw it far. The slack layers follow exactly.
    """
    count = len(state.voltages)
    voltages, slopes = list(state.voltages), list(state.slopes)
    inflows = list(state.inflows)
    for position, k in enumerate(kept_layers(count)):
        move = state.damping * changes[position]
        target = voltages[k] + move
        if network.chain.layers[k].diodes:
            c = network.linear[k]
            diode = state.residuals[position] + inflows[k] - _drawn(network, state.voltages, k)
            line = c * target + diode + slopes[k] * move
            target, _ = _solve_layer(network, line, k, target)
        voltages[k] = target
    for k in slack_layers(count):
        before, inflows[k] = inflows[k], inflow(network, voltages, k)
        guess = voltages[k] + (inflows[k] - before) / (network.linear[k] + slopes[k])
        voltages[k], slopes[k] = _solve_layer(network, inflows[k], k, guess)
    return voltages, slopes, inflows


def _bend(chain: Chain) -> float:
    """Return the voltage over which the sharpest diode bends [V]; infinite without diodes."""
    slots = [slot for layer in chain.layers for slot in layer.diodes]
    return min((s.device.emission_voltage for s in slots), default=math.inf)


def _useful_accuracy(jacobian: Jacobian, jacobi: Blocks) -> Array:
    r"""Return the relative accuracy of Newton's step below which curvature hides it, `batch 1`.

    A step that moves bent nodes by s leaves an error of about $s^2 / 2 N v_T$ anyway. The movement
    is estimated from the step that the diagonal alone would give.
    """
    layers = jacobian.network.chain.layers
    count = len(layers)
    size = largest(jacobi)
    if any(layers[k].diodes for k in kept_layers(count)) or count == 1:
        movement = size
    else:
        moved = jacobian.slack_response(jacobi)
        movement = largest([moved[k] for k in slack_layers(count)])
    error = movement**2 / (2.0 * _bend(jacobian.network.chain))
    useful = 0.1 * error / jnp.maximum(size, jnp.finfo(size.dtype).tiny)
    return jnp.clip(useful, 1e-10, 0.05)


def _jacobian(network: Network, slopes: Blocks) -> Jacobian:
    """Return the Jacobian at given conductances of the diodes."""
    diagonals = [c + slope for c, slope in zip(network.linear, slopes, strict=True)]
    if network.spring is not None:
        diagonals[-1] = diagonals[-1] + spring_diagonal(network)
    return Jacobian(network, tuple(diagonals))


def _improve(network: Network, state: State) -> State:
    """Take one Newton step in every sample where it helps."""
    chain = network.chain
    curved = [k for k in range(len(state.voltages)) if chain.layers[k].diodes]
    jacobian = _jacobian(network, state.slopes)
    diagonals = jacobian.kept_diagonals
    jacobi = tuple(f / d for f, d in zip(state.residuals, diagonals, strict=True))
    accuracy = _useful_accuracy(jacobian, jacobi)
    right = tuple(-f for f in state.residuals)
    changes, accuracy = jacobian.solve_roughly(right, accuracy)
    voltages, slopes, inflows = _trial(network, state, changes)
    slopes, inflows, residuals, violation = _evaluate(network, voltages, slopes, inflows)
    moved = tuple(f / d for f, d in zip(residuals, diagonals, strict=True))

    # What is left is known twice: from the step's curvature, and from the new residual with the
    # amplification that the Jacobian just showed.
    size = largest(changes)
    expected = accuracy * size
    if curved:
        bending = largest([voltages[k] - state.voltages[k] for k in curved])
        expected = expected + bending**2 / (2.0 * _bend(chain))
    expected = jnp.where(state.damping == 1.0, expected, jnp.inf)
    amplification = size / jnp.maximum(largest(jacobi), jnp.finfo(size.dtype).tiny)
    found = largest(moved) * jnp.maximum(amplification, 1.0)
    goal = SOLUTION_ACCURACY * jnp.maximum(1.0, largest(voltages))
    # Volts alone would forget layers that the conductances put at picovolts.
    arrived = (jnp.minimum(expected, found) <= goal) & (violation <= GOOD_RESIDUAL)
    ones = tuple(jnp.ones((1, 1)) for _ in moved)
    accepted = arrived | (dot(moved, moved, ones) < dot(jacobi, jacobi, ones))
    take = accepted & ~state.finished

    def choose(new, old: Blocks) -> Blocks:
        return tuple(jnp.where(take, a, b) for a, b in zip(new, old, strict=True))

    return State(
        choose(voltages, state.voltages),
        choose(slopes, state.slopes),
        choose(inflows, state.inflows),
        choose(residuals, state.residuals),
        jnp.where(accepted, jnp.minimum(1.0, 4.0 * state.damping), 0.25 * state.damping),
        state.steps + jnp.where(state.finished, 0, 1),
        state.finished | arrived | (state.damping < SMALLEST_DAMPING),
    )


def newton(network: Network, state: State) -> State:
    """Iterate until the error that the next step would remove is rounding."""

    def unfinished(state: State):
        return (~state.finished).any() & (state.steps.max() < MAX_STEPS)

    return jax.lax.while_loop(unfinished, lambda state: _improve(network, state), state)


def linearize(network: Network, voltages: list[Array]) -> Jacobian:
    """Return the Jacobian at given voltages of the layers [V]."""
    layers = network.chain.layers
    pairs = zip(layers, voltages, strict=True)
    return _jacobian(network, tuple(diode_currents(layer.diodes, u)[1] for layer, u in pairs))
