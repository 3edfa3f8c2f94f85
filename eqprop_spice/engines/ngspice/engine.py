"""The ngspice engine: whole minibatches, all phases, in one sweep of a folded netlist.

Inputs are folded (`folding.py`) and every remaining drive is an external source, so that one `.dc`
sweep of a dummy source visits sample after sample and phase after phase: ngspice sets up and orders
its matrix once, and each point starts from its neighbour's solution. The nudge of a sample is
computed between its free and its nudged point.

Samples that fail climb a ladder of other ways (`ladder.py`). Whether a point is an operating point
is decided by Kirchhoff's law (`simulation.py`), not by what ngspice says of itself.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.feed import HeldFeed
from eqprop_spice.engines.ngspice.ladder import climb
from eqprop_spice.engines.ngspice.netlist import FoldedNetlist
from eqprop_spice.engines.ngspice.simulation import Judged, Points, Simulation
from eqprop_spice.engines.uniqueness import remark_on_several
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Free
from eqprop_spice.settled import OperatingPoint
from eqprop_spice.spice.session import Session
from eqprop_spice.spice.writer import as_printed

LOOSEST = {"reltol": 1e-2, "vntol": 1e-3, "abstol": 1e-6, "residual_tolerance": 1e-2}
"""Bounds of the tolerances: relative, [V], [A], relative."""

HELD_POINTS = 3
"""Points of the sweep that one phase is held for where the last is to be exact: the first is solved
from its neighbor, the others from a solution and its extrapolation, so that the Newton steps end at
rounding instead of at the tolerance."""


SMALL_SIGNAL_TOLERANCE = 1e-6
"""Violation of the linearised Kirchhoff law accepted, relative to the injected current. The
residual is evaluated at the sweep's solution, the .ac at its own, 1e-10 V away; a diode's
conductance changes by 1e-10 V / 0.05 V between them."""


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
        start: Float[Array, "batch node"] | None = None,
    ) -> list[OperatingPoint]:
        """Find the operating point of every sample in every phase; see `AbstractEngine`."""
        netlist = FoldedNetlist(circuit, params, inputs, phases)
        remark_on_several(circuit, netlist.params)
        points, judged = Session.do(
            lambda session: _solve(self._simulation(session, netlist), warm=self.warm)
        )
        voltages = judged.voltages
        voltages[~judged.converged] = np.nan
        if self.readout_digits is not None:
            voltages = as_printed(voltages, self.readout_digits)
        steps = np.zeros(len(points.free), int)
        residual, worst, converged = judged.residual, judged.worst, judged.converged
        return [
            OperatingPoint(voltages[:, p], converged[:, p], residual[:, p], worst[:, p], steps)
            for p in range(len(phases))
        ]

    def _simulation(self, session: Session, netlist: FoldedNetlist) -> Simulation:
        """Return a netlist before ngspice, with the tolerances of this engine."""
        options = f"reltol={self.reltol!r} vntol={self.vntol!r} abstol={self.abstol!r} itl2=200"
        return Simulation(session, netlist, options, self.residual_tolerance, self.readout_digits)

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
        netlist = FoldedNetlist(circuit, params, inputs, [Free()])
        free = Session.do(
            lambda session: _small_signal(self._simulation(session, netlist), currents)
        )
        changes = circuit.selection.spread(free)
        voltages = np.asarray(voltages)
        residual = circuit.linearized_residual(netlist.params, voltages, changes, currents)
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


def _solve(simulation: Simulation, *, warm: bool) -> tuple[Points, Judged]:
    """Sweep all samples; then climb the ladder with those that failed."""
    netlist = simulation.netlist
    shape, circuit = (len(netlist.inputs), len(netlist.phases)), netlist.circuit
    points = Points(
        np.full((*shape, len(circuit.free_nodes)), np.nan),
        np.zeros((*shape, circuit.num_outputs)),
    )
    simulation.session.load(netlist.lines(simulation.options))
    pending = list(range(shape[0])) if warm else []
    while pending:
        pending = pending[_sweep(simulation, pending, points) :]
    judged = simulation.judge(np.arange(shape[0]), points)
    failed = np.flatnonzero(~judged.converged.all(1))
    for sample in failed.tolist():
        climb(simulation, sample, points)
    if len(failed):
        judged.replace(failed, simulation.judge(failed, points.of(failed)))
    return points, judged


def _sweep(simulation: Simulation, samples: list[int], points: Points) -> int:
    """Sweep samples until the end or the first that fails; return how many are dealt with."""
    num_phases = len(simulation.netlist.phases)
    feed, num_points = simulation.feed(samples), len(samples) * num_phases
    simulation.session.run(f"dc v_index 0 {num_points - 1} 1", feed)
    done = min(feed.num_points, num_points) // num_phases
    values = simulation.read(done * num_phases, at_least=True) if done else None
    if values is None:
        done = 0
    else:
        which, shape = samples[:done], (done, num_phases, -1)
        points.free[which] = values.reshape(shape)
        points.injected[which] = np.array(feed.applied[: done * num_phases]).reshape(shape)
    simulation.session.command("destroy all")
    return min(done + 1, len(samples))


def _small_signal(
    simulation: Simulation, currents: Float[np.ndarray, "batch output"]
) -> Float[np.ndarray, "batch free"]:
    """Return the response of the free nodes; NaN where there is none."""
    session, netlist = simulation.session, simulation.netlist
    circuit, names = netlist.circuit, netlist.circuit.node_names
    sources = [
        f"iac_{k} {names[minus]} {names[plus]} dc 0 ac 0"
        for k, (plus, minus) in enumerate(circuit.output_nodes)
    ]
    session.load(netlist.lines(simulation.options, *sources))
    result = np.full((len(currents), len(circuit.free_nodes)), np.nan)
    for sample, row in enumerate(netlist.rows):
        for k, current in enumerate(currents[sample].tolist()):
            session.command(f"alter iac_{k} acmag = {current!r}")
        session.run("ac lin 1 1 1", HeldFeed(netlist.deck.columns, row))
        vectors = [session.complex_vector(names[n]) for n in circuit.free_nodes]
        if all(vector is not None for vector in vectors):
            result[sample] = [vector[0].real for vector in vectors if vector is not None]
        session.command("destroy all")
    return result
