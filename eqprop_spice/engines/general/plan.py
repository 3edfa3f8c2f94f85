r"""The general plan: Newton's method on any circuit, with SPICE's limiting of junction voltages.

Every nonlinear branch is linearized at a voltage of its own, $\hat d$, which follows the branch's
true voltage d in steps that its exponential bears; Kirchhoff's equations hold for the linearized
branches in every iteration, and for the true ones when $\hat d = d$.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.core import Tracer
from jaxtyping import Bool, Float
from threadpoolctl import threadpool_limits

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.ideal_diodes import has_ideal_diodes
from eqprop_spice.engines.general.equations import (
    DENSE_LIMIT,
    DenseSystem,
    SparseSystem,
    Structure,
    conductance_matrix,
    structure_of,
)
from eqprop_spice.engines.plans import AbstractPlan
from eqprop_spice.errors import NetlistError
from eqprop_spice.phases import AbstractNudge, AbstractPhase
from eqprop_spice.settled import OperatingPoint

MAX_STEPS = 200
"""Newton steps before a sample is handed to stepping of the junction conductance."""

STEP_TOLERANCE = 1e-9
"""A full Newton step [V] after which the error, its square over 2 N v_T, is rounding."""

RESIDUAL_TOLERANCE = 1e-9
"""Largest violation of Kirchhoff's law, relative to the currents that meet in a node, of a sample
that counts as converged. Solutions are usually at 1e-14."""

VOLTAGE_FLOOR = 1e-4
"""Drop [V] that every device counts with at least when a violation is measured, so that 1e-13 V at
a node is always small enough: far from the sources of a long ladder all currents are below the
rounding error of those near them."""

STEPPING = (*(10.0**-k for k in range(2, 13)), 0.0)
"""Conductances across every branch [S] that a stubborn sample is led through: SPICE's gmin
stepping."""


class AbstractProblem:
    """Kirchhoff's equations of a batch of samples, as `iterate` solves them.

    Attributes:
        structure: Their structure.
        system: Their linear part.
        params: Conductances [S] by group name.
        right: Right-hand side [A], `batch free`.
        offsets: w, what the sources add to the drops of the branches [V], `batch branch`.
    """

    structure: Structure
    system: DenseSystem | SparseSystem
    params: Mapping[str, np.ndarray]
    right: np.ndarray
    offsets: np.ndarray

    def load(
        self,
        circuit: Circuit,
        conductances: scipy.sparse.csr_array,
        inputs: np.ndarray,
        currents: np.ndarray,
    ) -> None:
        """Set the right-hand side and the offsets of given inputs [V] and output currents [A]."""
        known = circuit.known_voltages(inputs)
        leaving = (conductances @ known.T).T - circuit.injected_currents(currents)
        leaving = leaving + circuit.supplied_currents(self.params)
        self.right = np.asarray(-circuit.reflection.gather(leaving))
        self.offsets = (self.structure.incidence.T @ known.T).T

    def law(
        self, drops: np.ndarray, samples: np.ndarray, extra: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return currents [A] and slopes [S] of the branches of some samples.

        Args:
            drops: Voltages of the branches [V], a row for each of the samples.
            samples: Which samples these are.
            extra: Conductance across every branch [S].
        """
        raise NotImplementedError


class _Problem(AbstractProblem):
    """The equations of a batch of samples in one phase."""

    def __init__(
        self,
        circuit: Circuit,
        params: Mapping[str, np.ndarray],
        inputs: np.ndarray,
        load: tuple[np.ndarray, float],
        *,
        traced: bool,
    ) -> None:
        """Stamp the resistors and fold the sources.

        Args:
            circuit: The circuit.
            params: Conductances [S] by group name.
            inputs: Source voltages [V].
            load: Currents into the outputs [A], and conductance across each [S].
            traced: Whether this runs in a callback of JAX.
        """
        currents, stiffness = load
        self.structure, self.params = structure_of(circuit), params
        conductances = conductance_matrix(circuit, params, stiffness)
        self.system = system_of(self.structure, conductances, traced=traced)
        self.load(circuit, conductances, inputs, currents)

    def law(
        self, drops: np.ndarray, samples: np.ndarray, extra: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return currents [A] and slopes [S], those of `extra` across every branch included."""
        currents, slopes = self.structure.law(self.params, drops)
        return currents + extra * drops, slopes + extra * self.structure.own


def system_of(
    structure: Structure, conductances: scipy.sparse.csr_array, *, traced: bool
) -> DenseSystem | SparseSystem:
    """Return the system whose factorization is cheaper, of L as it is in `equations`."""
    linear = (structure.reflection.T @ conductances @ structure.selection).tocsr()
    if len(structure.nonlinear) <= DENSE_LIMIT:
        return DenseSystem(structure, linear)
    return SparseSystem(structure, linear, traced=traced)


def iterate(
    problem: AbstractProblem,
    start: np.ndarray,
    samples: np.ndarray,
    *,
    extra: float = 0.0,
    warm: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run Newton on some samples: voltages of the kept nodes [V], arrivals, and steps taken.

    Args:
        problem: The equations.
        start: Voltages of the kept nodes to start from [V].
        samples: Which samples these are.
        extra: Conductance across every branch [S].
        warm: Whether the start is close enough to linearize the branches there.
    """
    system, structure, params = problem.system, problem.structure, problem.params
    right = system.reduce(problem.right[samples])
    offsets = problem.offsets[samples]
    solution = start.copy()
    arrived = np.zeros(len(samples), bool)
    steps = np.zeros(len(samples), int)
    active = np.arange(len(samples))
    drops = system.drops(solution) + offsets
    points = drops if warm else structure.limit(params, drops, np.zeros_like(drops))
    for step in range(1, MAX_STEPS + 1):
        current, slopes = problem.law(points, samples[active], extra)
        current = current + structure.changes(slopes, drops - points)
        excess = system.apply(solution[active]) + system.collect(current) - right[active]
        solution[active] -= system.solve(slopes, excess)
        drops = system.drops(solution[active]) + offsets[active]
        steps[active] = step
        far = np.abs(drops - points).max(axis=1, initial=0.0) > STEP_TOLERANCE
        lost = ~np.isfinite(drops).all(axis=1)
        # The second step refines what the first, from nowhere, lost to rounding.
        going = (far | (step < 2)) & ~lost
        arrived[active[~far & ~lost & (step >= 2)]] = True
        points = structure.limit(params, drops[going], points[going])
        drops, active = drops[going], active[going]
        if not len(active):
            break
    return solution, arrived, steps


def _solve(problem: _Problem, guess: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the voltages of the free nodes [V], NaN where lost, and the steps taken."""
    batch = len(problem.right)
    system = problem.system
    start = np.zeros((batch, len(system.kept)))
    if guess is not None:
        start = np.where(np.isfinite(guess), guess, 0.0)[:, system.kept]
    solution, arrived, steps = iterate(problem, start, np.arange(batch), warm=guess is not None)
    lost = np.flatnonzero(~arrived)
    if len(lost):
        kept = np.zeros((len(lost), len(system.kept)))
        for extra in STEPPING:
            found, arrived, more = iterate(problem, kept, lost, extra=extra, warm=True)
            kept = np.where(arrived[:, None], found, kept)
            steps[lost] += more
        solution[lost] = np.where(arrived[:, None], found, np.nan)
    return system.expand(solution, problem.right), steps


@dataclasses.dataclass(frozen=True, eq=False)
class GeneralPlan(AbstractPlan):
    """Settles circuits of resistors and junctions in numpy; JAX sees a callback.

    Attributes:
        circuit: The circuit.
    """

    circuit: Circuit

    def __post_init__(self) -> None:
        """Refuse ideal diodes, which have no current that follows from their voltage."""
        if has_ideal_diodes(self.circuit):
            raise NetlistError(
                "The general plan solves junctions only, but this circuit has ideal diodes; use "
                'diode = "almost_ideal".'
            )

    def settle(
        self,
        params: Mapping[str, Array],
        inputs: Array,
        phases: Sequence[AbstractPhase | AbstractNudge],
    ) -> list[OperatingPoint]:
        """Find the operating point of every sample in every phase; see `AbstractEngine`."""
        points: list[OperatingPoint] = []
        size = (inputs.shape[0], self.circuit.num_outputs)
        for phase in phases:
            if not isinstance(phase, AbstractPhase):
                phase = phase(self.circuit.outputs(points[0].voltages), slice(None))
            guess = points[0].voltages if points else None
            currents = phase.source_currents(*size)
            parts = self._call(
                self._settle,
                self._point_shapes(size[0]),
                (dict(params), inputs, currents, phase.conductance, guess),
            )
            points.append(OperatingPoint(*parts))
        return points

    def settle_from(
        self,
        params: Mapping[str, Array],
        inputs: Float[np.ndarray, "batch input"],
        starts: Float[np.ndarray, "batch node"],
    ) -> OperatingPoint:
        """Find free operating points by Newton's method from given voltages.

        Where a circuit has several operating points, the start decides which is found.

        Args:
            params: Conductances [S] by group name.
            inputs: Source voltages [V].
            starts: Voltages that the iteration starts from [V]; those of free nodes count.
        """
        currents = np.zeros((len(inputs), self.circuit.num_outputs))
        return OperatingPoint(
            *self._settle(_numpy(dict(params)), inputs, currents, 0.0, starts, traced=False)
        )

    def violation(
        self,
        params: Mapping[str, np.ndarray],
        voltages: Float[np.ndarray, "batch node"],
        injected: Float[np.ndarray, "batch output"],
    ) -> Float[np.ndarray, "batch free"]:
        """Return how far Kirchhoff's law is violated, relative to the currents that meet in a node.

        Args:
            params: Conductances [S] by group name.
            voltages: All node voltages [V].
            injected: Current into each output [A], a spring's included.
        """
        excess, scale = self.circuit.balance(
            params, voltages, injected, voltage_floor=VOLTAGE_FLOOR
        )
        ratio = np.abs(excess) / np.maximum(scale, np.finfo(float).tiny)
        return np.where(np.isnan(ratio), np.inf, ratio)

    def jacobian(
        self, params: Mapping[str, Array], voltages: Float[np.ndarray, " node"]
    ) -> Float[np.ndarray, "free free"]:
        """Return the derivative of Kirchhoff's equations by the free voltages [S], one sample."""
        structure = structure_of(self.circuit)
        arrays = _numpy(dict(params))
        conductances = conductance_matrix(self.circuit, arrays, 0.0)
        slopes = _slopes(structure, arrays, voltages[None])[0]
        linear = structure.reflection.T @ conductances @ structure.selection
        rows, columns = structure.backward[:, structure.rows], structure.forward[structure.columns]
        return (linear + rows * slopes @ columns).toarray()

    def _point_shapes(self, batch: int):
        """Return the shapes of an operating point's arrays."""
        return (
            jax.ShapeDtypeStruct((batch, self.circuit.num_nodes), jnp.float64),
            jax.ShapeDtypeStruct((batch,), jnp.bool_),
            jax.ShapeDtypeStruct((batch,), jnp.float64),
            jax.ShapeDtypeStruct((batch,), jnp.int64),
            jax.ShapeDtypeStruct((batch,), jnp.int64),
        )

    @staticmethod
    def _call(function: Callable, shapes, arguments):
        """Call with numpy arrays: at once, or as a callback while JAX traces."""
        leaves = jax.tree.leaves(arguments)
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return jax.pure_callback(
                lambda *a: function(*_numpy(a), traced=True), shapes, *arguments
            )
        return function(*_numpy(arguments), traced=False)

    def _settle(self, params, inputs, currents, stiffness, guess, *, traced: bool):
        """Settle one phase; returns the fields of an operating point."""
        circuit = self.circuit
        stiffness = float(stiffness)
        # A diverging sample overflows on its way; it ends as not converged.
        # Threads of BLAS lose more in waiting for each other than such small systems gain.
        with np.errstate(over="ignore", invalid="ignore"), threadpool_limits(1, "blas"):
            load = (currents, stiffness)
            problem = _Problem(circuit, params, inputs, load, traced=traced)
            start = None if guess is None else guess[:, circuit.free_nodes]
            free, steps = _solve(problem, start)
            voltages = circuit.node_voltages(free, inputs)
            injected = currents - stiffness * circuit.outputs(voltages)
            worst = self.violation(params, np.asarray(voltages), np.asarray(injected))
        residual = worst.max(axis=1)
        converged: Bool[np.ndarray, " batch"] = residual <= RESIDUAL_TOLERANCE
        return (
            np.where(converged[:, None], voltages, np.nan),
            converged,
            residual,
            circuit.free_nodes[worst.argmax(axis=1)],
            steps,
        )

    def respond(self, params: Mapping[str, Array], voltages: Array, currents: Array) -> Array:
        """Return the small-signal change of all node voltages [V]; see `AbstractEngine`."""
        return self._linear(params, voltages, currents, transposed=False)

    def adjoint(self, params: Mapping[str, Array], voltages: Array, gradient: Array) -> Array:
        """Return the multipliers of all nodes; see `AbstractEngine`."""
        return self._linear(params, voltages, gradient, transposed=True)

    def _linear(self, params, voltages, right, *, transposed: bool):
        """Solve the Jacobian, or its transpose, and expand to all nodes."""

        def solve(params, voltages, right, *, traced: bool):
            structure = structure_of(self.circuit)
            conductances = conductance_matrix(self.circuit, params, 0.0)
            system = system_of(structure, conductances, traced=traced)
            slopes = _slopes(structure, params, voltages)
            injected = np.asarray(self.circuit.injected_currents(right))[:, self.circuit.free_nodes]
            reduced = system.reduce(injected, transposed=transposed)
            kept = system.solve(slopes, reduced, transposed=transposed)
            free = system.expand(kept, injected, transposed=transposed)
            return (self.circuit.reflection if transposed else self.circuit.selection).spread(free)

        shape = jax.ShapeDtypeStruct(voltages.shape, jnp.float64)
        return self._call(solve, shape, (dict(params), voltages, right))


def _slopes(
    structure: Structure,
    params: Mapping[str, np.ndarray],
    voltages: Float[np.ndarray, "batch node"],
) -> Float[np.ndarray, "batch slope"]:
    """Return all slopes of the nonlinear devices at given voltages of all nodes [S]."""
    return structure.law(params, (structure.incidence.T @ voltages.T).T)[1]


def _numpy(tree):
    """Return the tree with numpy arrays for leaves."""
    return jax.tree.map(np.asarray, tree)
