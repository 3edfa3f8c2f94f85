r"""Spiking units as netlists: clocked comparators with a noise source, and RC traces of spikes.

At the beginning of every period a latch keeps what a comparator says of drive and noise. The kept
spike charges the trace's capacitor through a resistor for one period: a share
$\alpha = 1 - e^{-T/RC}$ of the way. So the netlist takes the steps of `sampling.spiking`.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.hopfield.edges import DenseEdge
from eqprop_spice.hopfield.graph import Graph, bias_name
from eqprop_spice.phases import AbstractPhase
from eqprop_spice.sampling.spiking import THRESHOLD, Comparator
from eqprop_spice.spice.session import vectors_of
from eqprop_spice.spice.writer import number
from eqprop_spice.substrates.base import Params

PERIOD = 1e-6
"""Of the clock [s]."""

LATCHED = 0.02
"""Share of a period after which the latch has closed, the noise having moved on by as much."""

EDGE = 0.001
"""Share of a period in which the clock rises or falls."""

SUMMED = 1e3
"""Resistance that turns the currents of all couplings into a drive [ohm]."""

TRACE_RESISTANCE = 1e5
"""Resistance that a trace is charged through [ohm]."""

HELD = 1e-12
"""Capacitance of a latch [F]; the clock charges it in a twentieth of the time that it is open."""

STEEPNESS = 1e4
"""Gain of a comparator: undecided within 0.1 mV, far below the noise."""

STEPS_PER_PERIOD = 8
"""Time steps of a period, at least; edges of the clock add their own."""


@dataclasses.dataclass(frozen=True)
class ComparatorCircuit:
    """Layers of comparators.

    Attributes:
        graph: The layers, dense ones only.
        comparator: The unit, its noise normal.
        alpha: Share of the way to a spike that a trace moves in a period, below 1.
    """

    graph: Graph
    comparator: Comparator
    alpha: float

    def check(self) -> None:
        """Refuse what has no such circuit.

        Raises:
            ConfigError: If so, with what to change.
        """
        if not drawable(self.graph, self.comparator, self.alpha):
            raise ConfigError(
                "Only dense layers with normal noise and alpha below 1 are written as comparators: "
                "a noise source is normal, and an RC trace never gets all the way. Set noise = "
                '"normal" and a smaller alpha.'
            )

    @property
    def units(self) -> list[str]:
        """Names of all units, layer by layer."""
        shapes = self.graph.shapes[1:]
        return [f"{layer}_{i}" for layer, (n,) in enumerate(shapes, 1) for i in range(n)]


def drawable(graph: Graph, comparator: Comparator, alpha: float) -> bool:
    """Return whether there is such a circuit."""
    dense = all(isinstance(edge, DenseEdge) for edge in graph.edges)
    return dense and comparator.noise == "normal" and alpha < 1.0


def spiking_netlist(
    circuit: ComparatorCircuit,
    params: Params,
    inputs: Float[np.ndarray, " input"],
    phase: AbstractPhase,
    *,
    periods: int,
    seed: int,
    title: str,
) -> str:
    """Return the netlist of one sample in a phase, with a `.tran` analysis.

    Unit 2_0 is the first of layer 2, with the drive d2_0, the noise z2_0, the latch h2_0, the spike
    s2_0 and the trace t2_0; traces start at one half.

    Args:
        circuit: The layers.
        params: Weights and biases by name.
        inputs: Inputs.
        phase: What is attached to the outputs, for one sample.
        periods: Duration [periods of the clock].
        seed: Seed of the noise, positive.
        title: First line.

    Raises:
        ConfigError: If there is no such circuit; see `ComparatorCircuit`.
    """
    circuit.check()
    end = PERIOD * periods
    window = LATCHED - EDGE
    lines = [
        f"* {title}",
        f".options reltol=1e-4 method=trap seed={seed}",
        f"vclk clk 0 pulse(0 1 0 {number(EDGE * PERIOD)} {number(EDGE * PERIOD)} "
        f"{number((window - EDGE) * PERIOD)} {number(PERIOD)})",
        *(f"vx0_{i} t0_{i} 0 {number(float(x))}" for i, x in enumerate(inputs)),
    ]
    for name in circuit.units:
        lines += _unit_cards(name, circuit.comparator.width, circuit.alpha)
    lines += _drive_cards(circuit.graph, params, phase)
    saved = " ".join(f"v({kind}{name})" for name in circuit.units for kind in "dzst")
    step = PERIOD / STEPS_PER_PERIOD
    lines += [f".save {saved}", f".tran {number(step)} {number(end)} 0 {number(step)} uic"]
    return "\n".join([*lines, ".end", ""])


def _unit_cards(name: str, width: float, alpha: float) -> list[str]:
    """Return comparator, latch and trace of a unit."""
    # Between its samples the noise goes straight: where the latch closes it is a mean of two.
    deviation = width / math.hypot(1.0 - LATCHED, LATCHED)
    capacitance = -PERIOD / (TRACE_RESISTANCE * math.log1p(-alpha))
    charging = 20.0 * HELD / (LATCHED * PERIOD)
    above = f"v(d{name})+v(z{name})-{number(THRESHOLD)}"
    said = f"(0.5+0.5*tanh({number(STEEPNESS)}*({above})))"
    return [
        f"rd{name} d{name} 0 {number(SUMMED)}",
        f"vz{name} z{name} 0 dc 0 trnoise({number(deviation)} {number(PERIOD)} 0 0)",
        f"bh{name} 0 h{name} i={number(charging)}*v(clk)*({said}-v(h{name}))",
        f"ch{name} h{name} 0 {number(HELD)} ic=0.5",
        f"bs{name} s{name} 0 v=0.5+0.5*tanh({number(STEEPNESS)}*(v(h{name})-0.5))",
        f"rt{name} s{name} t{name} {number(TRACE_RESISTANCE)}",
        f"ct{name} t{name} 0 {number(capacitance)} ic=0.5",
    ]


def _drive_cards(graph: Graph, params: Params, phase: AbstractPhase) -> list[str]:
    """Return what couplings, biases and the phase inject into the drives."""
    lines = []
    for edge in graph.edges:
        for (i, j), value in np.ndenumerate(np.asarray(params[edge.name])):
            one, other = f"{edge.source}_{i}", f"{edge.target}_{j}"
            strength = number(float(value) / SUMMED)
            lines.append(f"gf{one}_{other} 0 d{other} t{one} 0 {strength}")
            if edge.source > 0:
                lines.append(f"gb{one}_{other} 0 d{one} t{other} 0 {strength}")
    last, outputs = graph.num_layers, graph.shapes[-1][0]
    forces = np.asarray(phase.source_currents(1, outputs))[0]
    stiffness = float(np.asarray(phase.conductance))
    for layer in range(1, last + 1):
        for i, value in enumerate(np.asarray(params[bias_name(layer)])):
            push = float(value) + (float(forces[i]) if layer == last else 0.0)
            lines.append(f"ib{layer}_{i} 0 d{layer}_{i} {number(push / SUMMED)}")
    if stiffness:
        for i in range(outputs):
            name = f"{last}_{i}"
            lines.append(f"gn{name} d{name} 0 t{name} 0 {number(stiffness / SUMMED)}")
    return lines


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What ngspice ran through, period by period, where latches have closed.

    Attributes:
        traces: Traces of all units.
        spikes: What they fire in the period that begins.
        noise: Their noise.
    """

    traces: Float[np.ndarray, "period unit"]
    spikes: Float[np.ndarray, "period unit"]
    noise: Float[np.ndarray, "period unit"]


def recorded(text: str, circuit: ComparatorCircuit, periods: int) -> Recorded:
    """Run a netlist of `spiking_netlist` in ngspice."""
    names = [f"{kind}{name}" for kind in "tsz" for name in circuit.units]
    times, *columns = vectors_of(text, ["time", *names])
    if times[-1] < PERIOD * (periods - 0.5):
        raise NetlistError(f"ngspice did not run through {periods} periods.")
    closed = PERIOD * (np.arange(periods - 1) + LATCHED)
    # Spikes still fall or rise where the latch closes: what they are is read in the middle.
    middle = closed + 0.5 * PERIOD
    count = len(circuit.units)
    kinds = [columns[k * count : (k + 1) * count] for k in range(3)]
    at = (closed, middle, closed)
    sampled = (
        np.array([np.interp(t, times, c) for c in kind]).T
        for t, kind in zip(at, kinds, strict=True)
    )
    return Recorded(*sampled)
