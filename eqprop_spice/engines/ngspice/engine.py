"""The ngspice engine: whole minibatches, all phases, in one sweep of a folded netlist.

Inputs are folded (`folding.py`) and every remaining drive is an external source, so that one `.dc`
sweep of a dummy source visits sample after sample and phase after phase: ngspice sets up and orders
its matrix once, and each point starts from its neighbour's solution. The nudge of a sample is
computed between its free and its nudged point.

Whether a point is an operating point is decided by Kirchhoff's current law, computed here from the
original circuit and not from what ngspice says of itself.
"""

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.ideal_diodes import fitted, has_ideal_diodes, unexplained_currents
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.feed import HeldFeed, SweepFeed, deck_of
from eqprop_spice.engines.ngspice.folding import Folded, fold
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Free, Load
from eqprop_spice.settled import OperatingPoint
from eqprop_spice.spice.session import Session
from eqprop_spice.spice.writer import as_printed, model_cards, number

logger = logging.getLogger(__name__)

SPRING_NODE = "_spring"
"""Names here start with an underscore, which no name of a circuit does."""

RELAXED_OPTIONS = "reltol=1e-6 vntol=1e-9 abstol=1e-12 itl1=1000"
"""Where the tight tolerances oscillate in the last digit, these still end 1e-12 V from the root."""

HOMOTOPY_RESISTANCE = 1e9
"""A shunt to ground at every node [ohm] that makes series diodes solvable; it is taken away again
for the solution that counts."""

LOOSEST = {"reltol": 1e-2, "vntol": 1e-3, "abstol": 1e-6, "residual_tolerance": 1e-2}
"""Bounds of the tolerances: relative, [V], [A], relative."""

VOLTAGE_FLOOR = 1e-4
"""Drop [V] that every device counts with at least when a residual is judged, so that a circuit at
rest has a scale. It depends on no tolerance of the solver: the check must not loosen with what it
checks. With the default `residual_tolerance` it allows an error of 1e-13 V."""

HELD_POINTS = 3
"""Points of the sweep that one phase is held for where the last is to be exact: the first is solved
from its neighbor, the others from a solution and its extrapolation, so that the Newton steps end at
rounding instead of at the tolerance."""


@dataclasses.dataclass(frozen=True)
class NgSpice(AbstractEngine):
    """ngspice as a library, with tolerances far below a nudge.

    Attributes:
        reltol: Relative tolerance of voltages and currents between Newton steps. ngspice's default
            of 1e-3 drowns every nudge; below 1e-11 rounding keeps some points from converging.
        vntol: Absolute tolerance of voltages [V].
        abstol: Absolute tolerance of currents [A].
        residual_tolerance: Largest violation of Kirchhoff's law accepted, relative to the currents
            that meet in a node.
        warm: Whether each point starts from its neighbour's solution, in one sweep. False solves
            every point from scratch, as one `op` after the other.
        readout_digits: Digits of the voltages that are read, as ngspice's `numdgt`; None for all.
            ngspice prints with 6 unless told otherwise: all that a program knows which reads its
            text.
    """

    reltol: float = 1e-10
    vntol: float = 1e-13
    abstol: float = 1e-15
    residual_tolerance: float = 1e-9
    warm: bool = True
    readout_digits: int | None = None

    def __post_init__(self) -> None:
        """Refuse tolerances with which nothing that ngspice returns is a solution."""
        for name, loosest in LOOSEST.items():
            value = getattr(self, name)
            if not 0 < value <= loosest:
                raise ConfigError(
                    f"{name} is {value}; it must be above 0 and at most {loosest:g}, ten times or "
                    "more what ngspice uses by itself. Leave it out for a value far below a nudge."
                )

    def settle(
        self,
        circuit: Circuit,
        params: Mapping[str, Array],
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | AbstractNudge],
    ) -> list[OperatingPoint]:
        """Find the operating point of every sample in every phase; see `AbstractEngine`."""
        return Session.do(
            lambda session: _Solver(self, session, circuit, params, inputs, phases).solve()
        )

    def respond(
        self,
        circuit: Circuit,
        params: Mapping[str, Array],
        inputs: Float[Array, "batch input"],
        voltages: Float[Array, "batch node"],
        currents: Float[Array, "batch output"],
    ) -> Float[Array, "batch node"]:
        """Return the small-signal response, by one `.ac` analysis per sample.

        The circuit holds no reactance, so any frequency gives the response at frequency zero. A
        sample whose response violates the linearised law of Kirchhoff is returned as NaN.
        """
        currents = np.asarray(currents, float)
        free = Session.do(
            lambda session: _Solver(self, session, circuit, params, inputs, [Free()]).small_signal(
                currents
            )
        )
        changes = circuit.selection.spread(free)
        arrays = {name: np.asarray(values) for name, values in params.items()}
        voltages = np.asarray(voltages)
        residual = circuit.linearized_residual(arrays, voltages, changes, currents)
        scale = np.abs(currents).max(1, keepdims=True) + np.finfo(float).tiny
        bad = ~(np.abs(residual) <= SMALL_SIGNAL_TOLERANCE * scale).all(1)
        changes[bad] = np.nan
        return changes

    def adjoint(
        self,
        circuit: Circuit,
        params: Mapping[str, Array],
        inputs: Float[Array, "batch input"],
        voltages: Float[Array, "batch node"],
        output_gradient: Float[Array, "batch output"],
    ) -> Float[Array, "batch node"]:
        """Return the multiplier of every node: linear algebra, the same at any engine's point."""
        return Native().adjoint(circuit, params, inputs, voltages, output_gradient)


SMALL_SIGNAL_TOLERANCE = 1e-6
"""Violation of the linearised Kirchhoff law accepted, relative to the injected current. The
residual is evaluated at the sweep's solution, the .ac at its own, 1e-10 V away; a diode's
conductance changes by 1e-10 V / 0.05 V between them."""


@functools.lru_cache(maxsize=16)
def _native_solver(circuit: Circuit):
    """Return the native engine's solution of single points, compiled once per circuit."""

    def solve(params, inputs, currents, conductance):
        return Native().settle(circuit, params, inputs, [Load(currents, conductance)])[0].voltages

    return jax.jit(solve) if Native().traceable else solve


class _Solver:
    """One call of the engine: a circuit with its conductances, a batch, and its phases."""

    def __init__(
        self,
        engine: NgSpice,
        session: Session,
        circuit: Circuit,
        params: Mapping[str, Array],
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | AbstractNudge],
    ) -> None:
        circuit.check_parameters(params)
        circuit.check_inputs(inputs)
        self.engine, self.circuit, self.phases = engine, circuit, phases
        self.params = {name: np.asarray(values) for name, values in params.items()}
        self.inputs = np.asarray(inputs, float)
        self.session = session
        self.deck = deck_of(fitted(circuit, self.params))
        self.folded: Folded = fold(circuit, self.params, self.inputs)
        self.conductances = np.array(
            [p.conductance if isinstance(p, AbstractPhase) else 0.0 for p in phases]
        )
        if self.conductances.any():
            columns = self.deck.columns | {b"v_spring": len(self.deck.columns)}
            self.deck = dataclasses.replace(self.deck, columns=columns)
        self.rows = self._base_rows().tolist()

    def _base_rows(self) -> Float[np.ndarray, "sample drive"]:
        """Return the external values of every sample without a nudge."""
        rows = np.zeros((len(self.inputs), self.deck.width))
        rows[:, : len(self.deck.drives)] = self.folded.currents[:, self.deck.drives]
        held = self.circuit.fixed_voltages(self.inputs)
        for i, node in enumerate(self.circuit.fixed_nodes.tolist()):
            column = self.deck.columns.get(f"v_held_{node}".encode())
            if column is not None:
                rows[:, column] = held[:, i]
        return rows

    def _lines(self, options: str, *extra: str) -> list[str]:
        """Return the folded netlist."""
        circuit, names = self.circuit, self.circuit.node_names
        lines = [
            "* eqprop_spice folded",
            f".options {options} gmin=1e-12",
            "v_index _index 0 0",
            f".save {' '.join(f'v({names[n]})' for n in circuit.free_nodes)}",
            *model_cards(circuit),
            *self.deck.static_lines,
        ]
        conductance = self.folded.conductance
        lines += [
            f"rfold_{n} {names[n]} 0 {number(1.0 / conductance[n])}"
            for n in np.flatnonzero(conductance)
        ]
        lines += [
            f"r{i} {names[a]} {names[b]} {1.0 / g!r}"
            for i, (a, b, g) in enumerate(self.folded.branches)
        ]
        if b"v_spring" in self.deck.columns:
            lines.append(f"v_spring {SPRING_NODE} 0 external")
            for k, (plus, minus) in enumerate(circuit.output_nodes):
                p, m = names[plus], names[minus]
                drop = f"v({p})" if minus == GROUND else f"(v({p})-v({m}))"
                lines.append(f"bspring_{k} {p} {m} i=v({SPRING_NODE})*{drop}")
        return [*lines, *extra, ".end"]

    @property
    def _tight_options(self) -> str:
        e = self.engine
        return f"reltol={e.reltol!r} vntol={e.vntol!r} abstol={e.abstol!r} itl2=200"

    def solve(self) -> list[OperatingPoint]:
        """Sweep all samples; then climb the fallback ladder with those that failed."""
        num_samples, num_phases = len(self.inputs), len(self.phases)
        shape = (num_samples, num_phases)
        free = np.full((*shape, len(self.circuit.free_nodes)), np.nan)
        injected = np.zeros((*shape, self.circuit.num_outputs))
        self.session.load(self._lines(self._tight_options))
        pending = list(range(num_samples)) if self.engine.warm else []
        while pending:
            pending = pending[self._sweep(pending, free, injected) :]
        everything = np.arange(num_samples)
        voltages, residual, worst, converged = self._verify(everything, free, injected)
        failed = np.flatnonzero(~converged.all(1))
        for sample in failed.tolist():
            self._climb(sample, free, injected)
        if len(failed):
            again = self._verify(failed, free[failed], injected[failed])
            voltages[failed], residual[failed], worst[failed], converged[failed] = again
        voltages[~converged] = np.nan
        if self.engine.readout_digits is not None:
            voltages = as_printed(voltages, self.engine.readout_digits)
        steps = np.zeros(num_samples, int)
        return [
            OperatingPoint(voltages[:, p], converged[:, p], residual[:, p], worst[:, p], steps)
            for p in range(num_phases)
        ]

    def _sweep(self, samples: list[int], free: np.ndarray, injected: np.ndarray) -> int:
        """Sweep samples until the end or the first that fails; return how many are dealt with."""
        num_phases = len(self.phases)
        feed = self._feed(samples)
        num_points = len(samples) * num_phases
        self.session.run(f"dc v_index 0 {num_points - 1} 1", feed)
        done = min(feed.num_points, num_points) // num_phases
        if done:
            values = self._read(done * num_phases, at_least=True)
            if values is None:
                done = 0
            else:
                which = samples[:done]
                free[which] = values.reshape(done, num_phases, -1)
                applied = np.array(feed.applied[: done * num_phases])
                injected[which] = applied.reshape(done, num_phases, -1)
        self.session.command("destroy all")
        return min(done + 1, len(samples)) if done < len(samples) else done

    def _feed(self, samples: list[int]) -> SweepFeed:
        return SweepFeed(
            self.deck,
            self.rows,
            samples,
            self.phases,
            self.session,
            readout_digits=self.engine.readout_digits,
        )

    def _read_outputs(self, voltages: np.ndarray) -> np.ndarray:
        """Return the outputs of one point [V], as a nudge is computed from them."""
        digits = self.engine.readout_digits
        read = voltages if digits is None else as_printed(voltages, digits)
        return np.asarray(self.circuit.outputs(read))[0]

    def _read(self, num_points: int, *, at_least: bool = False) -> np.ndarray | None:
        """Return the free nodes' voltages, `point free`; None if ngspice has not that many."""
        vectors = []
        for node in self.circuit.free_nodes:
            vector = self.session.vector(self.circuit.node_names[node])
            if vector is None or (
                len(vector) < num_points if at_least else len(vector) != num_points
            ):
                return None
            vectors.append(vector[:num_points])
        return np.stack(vectors, axis=1)

    def _verify(self, samples: np.ndarray, free: np.ndarray, injected: np.ndarray):
        """Return voltages, relative residual, its node, and whether Kirchhoff's law holds.

        The first two axes of all arguments and results are `sample phase`.
        """
        shape = free.shape[:2]
        inputs = np.repeat(self.inputs[samples], shape[1], axis=0)
        finite = np.isfinite(free).all(-1).ravel()
        flat = np.where(finite[:, None], free.reshape(len(finite), -1), 0.0)
        voltages = np.asarray(self.circuit.node_voltages(flat, inputs))
        spring = np.tile(self.conductances, shape[0])[:, None] * self.circuit.outputs(voltages)
        total = injected.reshape(len(finite), -1) - spring
        with np.errstate(over="ignore", invalid="ignore"):
            residual = np.asarray(self.circuit.residual(self.params, voltages, total))
            if has_ideal_diodes(self.circuit):
                residual = unexplained_currents(self.circuit, voltages, residual)
            residual = np.abs(residual)
            scale = self.circuit.current_scale(
                self.params, voltages, total, voltage_floor=VOLTAGE_FLOOR
            )
            relative = residual / (scale + np.finfo(float).tiny)
        worst = self.circuit.free_nodes[relative.argmax(1)]
        largest = np.where(finite, relative.max(1), np.inf)
        converged = largest <= self.engine.residual_tolerance
        return (
            voltages.reshape(*shape, -1),
            largest.reshape(shape),
            worst.reshape(shape),
            converged.reshape(shape),
        )

    def _climb(self, sample: int, free: np.ndarray, injected: np.ndarray) -> None:
        """Solve one sample cold, with looser steps, then from ever better starts."""
        alone = np.array([sample])
        for solve_point in (self._cold, self._relaxed, self._from_shunted, self._from_native):
            feed = self._feed([sample])
            free[sample] = np.nan
            for p in range(len(self.phases)):
                injected[sample, p] = feed.applied[p]
                values = solve_point(feed.row, sample, p, injected[sample, p])
                if values is None:
                    break
                free[sample, p] = values
                voltages = np.asarray(self.circuit.node_voltages(values[None], self.inputs[alone]))
                feed.accept(self._read_outputs(voltages) if p == 0 else None)
            if self._verify(alone, free[alone], injected[alone])[3].all():
                return
        logger.warning(
            "Sample %d did not converge; ngspice said: %s",
            sample,
            " | ".join(self.session.messages()[-4:]),
        )

    def _cold(self, row: list[float], *_: object) -> np.ndarray | None:
        return self._operating_point(self._lines(self._tight_options), row)

    def _relaxed(self, row: list[float], *_: object) -> np.ndarray | None:
        return self._operating_point(self._lines(RELAXED_OPTIONS), row)

    def _from_shunted(self, row: list[float], *_: object) -> np.ndarray | None:
        """Start from the solution of the circuit with a large resistor at every node."""
        shunted = f"{RELAXED_OPTIONS} rshunt={HOMOTOPY_RESISTANCE!r}"
        start = self._operating_point(self._lines(shunted), row)
        return None if start is None else self._started(row, start)

    def _from_native(
        self, row: list[float], sample: int, which: int, currents: np.ndarray
    ) -> np.ndarray | None:
        """Start from the native engine's solution; what counts is still ngspice's."""
        inputs = self.inputs[sample : sample + 1]
        try:
            Native().check_circuit(self.circuit)
        except NetlistError:
            return None
        solve = _native_solver(self.circuit)
        voltages = solve(self.params, inputs, currents[None], self.conductances[which])
        start = np.asarray(voltages)[0, self.circuit.free_nodes]
        return self._started(row, start) if np.isfinite(start).all() else None

    def _started(self, row: list[float], start: np.ndarray) -> np.ndarray | None:
        """Solve one point from given voltages of the free nodes."""
        names = [self.circuit.node_names[n] for n in self.circuit.free_nodes]
        guesses = [f".nodeset v({n})={number(v)}" for n, v in zip(names, start, strict=True)]
        return self._operating_point(self._lines(RELAXED_OPTIONS, *guesses), row)

    def _operating_point(self, lines: list[str], row: list[float]) -> np.ndarray | None:
        """Solve one point from scratch; None where ngspice gives up."""
        self.session.load(lines)
        self.session.run("op", HeldFeed(self.deck.columns, row))
        values = self._read(1)
        return None if values is None else values[0]

    def small_signal(self, currents: Float[np.ndarray, "batch output"]) -> np.ndarray:
        """Return the response of the free nodes, `batch free`; NaN where there is none."""
        circuit, names = self.circuit, self.circuit.node_names
        sources = [
            f"iac_{k} {names[minus]} {names[plus]} dc 0 ac 0"
            for k, (plus, minus) in enumerate(circuit.output_nodes)
        ]
        self.session.load(self._lines(self._tight_options, *sources))
        result = np.full((len(currents), len(circuit.free_nodes)), np.nan)
        for sample, row in enumerate(self.rows):
            for k, current in enumerate(currents[sample].tolist()):
                self.session.command(f"alter iac_{k} acmag = {current!r}")
            self.session.run("ac lin 1 1 1", HeldFeed(self.deck.columns, row))
            vectors = [self.session.complex_vector(names[n]) for n in circuit.free_nodes]
            if all(vector is not None for vector in vectors):
                result[sample] = [vector[0].real for vector in vectors if vector is not None]
            self.session.command("destroy all")
        return result
