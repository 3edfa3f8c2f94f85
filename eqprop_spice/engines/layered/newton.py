"""Newton's method on every second layer of a chain, the layers between solved exactly."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.engines.layered.chain import Chain
from eqprop_spice.engines.layered.equations import (
    Blocks,
    Network,
    inflow,
    kept_layers,
    neighbor_magnitudes,
    slack_layers,
    spring_currents,
    spring_diagonal,
)
from eqprop_spice.engines.layered.linear import Jacobian, dot, largest
from eqprop_spice.engines.layered.nodes import (
    DiodeSlot,
    diode_currents,
    merge_slots,
    rough_solution,
    solve_nodes,
)

MAX_STEPS = 80
"""Where Newton gives up; 2 to 6 steps are usual."""

GOOD_RESIDUAL = 1e-11
"""Violation of Kirchhoff's law that Newton does not stop above while it still helps."""

SOLUTION_ACCURACY = 1e-14
"""Error [V] that the last step aims at, for voltages of about 1 V."""

LARGEST_OVERSHOOT = 0.9
"""Slope of the co-content at the end of a step, relative to its fall at the start, above which the
step is too long. Below 1, so that a step and its way back are not both accepted."""

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


@functools.lru_cache(maxsize=256)
def _slots(chain: Chain, layers: tuple[int, ...]) -> tuple[DiodeSlot, ...]:
    """Return the diodes of some layers side by side."""
    members = [chain.layers[k] for k in layers]
    return merge_slots([q.diodes for q in members], [q.size for q in members])


def _side_by_side(blocks: Sequence[Array]) -> Array:
    return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=1)


def _apart(chain: Chain, values: Array, layers: Sequence[int]) -> list[Array]:
    """Return the columns of each layer."""
    ends = np.cumsum([chain.layers[k].size for k in layers]).tolist()
    return [
        values[:, end - chain.layers[k].size : end] for k, end in zip(layers, ends, strict=True)
    ]


def _law(chain: Chain, voltages, layers: Sequence[int]):
    """Return diode currents [A], conductances [S] and magnitudes [A] of some layers."""
    parts = diode_currents(
        _slots(chain, tuple(layers)), _side_by_side([voltages[k] for k in layers])
    )
    return list(zip(*(_apart(chain, part, layers) for part in parts), strict=True))


def _solve_layers(network: Network, currents, guesses, layers: Sequence[int]):
    """Solve layers for given inflows [A]: their voltages [V] and diode conductances [S].

    Layers that do not neighbor each other are solved as one: that compiles a program less each.
    """
    chain = network.chain
    linear = _side_by_side([network.linear[k] for k in layers])
    parts = solve_nodes(
        _slots(chain, tuple(layers)), linear, _side_by_side(currents), _side_by_side(guesses)
    )
    return [_apart(chain, part, layers) for part in parts]


def _own_currents(network: Network, drawn: Array, magnitude: Array, k: int) -> Array:
    """Return the currents [A] that meet in each node of layer k, those from its neighbors aside."""
    total = jnp.abs(drawn) + magnitude + jnp.abs(network.currents[k])
    return jnp.maximum(total, jnp.finfo(total.dtype).tiny)


def _violations(
    network: Network,
    voltages: Sequence[Array],
    layers: Sequence[int],
    residuals: Sequence[Array],
    own: Sequence[Array],
    matters: Array | bool,
    tolerance: float,
) -> list[Array]:
    """Return the violation of Kirchhoff's law relative to the currents that meet in each node.

    Currents from neighbors count one by one: where they cancel, as at an output that crosses zero,
    their sum is below its own rounding error. That takes matrix products, so it is done only if
    relative to the nodes' own currents, which are less, a violation exceeds the tolerance.

    Args:
        network: The equations.
        voltages: Voltages of all layers [V].
        layers: The layers asked for.
        residuals: Current that leaves each of their nodes [A].
        own: The nodes' own currents [A].
        matters: Which samples' violations have to be known above the tolerance, `batch 1`.
        tolerance: The relative violation that is small enough.
    """
    bounds = [jnp.abs(r) / o for r, o in zip(residuals, own, strict=True)]

    def refine():
        scales = [
            o + neighbor_magnitudes(network, voltages, k) for k, o in zip(layers, own, strict=True)
        ]
        return [jnp.abs(r) / s for r, s in zip(residuals, scales, strict=True)]

    return jax.lax.cond((matters & (largest(bounds) > tolerance)).any(), refine, lambda: bounds)


def worst_violation(network: Network, state: State, tolerance: float) -> tuple[Array, Array]:
    """Return each sample's largest relative violation of Kirchhoff's law, and the node it is at.

    Up to the tolerance, the violation may be given relative to less than all currents.
    """
    layers = range(len(state.voltages))
    residuals, own = [], []
    for k, (diode, _, magnitude) in zip(
        layers, _law(network.chain, state.voltages, layers), strict=True
    ):
        drawn = _drawn(network, state.voltages, k)
        residuals.append(drawn + diode - state.inflows[k])
        own.append(_own_currents(network, drawn, magnitude, k))
    ratios = _violations(network, state.voltages, layers, residuals, own, True, tolerance)
    violation = jnp.concatenate(ratios, axis=1)
    nodes = np.concatenate([layer.nodes for layer in network.chain.layers])
    return violation.max(axis=1), jnp.asarray(nodes)[violation.argmax(axis=1)]


def _evaluate(network: Network, voltages: list, slopes: list, inflows: list):
    """Return slopes and inflows of all layers, and the kept ones' residuals and own currents."""
    slopes, inflows = list(slopes), list(inflows)
    residuals, own = [], []
    kept = kept_layers(len(voltages))
    for k, (diode, slope, magnitude) in zip(kept, _law(network.chain, voltages, kept), strict=True):
        slopes[k], inflows[k] = slope, inflow(network, voltages, k)
        drawn = _drawn(network, voltages, k)
        residuals.append(drawn + diode - inflows[k])
        own.append(_own_currents(network, drawn, magnitude, k))
    return tuple(slopes), tuple(inflows), tuple(residuals), own


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


def _follow(network: Network, voltages: list, slopes: list, inflows: list) -> None:
    """Solve the slack layers for the kept ones, in place, from what a tangent predicts."""
    slack = slack_layers(len(voltages))
    if not slack:
        return
    guesses = []
    for k in slack:
        before, inflows[k] = inflows[k], inflow(network, voltages, k)
        guesses.append(voltages[k] + (inflows[k] - before) / (network.linear[k] + slopes[k]))
    solved = _solve_layers(network, [inflows[k] for k in slack], guesses, slack)
    for k, u, slope in zip(slack, *solved, strict=True):
        voltages[k], slopes[k] = u, slope


def cold_state(network: Network) -> State:
    """Pass roughly from the inputs to the outputs, then solve the slack layers."""
    count = len(network.linear)
    voltages: list = [None] * count
    slopes: list = [None] * count
    inflows: list = [None] * count
    for k in range(count):
        inflows[k] = inflow(network, voltages, k)
        voltages[k] = rough_solution(network.chain.layers[k].diodes, network.linear[k], inflows[k])
    for k, (diode, slope, _) in enumerate(_law(network.chain, voltages, range(count))):
        slopes[k] = slope
        # The tangent at a rough solution starts from the inflow that it would be exact for.
        inflows[k] = network.linear[k] * voltages[k] + diode
    _follow(network, voltages, slopes, inflows)
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
    kept = kept_layers(len(state.voltages))
    voltages, slopes = list(state.voltages), list(state.slopes)
    inflows = list(state.inflows)
    for k, change in zip(kept, changes, strict=True):
        voltages[k] = voltages[k] + state.damping * change
    curved = [(i, k) for i, k in enumerate(kept) if network.chain.layers[k].diodes]
    lines = []
    for i, k in curved:
        diode = state.residuals[i] + inflows[k] - _drawn(network, state.voltages, k)
        lines.append(
            network.linear[k] * voltages[k] + diode + slopes[k] * state.damping * changes[i]
        )
    if curved:
        layers = [k for _, k in curved]
        solved, _ = _solve_layers(network, lines, [voltages[k] for k in layers], layers)
        for k, u in zip(layers, solved, strict=True):
            voltages[k] = u
    _follow(network, voltages, slopes, inflows)
    return voltages, slopes, inflows


def _bend(chain: Chain) -> float:
    """Return the voltage over which the sharpest diode bends [V]; infinite without diodes."""
    slots = [slot for layer in chain.layers for slot in layer.diodes]
    return min((float(np.min(s.junction.emission_voltage)) for s in slots), default=math.inf)


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
    r"""Take one Newton step in every sample where it helps.

    The weighted residuals are the gradient of the co-content P, which is convex in the kept layers'
    voltages. A step helps if P falls over it: at its end, P may rise no more steeply than it fell
    at its start. The residuals themselves need not shrink: where diodes begin to conduct they grow,
    and a search that kept them from growing would crawl.

    References:
        Hager and Zhang (2005), doi:10.1137/030601880, eq. 9: the approximate Wolfe condition.
    """
    chain = network.chain
    curved = [k for k in range(len(state.voltages)) if chain.layers[k].diodes]
    jacobian = _jacobian(network, state.slopes)
    diagonals = jacobian.kept_diagonals
    jacobi = tuple(f / d for f, d in zip(state.residuals, diagonals, strict=True))
    accuracy = _useful_accuracy(jacobian, jacobi)
    right = tuple(-f for f in state.residuals)
    changes, accuracy = jacobian.solve_roughly(right, accuracy)
    voltages, slopes, inflows = _trial(network, state, changes)
    slopes, inflows, residuals, own = _evaluate(network, voltages, slopes, inflows)
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
    close = jnp.minimum(expected, found) <= goal
    # Volts alone would forget layers that the conductances put at picovolts.
    kept, matters = kept_layers(len(voltages)), close & ~state.finished
    violations = _violations(network, voltages, kept, residuals, own, matters, GOOD_RESIDUAL)
    arrived = close & (largest(violations) <= GOOD_RESIDUAL)
    shift = tuple(voltages[k] - state.voltages[k] for k in kept)
    before, after = (dot(f, shift, jacobian.kept_weights) for f in (state.residuals, residuals))
    accepted = arrived | (after <= -LARGEST_OVERSHOOT * before)
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


@dataclasses.dataclass(frozen=True)
class Newton:
    """Settles chains whose diodes are junctions."""

    @property
    def residual_tolerance(self) -> float:
        """The largest residual of a sample that counts as converged: usually it is 1e-14."""
        return 1e-9

    def begin(self, network: Network) -> State:
        """Return the state that settling begins from."""
        return cold_state(network)

    def settle(self, network: Network, state: State) -> State:
        """Settle from a state."""
        return newton(network, state)

    def resettle(self, network: Network, before: Network, state: State) -> State:
        """Settle from the solution with another load."""
        return self.settle(network, warm_state(network, before, state))

    def violation(self, network: Network, state: State) -> tuple[Array, Array]:
        """Return each sample's violation of Kirchhoff's law, and the node where it is worst."""
        return worst_violation(network, state, self.residual_tolerance)

    def linearize(self, network: Network, voltages: Sequence[Array]) -> Jacobian:
        """Return the Jacobian at given voltages of the layers [V]."""
        parts = _law(network.chain, voltages, range(len(voltages)))
        return _jacobian(network, tuple(slope for _, slope, _ in parts))
