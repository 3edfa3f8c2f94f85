r"""The layered plan: Newton's method on every second layer, the layers between solved exactly.

With $B_l = \sum A\,g$ the drive of layer l by the one before, $\rho = \kappa / A$, and $I_l$ the
current from the sources, Kirchhoff's law at layer l reads

$f_l = c_l u_l + D_l(u_l) - I_l - u_{l-1} B_l - \rho_l\,(u_{l+1} B_{l+1}^T) = 0.$

Nodes of one layer do not see each other, so given its neighbors each *slack* layer is solved node
by node to rounding; what remains is Newton's method on the *kept* layers, the outputs among them.
Their Jacobian is self-adjoint and positive under the reciprocity weights whenever $\kappa > 0$, or
$\kappa < 0$ in every layer and $c > 0$: the eliminated layers are then minimized, respectively
maximized, over, and both leave a convex function. Conjugate gradients solve it without forming it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.circuit import Circuit
from eqprop_spice.engines.layered_chain import Chain
from eqprop_spice.engines.layered_linear import Blocks, conjugate_gradients, dot, largest
from eqprop_spice.engines.layered_network import (
    Network,
    assemble,
    attach,
    build_network,
    fixed_voltages,
    neighbor_currents,
    take_columns,
)
from eqprop_spice.engines.layered_nodes import diode_currents, solve_nodes
from eqprop_spice.operating_point import OperatingPoint
from eqprop_spice.phases import AbstractPhase, Force, Nudge

MAX_NEWTON_STEPS = 80
"""Where Newton gives up; 3 to 6 steps are usual."""

RESIDUAL_TOLERANCE = 1e-9
"""Largest violation of Kirchhoff's law, relative to the currents that meet in a node, of a sample
that counts as converged. Solutions are usually at 1e-14."""

GOOD_RESIDUAL = 1e-11
"""Violation of Kirchhoff's law that Newton does not stop above while it still helps."""

SOLUTION_ACCURACY = 1e-14
"""Error [V] that the last Newton step aims at, for voltages of about 1 V."""

SMALLEST_DAMPING = 1e-12
"""Where no part of Newton's step helps, the state is as good as rounding lets it be."""

RESPONSE_TOLERANCE = 1e-13
"""Relative accuracy of small-signal responses: rounding, with a margin for conditioning."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """An iterate, per layer `batch node`, with the slack layers solved for the kept ones.

    Attributes:
        voltages: Voltages u [V].
        slopes: Conductances of the nodes' diodes [S].
        diodes: Diode currents of the kept layers [A].
        residuals: Current that leaves each node of the kept layers [A].
        damping: Part of Newton's step that is tried next, `batch 1`.
        steps: Newton steps taken, `batch 1`.
        finished: Whether the sample moves no more, `batch 1`.
    """

    voltages: Blocks
    slopes: Blocks
    diodes: Blocks
    residuals: Blocks
    damping: Array
    steps: Array
    finished: Array


def _kept(num_layers: int) -> list[int]:
    """Return the layers Newton works on: the last, and every second before it."""
    return list(range(num_layers - 1, -1, -2))[::-1]


def _slack(num_layers: int) -> list[int]:
    """Return the layers that are solved exactly for given neighbors."""
    return list(range(num_layers - 2, -1, -2))[::-1]


def _solve_layer(network: Network, voltages, k: int, guess=None):
    """Solve layer k for given neighbors: voltages and diode conductances."""
    current = network.currents[k] + neighbor_currents(network, voltages, k)
    return solve_nodes(network.chain.layers[k].diodes, network.linear[k], current, guess)


def _spring_current(network: Network, outputs):
    """Return the current [A] that the springs draw from each node of the last layer."""
    incidence = jnp.asarray(network.chain.incidence)
    return (outputs @ incidence.T) * network.spring @ incidence


def _layer_residual(network: Network, voltages: Blocks, k: int):
    """Return layer k's residual [A], diode conductance [S], diode current [A], and scale [A]."""
    u = voltages[k]
    diode, slope, magnitude = diode_currents(network.chain.layers[k].diodes, u)
    neighbors = neighbor_currents(network, voltages, k)
    linear = network.linear[k] * u
    residual = linear + diode - network.currents[k] - neighbors
    scale = jnp.abs(linear) + magnitude + jnp.abs(network.currents[k]) + jnp.abs(neighbors)
    if network.spring is not None and k == len(voltages) - 1:
        drawn = _spring_current(network, u)
        residual, scale = residual + drawn, scale + jnp.abs(drawn)
    return residual, slope, diode, scale


def _diagonals(network: Network, slopes: Blocks) -> Blocks:
    """Return the diagonal of the Jacobian [S] per layer."""
    diagonals = [c + slope for c, slope in zip(network.linear, slopes, strict=True)]
    if network.spring is not None:
        incidence = jnp.asarray(network.chain.incidence)
        diagonals[-1] = diagonals[-1] + network.spring * (incidence**2).sum(axis=0)[None, :]
    return tuple(diagonals)


def _slack_response(network: Network, diagonals: Blocks, kept: dict[int, Array]) -> list:
    """Return how all layers move when the kept ones do, to first order [V]."""
    count = len(diagonals)
    changes: list[Array | None] = [kept.get(k) for k in range(count)]
    for k in _slack(count):
        changes[k] = neighbor_currents(network, changes, k) / diagonals[k]
    return changes


def solve_linear(network: Network, diagonals: Blocks, right: Blocks, tolerance) -> list[Array]:
    r"""Solve $J\,\delta u = r$ with r at the kept layers only; return all layers' changes [V].

    Args:
        network: The equations.
        diagonals: Diagonal of the Jacobian [S].
        right: Currents [A] into the kept layers.
        tolerance: Relative accuracy of each sample, `batch 1`.
    """
    count = len(diagonals)
    kept = _kept(count)
    incidence = jnp.asarray(network.chain.incidence)
    weights = tuple(jnp.asarray(network.chain.layers[k].weights)[None, :] for k in kept)

    def apply(change: Blocks) -> Blocks:
        moved = _slack_response(network, diagonals, dict(zip(kept, change, strict=True)))
        # The kept layers do not neighbor each other: what a neighbor returns is the slack's.
        image = [diagonals[k] * moved[k] - neighbor_currents(network, moved, k) for k in kept]
        if network.spring is not None:
            own = network.spring * (incidence**2).sum(axis=0)[None, :] * moved[-1]
            image[-1] = image[-1] + _spring_current(network, moved[-1]) - own
        return tuple(image)

    sizes = sum(network.chain.layers[k].size for k in kept)
    change = conjugate_gradients(
        apply,
        right,
        tuple(diagonals[k] for k in kept),
        weights,
        tolerance=tolerance,
        max_steps=2 * sizes + 20,
    )
    return _slack_response(network, diagonals, dict(zip(kept, change, strict=True)))


def _violation(residual: Array, scale: Array) -> Array:
    """Return a residual relative to the currents that meet in each node."""
    return jnp.abs(residual) / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)


def _evaluate(network: Network, voltages: list, slopes: list):
    """Return slopes of all layers; diode currents, residuals and violations of the kept ones."""
    slopes = list(slopes)
    diodes, residuals, violations = [], [], []
    for k in _kept(len(voltages)):
        residual, slopes[k], diode, scale = _layer_residual(network, tuple(voltages), k)
        diodes.append(diode)
        residuals.append(residual)
        violations.append(_violation(residual, scale))
    return tuple(slopes), tuple(diodes), tuple(residuals), violations


def _state(network: Network, voltages: list, slopes: list) -> State:
    """Return the state at which an iteration starts."""
    slopes, diodes, residuals, _ = _evaluate(network, voltages, slopes)
    column = (voltages[-1].shape[0], 1)
    return State(
        tuple(voltages),
        slopes,
        diodes,
        residuals,
        jnp.ones(column),
        jnp.zeros(column, int),
        jnp.zeros(column, bool),
    )


def cold_state(network: Network) -> State:
    """Guess the kept layers by one pass from the inputs to the outputs, and solve the slack."""
    count = len(network.linear)
    voltages: list = [None] * count
    slopes: list = [None] * count
    for k in range(count):
        voltages[k], slopes[k] = _solve_layer(network, voltages, k)
    for k in _slack(count):
        voltages[k], slopes[k] = _solve_layer(network, voltages, k, voltages[k])
    return _state(network, voltages, slopes)


def warm_state(network: Network, state: State) -> State:
    """Start from another phase's solution; only the outputs' equations have changed."""
    return _state(network, list(state.voltages), list(state.slopes))


def _trial(network: Network, state: State, changes: list) -> tuple[list, list]:
    r"""Return voltages and slopes after a damped step, with every diode law obeyed exactly.

    At a kept node the linearized diode current $i$ and voltage $u$ of Newton's step define a load
    line; the trial is where it meets the diodes, $c v + D(v) = c u + i$. To first order that is
    the step itself, but an exponential cannot throw it far.
    """
    count = len(changes)
    voltages, slopes = list(state.voltages), list(state.slopes)
    for position, k in enumerate(_kept(count)):
        move = state.damping * changes[k]
        target = voltages[k] + move
        slots = network.chain.layers[k].diodes
        if slots:
            line = network.linear[k] * target + state.diodes[position] + slopes[k] * move
            target, _ = solve_nodes(slots, network.linear[k], line, target)
        voltages[k] = target
    for k in _slack(count):
        guess = voltages[k] + state.damping * changes[k]
        voltages[k], slopes[k] = _solve_layer(network, voltages, k, guess)
    return voltages, slopes


def _smallest_emission_voltage(chain: Chain) -> float:
    """Return the voltage over which the sharpest diode bends [V]; infinite without diodes."""
    slots = [slot for layer in chain.layers for slot in layer.diodes]
    return min((s.device.emission_voltage for s in slots), default=math.inf)


def _useful_accuracy(network: Network, diagonals: Blocks, jacobi: Blocks) -> Array:
    r"""Return the relative accuracy of Newton's step below which curvature hides it, `batch 1`.

    A step that moves bent nodes by s leaves an error of about $s^2 / 2 N v_T$ anyway. The movement
    is estimated from the step that the diagonal alone would give.
    """
    count = len(diagonals)
    bend = _smallest_emission_voltage(network.chain)
    kept = dict(zip(_kept(count), jacobi, strict=True))
    layers = network.chain.layers
    size = largest(jacobi)
    if any(layers[k].diodes for k in kept):
        movement = size
    else:
        changes = _slack_response(network, diagonals, kept)
        movement = largest([changes[k] for k in _slack(count)]) if count > 1 else 0.0 * size
    useful = movement**2 / (2.0 * bend) / jnp.maximum(size, jnp.finfo(size.dtype).tiny)
    return jnp.clip(0.1 * useful, 1e-10, 0.05)


def newton(network: Network, state: State) -> State:
    """Iterate until the error that the next step would remove is rounding."""
    count = len(state.voltages)
    kept = _kept(count)
    bend = _smallest_emission_voltage(network.chain)
    curved = [k for k in range(count) if network.chain.layers[k].diodes]

    def unfinished(state: State):
        return (~state.finished).any() & (state.steps.max() < MAX_NEWTON_STEPS)

    def improve(state: State) -> State:
        diagonals = _diagonals(network, state.slopes)
        kept_diagonals = tuple(diagonals[k] for k in kept)
        jacobi = tuple(f / d for f, d in zip(state.residuals, kept_diagonals, strict=True))
        accuracy = _useful_accuracy(network, diagonals, jacobi)
        right = tuple(-f for f in state.residuals)
        changes = solve_linear(network, diagonals, right, accuracy)
        voltages, slopes = _trial(network, state, changes)
        slopes, diodes, residuals, violations = _evaluate(network, voltages, slopes)

        moved = tuple(f / d for f, d in zip(residuals, kept_diagonals, strict=True))
        # What is left is known twice: from the step's curvature, and from the new residual with
        # the amplification that the Jacobian just showed.
        size = largest(changes)
        bending = largest([changes[k] for k in curved]) if curved else 0.0
        expected = jnp.where(
            state.damping == 1.0, accuracy * size + bending**2 / (2.0 * bend), jnp.inf
        )
        amplification = size / jnp.maximum(largest(jacobi), jnp.finfo(size.dtype).tiny)
        found = largest(moved) * jnp.maximum(amplification, 1.0)
        goal = SOLUTION_ACCURACY * jnp.maximum(1.0, largest(voltages))
        # Volts alone would forget layers that the conductances put at picovolts.
        good = largest(violations) <= GOOD_RESIDUAL
        arrived = (jnp.minimum(expected, found) <= goal) & good
        ones = tuple(jnp.ones((1, 1)) for _ in kept)
        accepted = arrived | (dot(moved, moved, ones) < dot(jacobi, jacobi, ones))
        take = accepted & ~state.finished

        def choose(new: Blocks, old: Blocks) -> Blocks:
            return tuple(jnp.where(take, a, b) for a, b in zip(new, old, strict=True))

        return State(
            choose(tuple(voltages), state.voltages),
            choose(slopes, state.slopes),
            choose(diodes, state.diodes),
            choose(residuals, state.residuals),
            jnp.where(accepted, jnp.minimum(1.0, 4.0 * state.damping), 0.25 * state.damping),
            state.steps + jnp.where(state.finished, 0, 1),
            state.finished | arrived | (state.damping < SMALLEST_DAMPING),
        )

    return jax.lax.while_loop(unfinished, improve, state)


def check(network: Network, voltages: Blocks) -> tuple[Array, Array]:
    """Return each sample's largest relative violation of Kirchhoff's law, and the node it is at."""
    ratios = []
    for k in range(len(voltages)):
        residual, _, _, scale = _layer_residual(network, voltages, k)
        ratios.append(_violation(residual, scale))
    violation = jnp.concatenate(ratios, axis=1)
    nodes = np.concatenate([layer.nodes for layer in network.chain.layers])
    return violation.max(axis=1), jnp.asarray(nodes)[violation.argmax(axis=1)]


@dataclasses.dataclass(frozen=True, eq=False)
class LayeredPlan:
    """Settles circuits that are a chain of layers; runs under JAX transformations."""

    circuit: Circuit
    chain: Chain

    def settle(
        self,
        params: Mapping[str, Array],
        inputs: Array,
        phases: Sequence[AbstractPhase | Nudge],
    ) -> list[OperatingPoint]:
        """Find the operating point of every sample in every phase; see `AbstractEngine`."""
        inputs = jnp.asarray(inputs)
        fixed = fixed_voltages(self.circuit, inputs)
        free = build_network(self.chain, params, fixed)
        points: list[OperatingPoint] = []
        first = outputs = None
        for phase in phases:
            if not isinstance(phase, AbstractPhase):
                phase = Force(phase(outputs, slice(None)))
            network = attach(free, phase)
            state = cold_state(network) if first is None else warm_state(network, first)
            state = newton(network, state)
            points.append(self._point(network, state, fixed))
            if first is None:
                first = state
                outputs = state.voltages[-1] @ jnp.asarray(self.chain.incidence).T
        return points

    def _point(self, network: Network, state: State, fixed) -> OperatingPoint:
        """Return a state as an operating point of the circuit."""
        residual, worst_node = check(network, state.voltages)
        converged = residual <= RESIDUAL_TOLERANCE
        voltages = self._expand(fixed, state.voltages, reflections=False)
        voltages = jnp.where(converged[:, None], voltages, jnp.nan)
        return OperatingPoint(voltages, converged, residual, worst_node, state.steps[:, 0])

    def _expand(self, fixed, layers: Sequence[Array], *, reflections: bool):
        """Return a value per node of the circuit from those of the fixed nodes and the layers.

        A follower's value is its gain, or else its reflection, times that of the node it follows.
        """
        parts = [fixed, *layers]
        columns = self.chain.column_of_node
        followers = []
        for a in self.circuit.amplifiers:
            factors = jnp.asarray(a.reflections if reflections else a.gains)[None, :]
            followers.append(assemble(parts, columns[a.inputs]) * factors)
        return assemble([*parts, *followers], columns)

    def _linearize(self, params: Mapping[str, Array], voltages):
        """Return the equations and the Jacobian's diagonal at node voltages."""
        nothing = jnp.zeros((voltages.shape[0], 1))
        network = build_network(self.chain, params, nothing, fold=False)
        slopes = [
            diode_currents(layer.diodes, take_columns(voltages, layer.nodes))[1]
            for layer in self.chain.layers
        ]
        return network, _diagonals(network, tuple(slopes))

    def _layer_changes(self, params, point: OperatingPoint, currents) -> list[Array]:
        """Return the small-signal change of every layer [V]."""
        network, diagonals = self._linearize(params, jnp.asarray(point.voltages))
        injected = jnp.asarray(currents) @ jnp.asarray(self.chain.incidence)
        right = [jnp.zeros_like(diagonals[k]) for k in _kept(len(diagonals))]
        right[-1] = injected
        tolerance = jnp.full((injected.shape[0], 1), RESPONSE_TOLERANCE)
        return solve_linear(network, diagonals, tuple(right), tolerance)

    def respond(self, params: Mapping[str, Array], point: OperatingPoint, currents: Array) -> Array:
        """Return the small-signal change of all node voltages [V]; see `AbstractEngine`."""
        changes = self._layer_changes(params, point, currents)
        fixed = jnp.zeros((changes[-1].shape[0], len(self.circuit.fixed_nodes)))
        return self._expand(fixed, changes, reflections=False)

    def adjoint(self, params: Mapping[str, Array], point: OperatingPoint, gradient: Array) -> Array:
        r"""Return the multipliers of all nodes; see `Native.adjoint`.

        With W the reciprocity weights, $W J = J^T W$ and $w = 1$ at the outputs, so that
        $J^T \lambda = \partial C / \partial u$ has the solution
        $\lambda = W J^{-1} \partial C / \partial u$.
        """
        changes = self._layer_changes(params, point, gradient)
        weighted = [
            jnp.asarray(layer.weights)[None, :] * change
            for layer, change in zip(self.chain.layers, changes, strict=True)
        ]
        fixed = jnp.zeros((changes[-1].shape[0], len(self.circuit.fixed_nodes)))
        return self._expand(fixed, weighted, reflections=True)
