"""What ideal diodes mean for Kirchhoff's equations of a circuit."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.devices.ideal import Ideal

CLOSED = 1e-6
"""Voltage [V] around zero at which an ideal diode may be conducting in a simulation."""


def has_ideal_diodes(circuit: Circuit) -> bool:
    """Whether any diode of a circuit is ideal."""
    return any(group.device.is_switch for group in circuit.groups)


def fitted(circuit: Circuit, params: Mapping[str, Array]) -> Circuit:
    """Return a circuit whose ideal diodes SPICE solves between these resistors.

    Args:
        circuit: The circuit.
        params: Conductances by group name [S].
    """
    if not has_ideal_diodes(circuit):
        return circuit
    largest = float(circuit.node_conductances(params).max())
    return _with_forward(circuit, Ideal().fitted(largest))


@functools.lru_cache(maxsize=16)
def _with_forward(circuit: Circuit, diode: Ideal) -> Circuit:
    """Return a circuit with its ideal diodes replaced; the same object for the same."""
    if diode == Ideal():
        return circuit
    groups = tuple(
        dataclasses.replace(group, device=diode) if group.device.is_switch else group
        for group in circuit.groups
    )
    return dataclasses.replace(circuit, groups=groups)


def unexplained_currents(
    circuit: Circuit,
    voltages: Float[np.ndarray, "batch node"],
    excess: Float[np.ndarray, "batch free"],
) -> Float[np.ndarray, "batch free"]:
    """Return the excess currents that no conducting ideal diode can carry [A].

    A diode near 0 V takes any current in its direction. One that is driven forward by more is not
    ideal: its nodes' excess is infinite.

    Args:
        circuit: The circuit.
        voltages: All node voltages [V].
        excess: Current that leaves each free node through all other branches [A].
    """
    position = np.full(circuit.num_nodes, -1)
    position[circuit.free_nodes] = np.arange(len(circuit.free_nodes))
    for group in circuit.groups:
        if not group.device.is_switch:
            continue
        anodes, cathodes = group.layout.pairs()
        drop = voltages[:, anodes] - voltages[:, cathodes]
        for nodes, bound in ((anodes, np.maximum), (cathodes, np.minimum)):
            free = position[nodes] >= 0
            columns = position[nodes[free]]
            # The diode draws from its anode and feeds its cathode, never the other way.
            here, across = excess[:, columns], drop[:, free]
            left = np.where(across > -CLOSED, bound(here, 0.0), here)
            excess[:, columns] = np.where(across > CLOSED, np.inf, left)
    return excess
