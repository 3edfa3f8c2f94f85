"""Circuits in motion as netlists: what drives them over time, for ngspice's `.tran`."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.drives import Segment
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.errors import NetlistError
from eqprop_spice.phases import AbstractPhase
from eqprop_spice.spice.writer import amplifier_cards, instances, model_cards, number

TRANSIENT_OPTIONS = ".options reltol=1e-7 vntol=1e-10 abstol=1e-13 chgtol=1e-20 trtol=1 gmin=1e-12"
"""Tolerances below a nudge; with its own, ngspice errs by millivolts while a circuit settles."""

JUMP = 1e-3
"""How long a jump takes, relative to ngspice's largest step: a source of SPICE has to ramp, and
ngspice takes corners for one that are closer than 5e-5 of it. The ramp lies around the jump, so
that its effect is of the square."""

POINTS = 2000
"""Points that ngspice takes at least: between them, its file is read by interpolation."""

FILE = "transient.txt"
"""What the netlist writes: the time, then a column per node."""


def transient_netlist(
    circuit: Circuit,
    params: Mapping[str, Array],
    segments: Sequence[Segment],
    *,
    sample: int = 0,
    points: int = POINTS,
) -> str:
    """Return the netlist of one sample of a transient that starts at an operating point.

    `ngspice -b` writes the voltages of the free nodes over time to the file `transient.txt`. States
    of devices start as they are in the circuit.

    Args:
        circuit: The circuit.
        params: Conductances [S] by group name.
        segments: What drives it; `Trajectory.segments` are those of a transient.
        sample: Which row of their inputs.
        points: Points to take at least.

    Raises:
        NetlistError: If inputs are functions, a phase is a nudge whose currents are not known yet,
            or a conductance or an input is not usable.
    """
    circuit.check_parameters(params)
    for segment in segments:
        if not isinstance(segment.inputs, np.ndarray):
            raise NetlistError(
                "A netlist's sources follow no Python function; give segments of constant inputs."
            )
        circuit.check_inputs(segment.inputs)
    ends = np.cumsum([segment.duration for segment in segments])
    names = [circuit.node_names[n] for n in circuit.free_nodes]
    step = float(ends[-1]) / points
    ramp = JUMP * step
    lines = [
        "* eqprop_spice transient",
        TRANSIENT_OPTIONS,
        *model_cards(circuit),
        *_sources(circuit, segments, (ends, ramp), sample),
        *_devices(circuit, params),
        *amplifier_cards(circuit),
        *_loads(circuit, segments, (ends, ramp), sample),
        f".save {' '.join(f'v({name})' for name in names)}",
        ".control",
        "set wr_singlescale",
        "set numdgt=16",
        f"tran {number(step)} {number(ends[-1])} 0 {number(step)}",
        f"wrdata {FILE} {' '.join(f'v({name})' for name in names)}",
        "quit 0",
        ".endc",
        ".end",
    ]
    return "\n".join(lines) + "\n"


def _waveform(values: Sequence[float], jumps: tuple[Float[np.ndarray, " segment"], float]) -> str:
    """Return what a source's card says of its value in every segment.

    Args:
        values: The values.
        jumps: When the segments end [s], and how long a jump takes [s].
    """
    ends, ramp = jumps
    if len(set(values)) == 1:
        return number(values[0])
    points = [0.0, values[0]]
    for end, before, after in zip(ends, values, values[1:], strict=False):
        points += [end - 0.5 * ramp, before, end + 0.5 * ramp, after]
    return f"pwl({' '.join(map(number, points))})"


def _sources(circuit: Circuit, segments: Sequence[Segment], jumps, sample: int) -> Iterator[str]:
    """Yield the voltage sources."""
    rows = [np.asarray(segment.inputs, float)[sample : sample + 1] for segment in segments]
    held = np.concatenate([np.asarray(circuit.fixed_voltages(row)) for row in rows])
    columns = dict(zip(circuit.fixed_nodes.tolist(), held.T.tolist(), strict=True))
    for group in circuit.sources:
        for i, node in enumerate(group.nodes.tolist()):
            name = circuit.node_names[node]
            yield f"v{group.name}_{i} {name} 0 {_waveform(columns[node], jumps)}"


def _devices(circuit: Circuit, params: Mapping[str, Array]) -> Iterator[str]:
    """Yield all other devices, their states in motion."""
    for group in circuit.groups:
        for name, nodes, device in instances(circuit, group, params):
            yield from device.moving_cards(name, nodes)


def _loads(circuit: Circuit, segments: Sequence[Segment], jumps, sample: int) -> Iterator[str]:
    """Yield what is attached to the outputs."""
    phases = [segment.phase for segment in segments]
    if not all(isinstance(phase, AbstractPhase) for phase in phases):
        raise NetlistError(
            "A nudge depends on the outputs at its beginning; write the segments of the "
            "trajectory, where it has become a phase."
        )
    loads = [phase for phase in phases if isinstance(phase, AbstractPhase)]
    size = len(np.asarray(segments[0].inputs)), circuit.num_outputs
    currents = np.stack([np.asarray(load.source_currents(*size))[sample] for load in loads])
    stiffness = [float(load.conductance) for load in loads]
    if any(stiffness):
        yield f"v_spring _spring 0 {_waveform(stiffness, jumps)}"
    for k, (plus, minus) in enumerate(circuit.output_nodes.tolist()):
        p, m = circuit.node_names[plus], circuit.node_names[minus]
        if currents[:, k].any():
            yield f"inudge_{k} {m} {p} {_waveform(currents[:, k].tolist(), jumps)}"
        if any(stiffness):
            drop = f"v({p})" if minus == GROUND else f"(v({p})-v({m}))"
            yield f"bspring_{k} {p} {m} i=v(_spring)*{drop}"
