r"""Operating points of any circuit by Newton's method, with SPICE's limiting and its steppings.

Every device is linearized at drops of its own, which follow the true ones in steps that its
exponentials bear. What does not arrive so is tried again with bounded steps, then with conductances
from every node to the ground that are taken away step by step, then with the sources turned up.

References:
    Nagel (1975), SPICE2, UCB/ERL M520, section 3.3; Vogt et al., ngspice manual, section 15.1.2.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse import linalg
from threadpoolctl import threadpool_limits

from eqprop_spice.engines.nodal.circuit import NodalCircuit, add_into, grounded
from eqprop_spice.errors import ConvergenceError

STEP_TOLERANCE = 1e-9
"""A full step of a drop [V] after which the error, its square over 2 N v_T, is rounding."""

RELATIVE_STEP = 1e-9
"""The same as a share of the largest voltage."""

RESIDUAL_TOLERANCE = 1e-9
"""Largest violation of an equation, relative to what meets in it. Solutions are near 1e-15."""

VOLTAGE_FLOOR = 1e-6
"""Every coefficient counts with this voltage [V] at least in what meets in an equation."""

DENSE_LIMIT = 120
"""Unknowns up to which a batch is factorized as dense matrices."""

MAX_STEPS, BOUNDED_STEPS = 100, 400
LARGEST_STEP = 0.5
"""Of a node's voltage [V], where steps are bounded."""

STEPPING = (*(10.0**-k for k in np.arange(2.0, 12.5, 0.5)), 0.0)
"""Conductances to the ground [S] that a stubborn sample is led through."""

MAX_SOURCE_STEPS = 200
SMALLEST_RISE = 1e-6
"""Of the sources, as a share of their full value."""


@dataclasses.dataclass(frozen=True)
class NodalPoint:
    """Operating points of a batch.

    Attributes:
        state: Voltages of the nodes [V], then currents of the branches [A]; NaN where lost.
        converged: Whether every equation holds to the tolerance.
        residual: Largest violation, relative to what meets in the equation.
        worst: The equation with that violation.
        steps: Newton steps taken.
    """

    state: Float[np.ndarray, "batch unknown"]
    converged: Bool[np.ndarray, " batch"]
    residual: Float[np.ndarray, " batch"]
    worst: Int[np.ndarray, " batch"]
    steps: Int[np.ndarray, " batch"]


def jacobian_solve(
    circuit: NodalCircuit,
    slopes: Float[np.ndarray, "batch entry"],
    right: Float[np.ndarray, "batch unknown"],
    *,
    extra: float = 0.0,
    transposed: bool = False,
) -> Float[np.ndarray, "batch unknown"]:
    """Solve the Jacobian, or its transpose, for each sample; NaN where it is singular.

    Args:
        circuit: The circuit.
        slopes: Of all devices [S], as `Devices.stamp` returns them.
        right: The right sides.
        extra: Conductance from every node to the ground [S].
        transposed: Whether the transpose is solved.
    """
    size = circuit.size
    shunt = np.where(np.arange(size) < len(circuit.nodes), extra, 0.0)
    linear = circuit.linear + sparse.diags_array(shunt)
    rows, columns = _entries(circuit)
    kept = (rows < size) & (columns < size)
    rows, columns, slopes = rows[kept], columns[kept], slopes[:, kept]
    found = np.full_like(right, np.nan)
    if size <= DENSE_LIMIT:
        matrices = np.repeat(linear.toarray()[None], len(right), axis=0)
        add_into(matrices.reshape(len(right), -1), size * rows + columns, slopes)
        if transposed:
            matrices = matrices.swapaxes(1, 2)
        for k, matrix in enumerate(matrices):
            # One by one, since a singular matrix would take the others with it.
            if np.isfinite(matrix).all():
                try:
                    found[k] = np.linalg.solve(matrix, right[k])
                except np.linalg.LinAlgError:
                    continue
        return found
    for k, own in enumerate(slopes):
        matrix = (linear + sparse.coo_array((own, (rows, columns)), shape=(size, size))).tocsc()
        if np.isfinite(matrix.data).all():
            try:
                found[k] = linalg.splu(matrix).solve(right[k], "T" if transposed else "N")
            except RuntimeError:
                continue
    return found


def _entries(circuit: NodalCircuit) -> tuple[np.ndarray, np.ndarray]:
    entries = [group.entries for group in circuit.devices]
    nothing = np.zeros(0, np.int64)
    rows = np.concatenate([nothing, *(rows for rows, _ in entries)])
    return rows, np.concatenate([nothing, *(columns for _, columns in entries)])


def device_slopes(
    circuit: NodalCircuit, state: Float[np.ndarray, "batch unknown"]
) -> Float[np.ndarray, "batch entry"]:
    """Return the slopes of all devices at given unknowns [S]."""
    full = grounded(state)
    stamps = [group.stamp(group.drops(full)) for group in circuit.devices]
    return np.concatenate([np.zeros((len(state), 0)), *stamps], axis=1)


class _Newton:
    """Newton's iteration on some samples of a circuit."""

    def __init__(self, circuit: NodalCircuit, right: Float[np.ndarray, "batch unknown"]) -> None:
        self.circuit, self.right = circuit, right

    def drops(self, state: np.ndarray) -> list[np.ndarray]:
        """Return the drops of every group of devices [V], `drop batch instance`."""
        full = grounded(state)
        return [np.array(group.drops(full)) for group in self.circuit.devices]

    def limited(self, new: list[np.ndarray], old: list[np.ndarray]) -> list[np.ndarray]:
        """Return the drops to linearize the devices at next [V]."""
        groups = zip(self.circuit.devices, new, old, strict=True)
        return [
            np.array(group.device.limit_step(list(one), list(two))) for group, one, two in groups
        ]

    def linearized(self, drops: list, points: list) -> tuple[np.ndarray, np.ndarray]:
        """Return currents into the unknowns [A] by tangents at `points`, and the slopes [S]."""
        batch = drops[0].shape[1] if drops else 0
        currents, stamps = np.zeros((batch, self.circuit.size + 1)), []
        for group, true, at in zip(self.circuit.devices, drops, points, strict=True):
            found = np.array(group.device.currents(*at))
            for k, row in enumerate(group.device.slopes(*at)):
                moves = zip(row, true, at, strict=True)
                found[k] = found[k] + sum(slope * (new - old) for slope, new, old in moves)
            for nodes, current in zip(group.terminals, [*found, -found.sum(axis=0)], strict=True):
                add_into(currents, nodes, current)
            stamps.append(group.stamp(at))
        return currents[:, :-1], np.concatenate(stamps, axis=1)

    def move(self, state, right, drops, points, extra: float) -> np.ndarray:
        """Return Newton's step of the unknowns."""
        circuit, num_nodes = self.circuit, len(self.circuit.nodes)
        excess = state @ circuit.linear.T - right
        excess[:, :num_nodes] += extra * state[:, :num_nodes]
        slopes = np.zeros((len(state), 0))
        if drops:
            currents, slopes = self.linearized(drops, points)
            excess += currents
        return -jacobian_solve(circuit, slopes, excess, extra=extra)

    def run(
        self, start: np.ndarray, *, extra: float = 0.0, bounded: bool, cold: bool = False
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Return unknowns, which samples arrived, and the steps taken.

        Args:
            start: Unknowns to start from.
            extra: Conductance from every node to the ground [S].
            bounded: Whether the steps of voltages are.
            cold: Whether devices start from no voltage, as limiting wants it.
        """
        num_nodes = len(self.circuit.nodes)
        state, active = start.copy(), np.arange(len(start))
        arrived = np.zeros(len(start), bool)
        drops = self.drops(state)
        points = self.limited(drops, [0.0 * d for d in drops]) if cold else drops
        steps = 0
        while len(active) and steps < (BOUNDED_STEPS if bounded else MAX_STEPS):
            steps += 1
            move = self.move(state[active], self.right[active], drops, points, extra)
            gap = np.abs(move[:, :num_nodes]).max(axis=1, initial=0.0)
            if bounded:
                move *= np.minimum(1.0, LARGEST_STEP / np.maximum(gap, LARGEST_STEP))[:, None]
            state[active] += move
            drops = self.drops(state[active])
            for new, at in zip(drops, points, strict=True):
                gap = np.maximum(gap, np.abs(new - at).max(axis=(0, 2), initial=0.0))
            reach = np.abs(state[active, :num_nodes]).max(axis=1, initial=0.0)
            near = gap <= STEP_TOLERANCE + RELATIVE_STEP * reach
            lost = ~np.isfinite(state[active]).all(axis=1)
            arrived[active[near & ~lost]] = True
            going = ~(near | lost)
            active = active[going]
            drops = [d[:, going] for d in drops]
            points = self.limited(drops, [p[:, going] for p in points])
        return state, arrived, steps


def _by_conductance(newton: _Newton, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    state, total, alive = start.copy(), 0, np.arange(len(start))
    for extra in STEPPING:
        part = _Newton(newton.circuit, newton.right[alive])
        found, good, steps = part.run(state[alive], extra=extra, bounded=True)
        alive, total = alive[good], total + steps
        state[alive] = found[good]
    arrived = np.zeros(len(start), bool)
    arrived[alive] = True
    return state, arrived, total


def _by_sources(newton: _Newton, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Turn the sources up, one sample at a time."""
    state, good, total = start.copy(), np.zeros(len(start), bool), 0
    for k in range(len(start)):
        at, share, rise = np.zeros((1, newton.circuit.size)), 0.0, 0.02
        for _ in range(MAX_SOURCE_STEPS):
            goal = min(1.0, share + rise)
            scaled = _Newton(newton.circuit, goal * newton.right[k : k + 1])
            found, fine, steps = scaled.run(at, bounded=True)
            total += steps
            if fine[0]:
                at, share, rise = found, goal, 2.0 * rise
            else:
                rise /= 4.0
            if share == 1.0 or rise < SMALLEST_RISE:
                break
        state[k], good[k] = at[0], share == 1.0
    return state, good, total


Attempt = Callable[[_Newton, np.ndarray], tuple[np.ndarray, np.ndarray, int]]

LADDER: tuple[Attempt, ...] = (
    lambda newton, start: newton.run(start, bounded=False, cold=True),
    lambda newton, start: newton.run(start, bounded=True, cold=True),
    _by_conductance,
    _by_sources,
)
"""What is tried in turn on the samples that are still lost."""


def residual(
    circuit: NodalCircuit,
    state: Float[np.ndarray, "batch unknown"],
    right: Float[np.ndarray, "batch unknown"],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the violation of every equation, and the magnitudes that meet in it."""
    size = np.abs(state)
    size[:, : len(circuit.nodes)] += VOLTAGE_FLOOR
    excess = grounded(state @ circuit.linear.T - right)
    scale = grounded(size @ abs(circuit.linear).T + np.abs(right))
    full = grounded(state)
    for group in circuit.devices:
        drops = group.drops(full)
        slopes = [sum(abs(s) for s in row) for row in group.device.slopes(*drops)]
        for nodes, current, slope in zip(
            group.terminals, group.currents(drops), [*slopes, sum(slopes)], strict=True
        ):
            add_into(excess, nodes, current)
            add_into(scale, nodes, np.abs(current) + VOLTAGE_FLOOR * slope)
    return excess[:, :-1], scale[:, :-1]


def solve(
    circuit: NodalCircuit,
    values: Float[np.ndarray, "batch element"] | None = None,
    start: Float[np.ndarray, "batch unknown"] | None = None,
    extra: Float[np.ndarray, "batch unknown"] | None = None,
) -> NodalPoint:
    """Find operating points.

    Args:
        circuit: The circuit.
        values: Values of the elements by sample, of which those of V and I count; the circuit's
            own, as one sample, if None.
        start: Unknowns to start from; zeros if None.
        extra: Currents from outside into the nodes [A]; none if None.

    Returns:
        The operating points; those not found are marked.
    """
    right = circuit.right(circuit.values[None] if values is None else values)
    if extra is not None:
        right = right + extra
    state = np.zeros_like(right) if start is None else np.array(start, float)
    steps = np.zeros(len(right), int)
    lost = np.arange(len(right))
    first = state.copy()
    # A diverging sample overflows on its way; it ends as not converged.
    with np.errstate(all="ignore"), threadpool_limits(1, "blas"):
        for attempt in LADDER:
            found, arrived, taken = attempt(_Newton(circuit, right[lost]), first[lost])
            state[lost], steps[lost] = found, steps[lost] + taken
            excess, scale = residual(circuit, state[lost], right[lost])
            ratio = np.abs(excess) / np.maximum(scale, np.finfo(float).tiny)
            holds = (ratio <= RESIDUAL_TOLERANCE).all(axis=1)
            lost = lost[~(arrived & holds)]
            if not len(lost):
                break
        excess, scale = residual(circuit, state, right)
        ratio = np.abs(excess) / np.maximum(scale, np.finfo(float).tiny)
    ratio = np.where(np.isnan(ratio), np.inf, ratio)
    converged = np.ones(len(right), bool)
    converged[lost] = False
    return NodalPoint(
        np.where(converged[:, None], state, np.nan),
        converged,
        ratio.max(axis=1, initial=0.0),
        ratio.argmax(axis=1) if circuit.size else np.zeros(len(right), int),
        steps,
    )


def solved(circuit: NodalCircuit, guesses: Mapping[str, float] | None = None) -> NodalPoint:
    """Return the one operating point of a circuit as it stands.

    Args:
        circuit: The circuit.
        guesses: Voltages of nodes to start from [V], by name.

    Raises:
        ConvergenceError: If it was not found, or a diode is in breakdown there.
    """
    start = np.zeros((1, circuit.size))
    for name, voltage in (guesses or {}).items():
        start[0, circuit.node(name)] = voltage
    point = solve(circuit, start=start)
    names = [*circuit.nodes, *(f"the current of {name}" for name in circuit.branches)]
    if not point.converged[0]:
        raise ConvergenceError(
            "No operating point was found. The equation worst violated is that of "
            f"'{names[point.worst[0]]}', by {point.residual[0]:.1e} of what meets there. Check the "
            "circuit around it, or give .nodeset a guess."
        )
    full = grounded(point.state)
    for group in circuit.devices:
        over = -group.drops(full)[0][0] - group.breakdowns
        if over.max(initial=-1.0) > 0.0:
            raise ConvergenceError(
                f"The diode '{group.names[over.argmax()]}' is in breakdown, which is not solved. "
                "Remove BV from its model if you mean an ideal junction."
            )
    return point
