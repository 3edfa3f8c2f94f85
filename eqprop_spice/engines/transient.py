r"""The transient of any circuit: how voltages, charges and states move while time passes.

Kirchhoff's law holds for the currents of all devices and for what charges them,
$R^T (i(v, x) + \dot q(v)) = R^T I(t)$, and the states of devices follow $\dot x = r(v, x)$. The
method is a singly diagonally implicit Runge-Kutta method of order 4 with an embedded one of order 3
(L-stable, stiffly accurate): five times per step, each the solution of
$i + (q - \hat q) / \gamma h = I$ by the Newton method of the general plan, where a device with
charges has a conductance $\partial q / \partial v / \gamma h$ beside its own.

Nothing but charges and states goes from one step to the next. So charge is conserved to the
tolerance of Newton's method, whatever the capacitances; nodes without a capacitor are solved for,
and a source may jump between two steps.

References:
    Hairer and Wanner (1996), Solving Ordinary Differential Equations II, section IV.6, table 6.5.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.drives import Segment
from eqprop_spice.engines.general.equations import conductance_matrix, structure_of
from eqprop_spice.engines.general.moving import first_states, move
from eqprop_spice.engines.general.plan import AbstractProblem, GeneralPlan, iterate, system_of
from eqprop_spice.engines.trajectory import Trajectory
from eqprop_spice.errors import ConfigError, ConvergenceError
from eqprop_spice.phases import AbstractPhase, Free

GAMMA = 0.25
"""The diagonal of the method."""

STAGES = (
    (),
    (1 / 2,),
    (17 / 50, -1 / 25),
    (371 / 1360, -137 / 2720, 15 / 544),
    (25 / 24, -49 / 48, 125 / 16, -85 / 12),
)
"""What each stage takes of the slopes before it; the last stage is the solution."""

TIMES = (1 / 4, 3 / 4, 11 / 20, 1 / 2, 1.0)
"""When the stages are, in steps."""

ERRORS = (-3 / 16, -27 / 32, 25 / 32, 0.0, 1 / 4)
"""The solution minus the embedded one, in slopes."""

ORDER = 4
"""The power of the step that the estimated error is of."""

FIRST_STEP = 1e-3
"""The first step of a segment that is tried, relative to its duration; the error decides."""

JUST_AFTER = 1e-4
"""Where a segment's first point is, in steps: just after what jumped."""

LARGEST_STEP = 1 / 50
"""The largest step, relative to a segment in which a source follows a function."""

SAFETY, LEAST, MOST = 0.9, 0.2, 5.0
"""How the step follows the error: of the step that would just do, and bounds of its change."""

SMALLEST_STEP = 1e-14
"""A step this small, relative to the segment, is given up."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Carried:
    """What goes from one step to the next, or its rate of change.

    Attributes:
        charges: Charge of every branch [C].
        states: States of each group by name.
    """

    charges: Float[np.ndarray, "batch branch"]
    states: dict[str, Float[np.ndarray, "batch state instance"]]

    def plus(self, factors: Sequence[float], others: "Sequence[_Carried]") -> "_Carried":
        """Return this plus others times factors."""
        charges, states = self.charges, self.states
        for factor, other in zip(factors, others, strict=True):
            charges = charges + factor * other.charges
            states = {name: x + factor * other.states[name] for name, x in states.items()}
        return _Carried(charges, states)


class _Stage(AbstractProblem):
    """The equations of one stage: those of an operating point, with what charges the devices."""

    def __init__(
        self,
        circuit: Circuit,
        params: Mapping[str, np.ndarray],
        segment: Segment,
        phase: AbstractPhase,
    ) -> None:
        """Stamp the resistors of a segment."""
        self.structure, self.params = structure_of(circuit, moving=True), params
        self.circuit, self._segment, self._phase = circuit, segment, phase
        stiffness = float(phase.conductance)
        self._conductances = conductance_matrix(circuit, params, stiffness, moving=True)
        self.system = system_of(self.structure, self._conductances, traced=False)

    def begin(self, time: float, weight: float, before: _Carried) -> None:
        """Take on a stage.

        Args:
            time: When it is [s].
            weight: The step times the diagonal of the method [s].
            before: Charges and states without what this stage adds.
        """
        self._inputs = self._segment.at(time)
        currents = self._phase.source_currents(len(self._inputs), self.circuit.num_outputs)
        self.load(self.circuit, self._conductances, self._inputs, np.asarray(currents))
        self._weight, self._before = weight, before

    def law(self, drops, samples, extra):
        """Return currents and slopes; what charges the branches counts."""
        states = {name: x[samples] for name, x in self._before.states.items()}
        found = move(self.structure, self.params, drops, states, self._weight)
        charging = (found.charges - self._before.charges[samples]) / self._weight
        slopes = found.slopes + found.capacitances / self._weight
        return (
            found.currents + charging + extra * drops,
            slopes + extra * self.structure.own,
        )

    def solve(self, start: np.ndarray) -> tuple[np.ndarray, _Carried] | None:
        """Return the voltages of the kept nodes [V], and charges and states; None if lost."""
        kept, arrived, _ = iterate(self, start, np.arange(len(self.right)), warm=True)
        if not arrived.all():
            return None
        drops, states = self._drops(kept), self._before.states
        found = move(self.structure, self.params, drops, states, self._weight)
        return kept, _Carried(found.charges, found.states)

    def rates(self, end: _Carried) -> _Carried:
        """Return the rates of change with which a stage ends."""
        change = end.plus((-1.0,), (self._before,))
        return _Carried(
            change.charges / self._weight,
            {name: x / self._weight for name, x in change.states.items()},
        )

    def _drops(self, kept: np.ndarray) -> np.ndarray:
        """Return the voltages of the branches [V]."""
        return self.system.drops(kept) + self.offsets

    def voltages(self, kept: np.ndarray) -> np.ndarray:
        """Return the voltages of all nodes [V]."""
        free = self.system.expand(kept, self.right)
        return np.asarray(self.circuit.node_voltages(free, self._inputs))

    def moved_by(self, kept: np.ndarray, charges: np.ndarray) -> np.ndarray:
        """Return by how much charges that come in this stage move the kept nodes [V]."""
        _, slopes = self.law(self._drops(kept), np.arange(len(kept)), 0.0)
        return self.system.solve(slopes, self.system.collect(charges / self._weight))


@dataclasses.dataclass(frozen=True)
class Transient:
    """Solves transients; all samples of a batch take the same steps.

    Attributes:
        relative: Error that a step may make in a voltage, relative to it.
        absolute: Error that it may make besides [V]. What is to be seen of a nudge has to be far
            larger.
    """

    relative: float = 1e-6
    absolute: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse tolerances that say nothing, or that Newton's method cannot meet."""
        for name, least in (("relative", 1e-10), ("absolute", 1e-12)):
            value = getattr(self, name)
            if not least <= value <= 0.1:
                raise ConfigError(f"{name} is {value}; it must be from {least:g} to 0.1.")

    def solve(
        self,
        circuit: Circuit,
        params: Mapping[str, Array],
        segments: Sequence[Segment],
        start: Float[Array, "batch node"] | None = None,
    ) -> Trajectory:
        """Return how the circuit moves.

        Args:
            circuit: The circuit.
            params: Conductances [S] by group name.
            segments: What drives it, one after the other.
            start: Voltages of all nodes that its capacitors are charged to [V]; the free operating
                point of the first inputs if None. States start as they are in the circuit.

        Raises:
            NetlistError: If conductances or inputs do not fit, or a diode is ideal.
            ConfigError: If there is no segment.
            ConvergenceError: If there is no operating point to start from, or no step of time,
                however small, has a solution.
        """
        if not segments:
            raise ConfigError("A transient needs one segment at least.")
        params = {name: np.asarray(values, float) for name, values in params.items()}
        circuit.check_parameters(params)
        for segment in segments:
            circuit.check_inputs(segment.at(0.0))
        plan = GeneralPlan(circuit)
        with np.errstate(over="ignore", invalid="ignore"), threadpool_limits(1, "blas"):
            if start is None:
                (point,) = plan.settle(params, segments[0].at(0.0), [Free()])
                if not np.all(point.converged):
                    sample = int(np.argmin(np.asarray(point.converged)))
                    raise ConvergenceError(
                        f"Sample {sample} has no operating point that the transient could start "
                        "from. Give the voltages to start from, such as zeros."
                    )
                start = point.voltages
            return _Walk(self, circuit, params, np.asarray(start)).through(segments)


class _Walk:
    """One transient under way."""

    def __init__(
        self,
        solver: Transient,
        circuit: Circuit,
        params: Mapping[str, np.ndarray],
        start: Float[np.ndarray, "batch node"],
    ) -> None:
        self._solver, self._circuit, self._params = solver, circuit, params
        structure = structure_of(circuit, moving=True)
        drops = (structure.incidence.T @ start.T).T
        states = first_states(structure, len(start))
        self._carried = _Carried(move(structure, params, drops, states, 0.0).charges, states)
        self._last = start
        self._times: list[float] = []
        self._voltages: list[np.ndarray] = []
        self._states: list[dict[str, np.ndarray]] = []
        self._rejected = 0

    def through(self, segments: Sequence[Segment]) -> Trajectory:
        """Walk through all segments."""
        crossed, totals, time = [], [0], 0.0
        for segment in segments:
            phase = segment.load(np.asarray(self._circuit.outputs(self._last)))
            crossed.append(dataclasses.replace(segment, phase=phase))
            self._cross(crossed[-1], phase, time)
            time += segment.duration
            totals.append(len(self._times))
        return Trajectory(
            self._circuit,
            np.array(self._times),
            np.stack(self._voltages, axis=1),
            {k: np.stack([x[k] for x in self._states], axis=1) for k in self._carried.states},
            np.diff(totals),
            tuple(crossed),
            self._rejected,
        )

    def _cross(self, segment: Segment, phase: AbstractPhase, begin: float) -> None:
        """Walk through one segment."""
        stage = _Stage(self._circuit, self._params, segment, phase)
        kept = self._last[:, self._circuit.free_nodes][:, stage.system.kept]
        duration, done = segment.duration, 0.0
        largest = duration * (1.0 if isinstance(segment.inputs, np.ndarray) else LARGEST_STEP)
        step = min(FIRST_STEP * duration, largest)
        while done < duration:
            last = step >= duration - done
            step = duration - done if last else step
            tried = self._try(stage, begin + done, step, kept)
            factor = LEAST
            if tried is not None:
                kept_then, end, error = tried
                # Where nothing moves, there is no error.
                factor = SAFETY * max(error, np.finfo(float).tiny) ** (-1.0 / ORDER)
                factor = min(max(factor, LEAST), MOST)
            if tried is None or not error <= 1.0:
                self._rejected += 1
                step *= factor if np.isfinite(factor) else LEAST
                self._check(step, begin + done, duration)
                continue
            voltages = stage.voltages(kept_then)
            if done == 0.0:
                self._enter(stage, begin, JUST_AFTER * step, kept)
            done = duration if last else done + step
            kept, self._carried = kept_then, end
            self._note(begin + done, voltages, end.states)
            step = min(step * factor, largest)
        self._last = self._voltages[-1]

    def _try(
        self, stage: _Stage, begin: float, step: float, kept: np.ndarray
    ) -> tuple[np.ndarray, _Carried, float] | None:
        """Take a step: kept nodes [V], charges and states, and the error over what it may be."""
        rates: list[_Carried] = []
        weight, end = GAMMA * step, self._carried
        for factors, moment in zip(STAGES, TIMES, strict=True):
            before = self._carried.plus([step * factor for factor in factors], rates)
            stage.begin(begin + moment * step, weight, before)
            found = stage.solve(kept)
            if found is None:
                return None
            kept, end = found
            rates.append(stage.rates(end))
        nothing = self._carried.plus((-1.0,), (self._carried,))
        missing = nothing.plus([step * factor for factor in ERRORS], rates)
        moved = stage.moved_by(kept, missing.charges)
        solver = self._solver
        error = np.abs(moved) / (solver.relative * np.abs(kept) + solver.absolute)
        worst = float(error.max(initial=0.0))
        for name, off in missing.states.items():
            scale = solver.relative * np.maximum(np.abs(end.states[name]), 1.0)
            worst = max(worst, float((np.abs(off) / scale).max(initial=0.0)))
        return kept, end, worst

    def _enter(self, stage: _Stage, begin: float, after: float, kept: np.ndarray) -> None:
        """Note the first point of a segment: one short step by the backward Euler method."""
        stage.begin(begin + after, after, self._carried)
        found = stage.solve(kept)
        if found is not None:
            self._note(begin + after, stage.voltages(found[0]), found[1].states)

    def _note(self, time: float, voltages: np.ndarray, states: dict[str, np.ndarray]) -> None:
        """Note a point."""
        self._times.append(time)
        self._voltages.append(voltages)
        self._states.append(states)

    def _check(self, step: float, time: float, duration: float) -> None:
        """Give up where steps become too small.

        Raises:
            ConvergenceError: If so.
        """
        if step < SMALLEST_STEP * duration:
            raise ConvergenceError(
                f"The transient has no solution behind {time:g} s: steps became {step:.2g} s long. "
                "Look for a node that jumps by itself, such as a bistable one without a capacitor, "
                "and give it one."
            )
