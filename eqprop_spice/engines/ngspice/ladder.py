"""The fallback ladder: one sample after the other, with looser steps and from better starts."""

import functools
import logging
from collections.abc import Callable
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Float

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.simulation import Points, Simulation
from eqprop_spice.errors import NetlistError
from eqprop_spice.phases import Load
from eqprop_spice.spice.writer import number

logger = logging.getLogger(__name__)

RELAXED_OPTIONS = "reltol=1e-6 vntol=1e-9 abstol=1e-12 itl1=1000"
"""Where the tight tolerances oscillate in the last digit, these still end 1e-12 V from the root."""

HOMOTOPY_RESISTANCE = 1e9
"""A shunt to ground at every node [ohm] that makes series diodes solvable; it is taken away again
for the solution that counts."""

Solution: TypeAlias = Float[np.ndarray, " free"] | None
Rung: TypeAlias = Callable[[Simulation, list[float], int, int, np.ndarray], Solution]
"""Solves one point: external values, sample, phase, and the currents into the outputs [A]."""


def climb(simulation: Simulation, sample: int, points: Points) -> None:
    """Solve one sample, rung after rung, until Kirchhoff's law holds in all phases."""
    alone = np.array([sample])
    for rung in RUNGS:
        feed = simulation.feed([sample])
        points.free[sample] = np.nan
        for phase in range(len(simulation.netlist.phases)):
            points.injected[sample, phase] = feed.applied[phase]
            found = rung(simulation, feed.row, sample, phase, points.injected[sample, phase])
            if found is None:
                break
            points.free[sample, phase] = found
            feed.accept(simulation.outputs(sample, found) if phase == 0 else None)
        if simulation.judge(alone, points.of(alone)).converged.all():
            return
    said = " | ".join(simulation.session.messages()[-4:])
    logger.warning("Sample %d did not converge; ngspice said: %s", sample, said)


def cold(simulation: Simulation, row: list[float], *_: object) -> Solution:
    """Start from nothing."""
    return simulation.operating_point(simulation.options, row)


def relaxed(simulation: Simulation, row: list[float], *_: object) -> Solution:
    """Ask for less between two steps of Newton's method."""
    return simulation.operating_point(RELAXED_OPTIONS, row)


def from_shunted(simulation: Simulation, row: list[float], *_: object) -> Solution:
    """Start from the solution of the circuit with a large resistor at every node."""
    shunted = f"{RELAXED_OPTIONS} rshunt={HOMOTOPY_RESISTANCE!r}"
    start = simulation.operating_point(shunted, row)
    return None if start is None else _started(simulation, row, start)


def from_native(
    simulation: Simulation, row: list[float], sample: int, phase: int, currents: np.ndarray
) -> Solution:
    """Start from the native engine's solution; what counts is still ngspice's."""
    netlist = simulation.netlist
    try:
        Native().check_circuit(netlist.circuit)
    except NetlistError:
        return None
    solve = _native_solver(netlist.circuit)
    inputs, spring = netlist.inputs[[sample]], netlist.conductances[phase]
    voltages = solve(netlist.params, inputs, currents[None], spring)
    start = np.asarray(voltages)[0, netlist.circuit.free_nodes]
    return _started(simulation, row, start) if np.isfinite(start).all() else None


RUNGS: list[Rung] = [cold, relaxed, from_shunted, from_native]


def _started(simulation: Simulation, row: list[float], start: np.ndarray) -> Solution:
    """Solve one point from given voltages of the free nodes."""
    circuit = simulation.netlist.circuit
    names = [circuit.node_names[n] for n in circuit.free_nodes]
    guesses = [f".nodeset v({n})={number(v)}" for n, v in zip(names, start, strict=True)]
    return simulation.operating_point(RELAXED_OPTIONS, row, *guesses)


@functools.lru_cache(maxsize=16)
def _native_solver(circuit: Circuit):
    """Return the native engine's solution of single points, compiled once per circuit."""

    def solve(params, inputs, currents, conductance):
        return Native().settle(circuit, params, inputs, [Load(currents, conductance)])[0].voltages

    return jax.jit(solve) if Native().traceable else solve
