"""One call of the engine: a folded netlist in ngspice, what it is asked and what it answers.

Whether a point is an operating point is decided by Kirchhoff's current law, computed here from the
original circuit and not from what ngspice says of itself.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from eqprop_spice.circuits.ideal_diodes import has_ideal_diodes, unexplained_currents
from eqprop_spice.engines.ngspice.feed import HeldFeed, SweepFeed
from eqprop_spice.engines.ngspice.netlist import FoldedNetlist
from eqprop_spice.spice.session import Session
from eqprop_spice.spice.writer import as_printed

VOLTAGE_FLOOR = 1e-4
"""Drop [V] that every device counts with at least when a residual is judged, so that a circuit at
rest has a scale. It depends on no tolerance of the solver: the check must not loosen with what it
checks. With the default `residual_tolerance` it allows an error of 1e-13 V."""


@dataclasses.dataclass
class Points:
    """What is known of some samples in all phases; the first two axes are `sample phase`.

    Attributes:
        free: Voltages of the free nodes [V]; NaN where there are none.
        injected: Current into every output [A], without that of a spring.
    """

    free: Float[np.ndarray, "sample phase free"]
    injected: Float[np.ndarray, "sample phase output"]

    def of(self, samples: Int[np.ndarray, " some"]) -> "Points":
        """Return those of some samples."""
        return Points(self.free[samples], self.injected[samples])


@dataclasses.dataclass
class Judged:
    """What Kirchhoff's law says of points; the first two axes are `sample phase`.

    Attributes:
        voltages: All node voltages [V].
        residual: Largest violation, relative to the currents that meet in the node.
        worst: The node of it.
        converged: Whether that is little enough.
    """

    voltages: Float[np.ndarray, "sample phase node"]
    residual: Float[np.ndarray, "sample phase"]
    worst: Int[np.ndarray, "sample phase"]
    converged: Bool[np.ndarray, "sample phase"]

    def replace(self, samples: Int[np.ndarray, " some"], again: "Judged") -> None:
        """Put what was judged again in the place of what was."""
        for field in dataclasses.fields(self):
            getattr(self, field.name)[samples] = getattr(again, field.name)


@dataclasses.dataclass(frozen=True)
class Simulation:
    """A netlist before ngspice.

    Attributes:
        session: ngspice.
        netlist: The netlist of a batch.
        options: ngspice's options for the tolerances of a sweep.
        residual_tolerance: Largest violation of Kirchhoff's law accepted.
        readout_digits: Digits of the voltages that are read; None for all.
    """

    session: Session
    netlist: FoldedNetlist
    options: str
    residual_tolerance: float
    readout_digits: int | None

    def feed(self, samples: Sequence[int]) -> SweepFeed:
        """Return what gives some samples their external values, phase after phase."""
        netlist = self.netlist
        return SweepFeed(
            netlist.deck,
            netlist.rows,
            samples,
            netlist.phases,
            self.session,
            readout_digits=self.readout_digits,
        )

    def read(self, num_points: int, *, at_least: bool = False) -> np.ndarray | None:
        """Return the free nodes' voltages, `point free`; None if ngspice has not that many."""
        circuit, vectors = self.netlist.circuit, []
        for node in circuit.free_nodes:
            vector = self.session.vector(circuit.node_names[node])
            if vector is None or (
                len(vector) < num_points if at_least else len(vector) != num_points
            ):
                return None
            vectors.append(vector[:num_points])
        return np.stack(vectors, axis=1)

    def operating_point(
        self, options: str, row: list[float], *extra: str
    ) -> Float[np.ndarray, " free"] | None:
        """Solve one point from scratch; None where ngspice gives up."""
        self.session.load(self.netlist.lines(options, *extra))
        self.session.run("op", HeldFeed(self.netlist.deck.columns, row))
        values = self.read(1)
        return None if values is None else values[0]

    def outputs(self, sample: int, free: Float[np.ndarray, " free"]) -> np.ndarray:
        """Return the outputs of one point [V], as a nudge is computed from them."""
        circuit, digits = self.netlist.circuit, self.readout_digits
        voltages = np.asarray(circuit.node_voltages(free[None], self.netlist.inputs[[sample]]))
        return np.asarray(
            circuit.outputs(voltages if digits is None else as_printed(voltages, digits))
        )[0]

    def judge(self, samples: Int[np.ndarray, " some"], points: Points) -> Judged:
        """Say whether Kirchhoff's law holds at the points of some samples."""
        netlist, circuit = self.netlist, self.netlist.circuit
        shape = points.free.shape[:2]
        inputs = np.repeat(netlist.inputs[samples], shape[1], axis=0)
        finite = np.isfinite(points.free).all(-1).ravel()
        flat = np.where(finite[:, None], points.free.reshape(len(finite), -1), 0.0)
        voltages = np.asarray(circuit.node_voltages(flat, inputs))
        spring = np.tile(netlist.conductances, shape[0])[:, None] * circuit.outputs(voltages)
        total = points.injected.reshape(len(finite), -1) - spring
        with np.errstate(over="ignore", invalid="ignore"):
            excess, scale = circuit.balance(
                netlist.params, voltages, total, voltage_floor=VOLTAGE_FLOOR
            )
            if has_ideal_diodes(circuit):
                excess = unexplained_currents(circuit, voltages, np.asarray(excess))
            relative = np.abs(excess) / (scale + np.finfo(float).tiny)
        worst = circuit.free_nodes[relative.argmax(1)]
        largest = np.where(finite, relative.max(1), np.inf)
        return Judged(
            voltages.reshape(*shape, -1),
            largest.reshape(shape),
            worst.reshape(shape),
            (largest <= self.residual_tolerance).reshape(shape),
        )
