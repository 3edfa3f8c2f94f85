r"""Circuits of resistors and diodes whose nodes fluctuate, as netlists for `.tran`.

With the same capacitance C at every free node and the same white current into each, of the
two-sided density N, the voltages obey $C \dot v = -\partial P/\partial v + \xi$ with the co-content
P, so they are Boltzmann distributed in P at the temperature $\tau = N/2C$ [W], whatever the
devices are. The noise must come from outside: that of a resistor or of a diode itself depends on
its conductance, and samples stored energy, not co-content.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractPhase
from eqprop_spice.spice.session import vectors_of
from eqprop_spice.spice.writer import circuit_cards, number

OPTIONS = ".options reltol=1e-4 abstol=1e-12 vntol=1e-7 gmin=1e-12 method=trap temp=27"


def check_sampled(circuit: Circuit) -> None:
    """Refuse circuits whose voltages follow no gradient.

    Raises:
        ConfigError: If so, naming what is in the way.
    """
    others = [group.name for group in circuit.groups_without_energy]
    others += [group.name for group in circuit.amplifiers]
    if others:
        raise ConfigError(
            f"'{others[0]}' has no co-content, or weights it by its gain: the voltages of this "
            "circuit do not run down an energy, so that noise at its nodes samples none. Thermal "
            "circuits are of resistors, diodes and sources."
        )


def transient_netlist(
    circuit: Circuit,
    params: Mapping[str, Array],
    inputs: Float[np.ndarray, " input"],
    phase: AbstractPhase,
    *,
    temperature: float,
    capacitance: float,
    spacing: float,
    duration: float,
    seed: int,
    title: str,
) -> str:
    r"""Return the netlist of one sample in a phase, with noise at every free node, and `.tran`.

    A `trnoise` source of the deviation $\sqrt{2C\tau/h}$ on a grid of times h is white below 1/h.

    Args:
        circuit: Resistors, diodes and sources.
        params: Conductances [S] by group name.
        inputs: Source voltages [V].
        phase: What is attached to the outputs, for one sample.
        temperature: tau [W].
        capacitance: C [F].
        spacing: h [s], short compared with C over the largest conductance at a node.
        duration: Duration of the transient [s].
        seed: Seed of the noise, positive.
        title: First line.

    Raises:
        ConfigError: If the temperature is not positive, or no energy is sampled.
    """
    if not temperature > 0.0:
        raise ConfigError(f"temperature is {temperature}; it must be positive.")
    check_sampled(circuit)
    deviation = math.sqrt(2.0 * capacitance * temperature / spacing)
    lines = [f"* {title}", f"{OPTIONS} seed={seed}"]
    lines += circuit_cards(circuit, params, inputs, phase)
    lines.append("* noise")
    names = [circuit.node_names[n] for n in circuit.free_nodes]
    for name in names:
        # Names of a circuit never start with an underscore.
        lines.append(f"c_{name} {name} 0 {number(capacitance)}")
        lines.append(f"i_{name} 0 {name} dc 0 trnoise({number(deviation)} {number(spacing)} 0 0)")
    lines.append(".save " + " ".join(f"v({name})" for name in names))
    lines.append(f".tran {number(spacing)} {number(duration)} 0 {number(spacing)}")
    return "\n".join([*lines, ".end", ""])


def sampled_voltages(
    text: str, names: Sequence[str]
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "node point"]]:
    """Return times [s] and voltages [V] that a transient of `transient_netlist` ran through."""
    times, *voltages = vectors_of(text, ["time", *names])
    return times, np.array(voltages)
