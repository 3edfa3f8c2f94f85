r"""Noisy circuits as netlists, and what ngspice measures of them.

A white current of a given density is the noise of a resistor elsewhere, read by a
transconductance: $g_m^2 \cdot 4kTR$ one-sided. In `.tran` it is a `trnoise` source, normal numbers
on a grid of times with straight lines between them.
"""

import dataclasses
import itertools
import math

import numpy as np
from jaxtyping import Float

from eqprop_spice.constants import BOLTZMANN, TEMPERATURE
from eqprop_spice.errors import NetlistError
from eqprop_spice.phases import AbstractPhase
from eqprop_spice.spice.session import Session
from eqprop_spice.spice.writer import number

OPTIONS = ".options reltol=1e-9 vntol=1e-15 abstol=1e-18 gmin=1e-15 temp=27"

REFERENCE = 1e3
"""Resistance that makes the noise [ohm]."""

POINTS_PER_DECADE, LOWEST, HIGHEST = 200, 1.0, 1e17
"""Frequencies of a noise analysis [Hz]: from far below to far above what circuits here do."""


@dataclasses.dataclass(frozen=True)
class NoisyCircuit:
    """Resistors between nodes, with noise.

    Attributes:
        nodes: Number of nodes, the outputs last.
        edges: Pairs of nodes with a resistor.
        conductances: Conductances [S] "input", "coupling" and "ground".
        num_outputs: Number of outputs.
        temperature: Temperature of the voltages [W], which white currents at the nodes make; or
            None for the Johnson noise of the resistors themselves, at 27 degC.
        capacitance: Capacitance of every node [F].
    """

    nodes: int
    edges: tuple[tuple[int, int], ...]
    conductances: dict[str, np.ndarray]
    num_outputs: int
    temperature: float | None
    capacitance: float


def noisy_netlist(
    circuit: NoisyCircuit, inputs: Float[np.ndarray, " input"], phase: AbstractPhase, *, title: str
) -> str:
    """Return the netlist of one sample in a phase, with `.op`.

    Args:
        circuit: The circuit.
        inputs: Voltages of the inputs [V].
        phase: What is attached to the outputs, for one sample.
        title: First line.
    """
    noisy = f"noisy={int(circuit.temperature is None)}"
    lines = [f"* {title}", OPTIONS, "vprobe probe 0 dc 0 ac 1", "rprobe probe 0 1k noisy=0"]
    lines += [f"vx{i} x{i} 0 {number(float(x))}" for i, x in enumerate(inputs)]

    def resistor(name: str, one: str, other: str, conductance: float) -> str:
        return f"r{name} {one} {other} {number(1.0 / conductance)} {noisy}"

    values = circuit.conductances
    for (i, k), value in np.ndenumerate(values["input"]):
        lines.append(resistor(f"i{i}_{k}", f"x{i}", f"n{k}", float(value)))
    for e, (a, b) in enumerate(circuit.edges):
        lines.append(resistor(f"c{e}", f"n{a}", f"n{b}", float(values["coupling"][e])))
    for k in range(circuit.nodes):
        lines.append(resistor(f"g{k}", f"n{k}", "0", float(values["ground"][k])))
        lines.append(f"c{k} n{k} 0 {number(circuit.capacitance)}")
        if circuit.temperature is not None:
            density = 4.0 * circuit.capacitance * circuit.temperature
            gain = math.sqrt(density / (4.0 * BOLTZMANN * TEMPERATURE * REFERENCE))
            lines.append(f"rn{k} z{k} 0 {number(REFERENCE)}")
            lines.append(f"gn{k} 0 n{k} z{k} 0 {number(gain)}")
    forces = np.asarray(phase.source_currents(1, circuit.num_outputs))[0]
    for o, force in enumerate(forces):
        node = circuit.nodes - circuit.num_outputs + o
        lines.append(f"if{o} 0 n{node} {number(float(force))}")
        if phase.conductance:
            lines.append(resistor(f"b{o}", f"n{node}", "0", float(phase.conductance)))
    return "\n".join([*lines, ".op", ".end", ""])


def measured_moments(
    circuit: NoisyCircuit, inputs: Float[np.ndarray, "batch input"], phase: AbstractPhase
) -> tuple[Float[np.ndarray, "batch node"], Float[np.ndarray, "batch node other"]]:
    """Return means by `.op` and covariances by `.noise` of ngspice, all nodes and pairs of nodes.

    The circuit is linear, so that all samples have the same covariances.
    """
    forces = np.broadcast_to(
        np.asarray(phase.source_currents(len(inputs), circuit.num_outputs)),
        (len(inputs), circuit.num_outputs),
    )
    means = []
    for x, force in zip(inputs, forces, strict=True):
        load = _OneSample(force, phase.conductance)
        text = noisy_netlist(circuit, x, load, title="noisy circuit")
        means.append(Session.do(lambda s, t=text: _operating_point(s, t, circuit.nodes)))
    text = noisy_netlist(
        circuit, inputs[0], _OneSample(forces[0], phase.conductance), title="noise"
    )
    covariance = Session.do(lambda s: _covariance(s, text, circuit.nodes))
    return np.array(means), np.broadcast_to(covariance, (len(inputs), *covariance.shape)).copy()


@dataclasses.dataclass(frozen=True, eq=False)
class _OneSample(AbstractPhase):
    """The load of one sample."""

    force: np.ndarray
    stiffness: object

    def source_currents(self, batch_size: int, num_outputs: int) -> np.ndarray:
        return self.force[None]

    @property
    def conductance(self) -> float:
        return float(np.asarray(self.stiffness))


def _operating_point(session: Session, text: str, count: int) -> np.ndarray:
    session.load(text.splitlines())
    session.command("op")
    found = [session.vector(f"n{k}") for k in range(count)]
    session.unload()
    return np.array([_last(v, "an operating point") for v in found])


def _covariance(session: Session, text: str, count: int) -> np.ndarray:
    """Return covariances from the noise of voltages and of their differences."""
    session.load(text.splitlines())
    variances = {}
    sweep = f"vprobe dec {POINTS_PER_DECADE} {LOWEST:g} {HIGHEST:g}"
    for pair in itertools.combinations_with_replacement(range(count), 2):
        one, other = pair
        drop = f"v(n{one})" if one == other else f"v(n{one},n{other})"
        session.command(f"noise {drop} {sweep}")
        variances[pair] = _last(session.vector("onoise_total"), f"the noise of {drop}") ** 2
    session.unload()
    matrix = np.zeros((count, count))
    for (one, other), variance in variances.items():
        if one == other:
            matrix[one, one] = variance
            continue
        value = 0.5 * (variances[one, one] + variances[other, other] - variance)
        matrix[one, other] = matrix[other, one] = value
    return matrix


def _last(vector: np.ndarray | None, what: str) -> float:
    if vector is None:
        raise NetlistError(f"ngspice did not return {what}.")
    return float(vector[-1])
