"""Circuits as SPICE netlists that plain ngspice runs.

No text of a user reaches a netlist: names are checked when the circuit is built, numbers are
finite floats, and everything else is written here.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Real

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.groups import Group
from eqprop_spice.circuits.ideal_diodes import fitted
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.devices.base import AbstractDevice
from eqprop_spice.errors import NetlistError
from eqprop_spice.phases import AbstractPhase

ACCURATE_TOLERANCES = "reltol=1e-10 vntol=1e-13 abstol=1e-15"
"""Tolerances far below a nudge: ngspice's default reltol of 1e-3 drowns it."""

ACCURATE_OPTIONS = f".options {ACCURATE_TOLERANCES} gmin=1e-12"


def number(value: Any) -> str:
    """Return a float with all its digits, in a form that ngspice reads.

    Numpy's own repr (`np.float64(1.0)`) would be taken for a name, without an error.

    Raises:
        NetlistError: If it is not finite.
    """
    if not math.isfinite(value):
        raise NetlistError(f"A netlist would hold the number {value}; numbers must be finite.")
    return repr(float(value))


def as_printed(values: np.ndarray, digits: int) -> np.ndarray:
    """Return values as they are read back from what ngspice prints; see `printed`."""
    flat = [printed(value, digits) for value in np.ravel(values).tolist()]
    return np.array(flat).reshape(np.shape(values))


def printed(value: float, digits: int) -> float:
    """Return a value as it is read back from what ngspice prints.

    Args:
        value: A number.
        digits: ngspice's `numdgt`: digits after the point, one of which a minus sign replaces.
    """
    return float(f"{value:.{digits if value >= 0 else digits - 1}e}")


def model_cards(circuit: Circuit) -> list[str]:
    """Return the .model cards the circuit needs, each once."""
    groups = (*circuit.nonlinear_groups, *circuit.blocking_groups)
    devices = itertools.chain.from_iterable(g.instances({}) for g in groups)
    cards = dict.fromkeys(device.model_card() for device in devices)
    return [card for card in cards if card is not None]


def source_cards(
    circuit: Circuit, voltages: Float[np.ndarray, " node"], *, only_constant: bool = False
) -> Iterator[str]:
    """Yield the voltage sources with the voltages their nodes have in a sample."""
    for group in circuit.sources:
        for i, (node, column) in enumerate(zip(group.nodes, group.columns, strict=True)):
            if column < 0 or not only_constant:
                name = circuit.node_names[node]
                yield f"v{group.name}_{i} {name} 0 {number(voltages[node])}"


def instances(
    circuit: Circuit, group: Group, params: Mapping[str, Array]
) -> Iterator[tuple[str, list[str], AbstractDevice]]:
    """Yield name, nodes and device of every instance of a group."""
    names = circuit.node_names
    nodes = zip(*group.layout.terminals(), strict=True)
    suffixes, devices = group.layout.instance_names(), group.instances(params)
    for suffix, ends, device in zip(suffixes, nodes, devices, strict=True):
        yield f"{group.name}_{suffix}", [names[n] for n in ends], device


def device_cards(circuit: Circuit, params: Mapping[str, Array], *, linear: bool) -> Iterator[str]:
    """Yield the resistors, or else the nonlinear devices, which have no parameters."""
    for group in circuit.linear_groups if linear else circuit.nonlinear_groups:
        for name, nodes, device in instances(circuit, group, params):
            yield device.card(name, nodes)


def supply_cards(circuit: Circuit, params: Mapping[str, Array]) -> Iterator[str]:
    """Yield the current sources that learn, under a comment if there are any."""
    if circuit.supplying_groups:
        yield "* bias currents"
    for group in circuit.supplying_groups:
        for name, nodes, device in instances(circuit, group, params):
            yield device.card(name, nodes)


def blocking_cards(circuit: Circuit) -> Iterator[str]:
    """Yield the devices that no direct current flows through."""
    for group in circuit.blocking_groups:
        for name, nodes, device in instances(circuit, group, {}):
            yield device.card(name, nodes)


def behavioral_cards(circuit: Circuit) -> Iterator[str]:
    """Yield the nonlinear devices as behavioral sources that obey the same law.

    Raises:
        NetlistError: If there is no such source for a device.
    """
    for group in circuit.nonlinear_groups:
        for name, nodes, device in instances(circuit, group, {}):
            cards = device.behavioral_cards(name, nodes)
            if cards is None:
                raise NetlistError(
                    f"Group '{group.name}' cannot be written with behavioral sources: a "
                    f"{type(device).__name__} has no behavioral cards. Write its own card."
                )
            yield from cards


def amplifier_cards(circuit: Circuit) -> Iterator[str]:
    r"""Yield a VCVS and a CCCS per amplifier.

    SPICE counts the VCVS's branch current into its positive node, so it is $-I_{out}$, and the
    CCCS must draw $-\kappa$ times it. An offset is a source at the VCVS's negative input.
    """
    names = circuit.node_names
    for group in circuit.amplifiers:
        offsets = np.broadcast_to(group.offsets, group.inputs.shape)
        for i in range(len(group.inputs)):
            h, o, reference = names[group.inputs[i]], names[group.outputs[i]], "0"
            if offsets[i] != 0.0:
                # Names of a circuit never start with an underscore.
                reference = f"_offset_{group.name}_{i}"
                yield f"v{reference} {reference} 0 {number(-offsets[i])}"
            yield f"e{group.name}_{i} {o} 0 {h} {reference} {number(group.gains[i])}"
            yield f"f{group.name}_{i} {h} 0 e{group.name}_{i} {number(-group.reflections[i])}"


def nudge_cards(circuit: Circuit, phase: AbstractPhase) -> Iterator[str]:
    """Yield what the phase attaches to the outputs.

    A SPICE current source pulls its current out of its first node, hence the order of the nodes.
    """
    names = circuit.node_names
    currents = phase.source_currents(1, circuit.num_outputs)[0]
    for k, (plus, minus) in enumerate(circuit.output_nodes):
        p, m = names[plus], names[minus]
        if currents[k] != 0.0:
            yield f"inudge_{k} {m} {p} {number(currents[k])}"
        if phase.conductance != 0.0:
            yield f"gspring_{k} {p} {m} {p} {m} {number(phase.conductance)}"


def circuit_cards(
    circuit: Circuit,
    params: Mapping[str, Array],
    inputs: Real[Array, " input"],
    phase: AbstractPhase,
    *,
    behavioral: bool = False,
) -> list[str]:
    """Return all cards of one sample in one phase, without a title, options or an analysis.

    Args:
        circuit: The circuit.
        params: Conductances [S] by group name.
        inputs: Source voltages of one sample [V].
        phase: What is attached to the outputs.
        behavioral: Whether nonlinear devices are written as behavioral sources.

    Raises:
        NetlistError: If a conductance or an input is not usable.
    """
    inputs = np.asarray(inputs, float).reshape(1, -1)
    circuit.check_parameters(params)
    circuit.check_inputs(inputs)
    circuit = fitted(circuit, params)
    voltages = np.zeros(circuit.num_nodes)
    voltages[circuit.fixed_nodes] = circuit.fixed_voltages(inputs)[0]
    nonlinear = behavioral_cards(circuit) if behavioral else device_cards(circuit, {}, linear=False)
    return [
        *([] if behavioral else model_cards(circuit)),
        "* sources",
        *source_cards(circuit, voltages),
        "* resistors",
        *device_cards(circuit, params, linear=True),
        *supply_cards(circuit, params),
        "* nonlinear devices",
        *nonlinear,
        *blocking_cards(circuit),
        "* bidirectional amplifiers",
        *amplifier_cards(circuit),
        "* nudge",
        *nudge_cards(circuit, phase),
    ]


def netlist(
    circuit: Circuit,
    params: Mapping[str, Array],
    inputs: Real[Array, " input"],
    phase: AbstractPhase,
    *,
    title: str = "circuit",
) -> str:
    """Return the netlist of one sample in one phase; `ngspice -b` prints its node voltages.

    Args:
        circuit: The circuit.
        params: Conductances [S] by group name.
        inputs: Source voltages of one sample [V].
        phase: What is attached to the outputs.
        title: What the circuit is; other characters than letters, digits and blanks become blanks.

    Raises:
        NetlistError: If a conductance or an input is not usable.
    """
    shown = np.unique(np.concatenate([circuit.free_nodes, circuit.output_nodes.ravel()]))
    names = [circuit.node_names[n] for n in shown if n != GROUND]
    return framed(circuit_cards(circuit, params, inputs, phase), names, phase, title)


def framed(cards: list[str], names: list[str], phase: AbstractPhase, title: str) -> str:
    """Return cards as a netlist that prints the voltages of some nodes in `ngspice -b`.

    Args:
        cards: Cards written by this package.
        names: Names of the nodes.
        phase: The phase that they are of.
        title: What the circuit is; other characters than letters, digits and blanks become blanks.
    """
    harmless = "".join(c if c.isascii() and c.isalnum() else " " for c in title)
    lines = [
        f"* eqprop_spice {' '.join(harmless.split())} in the {type(phase).__name__.lower()} phase",
        ACCURATE_OPTIONS,
        *cards,
        ".control",
        "set numdgt=16",
        "op",
        *(f"print v({name})" for name in names),
        "quit 0",
        ".endc",
        ".end",
    ]
    return "\n".join(lines) + "\n"
