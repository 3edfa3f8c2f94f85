r"""Where a circuit's power goes, and its co-content, by class of devices.

The power that a device dissipates is $v\,i$; its co-content is $\int i\,dv$. For a resistor they
differ by a factor of 2, for a diode or a controlled source by more: operating points are stationary
points of the weighted co-content (Millar 1951, Cherry and Millar 1951), not of the power.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.groups import Sources

DISSIPATING = ("resistors", "diodes", "transistors", "amplifiers")
"""The classes of devices that dissipate."""

CLASSES = (*DISSIPATING, "shift sources", "bias currents", "input sources", "nudge")
"""All classes of devices; the others deliver."""


WITH_CONTENT = ("resistors", "diodes", "bias currents")
"""The classes that hold co-content."""


def absorbed_powers(
    circuit: Circuit,
    params: Mapping[str, Array],
    voltages: Float[Array, "batch node"],
    injected: Float[Array, "batch output"],
) -> dict[str, Float[Array, " batch"]]:
    """Return the power that each class of devices absorbs [W]; what delivers has a minus.

    The currents of sources and amplifiers are those that Kirchhoff's law leaves for them at their
    own nodes. So the sum over all classes is zero (Tellegen's theorem) as exactly as Kirchhoff's
    law holds at the free nodes.

    Args:
        circuit: The circuit.
        params: Conductances [S] by group name.
        voltages: All node voltages [V].
        injected: Current into each output [A], a spring's included.
    """
    xp = voltages.__array_namespace__()
    nothing = xp.zeros(voltages.shape[0])
    powers: dict[str, Array] = dict.fromkeys(CLASSES, nothing)
    for group in circuit.conducting_groups:
        kind = group.device.kind
        powers[kind] = powers[kind] + group.powers(params, voltages)
    leaving = circuit.leaving_currents(params, voltages)
    for a in circuit.amplifiers:
        drawn = a.reflections * voltages[:, a.inputs] - voltages[:, a.outputs]
        powers["amplifiers"] = powers["amplifiers"] + (drawn * leaving[:, a.outputs]).sum(1)
    for group in circuit.sources:
        kind = "input sources" if _feeds_resistors(circuit, group) else "shift sources"
        delivered = (voltages[:, group.nodes] * leaving[:, group.nodes]).sum(1)
        powers[kind] = powers[kind] - delivered
    powers["nudge"] = -(injected * circuit.outputs(voltages)).sum(1)
    return powers


def _feeds_resistors(circuit: Circuit, sources: Sources) -> bool:
    """Whether sources feed resistors, as inputs and biases do; those that shift diodes do not."""
    return any(
        np.isin(sources.nodes, nodes).any()
        for group in circuit.linear_groups
        for nodes in (group.sides.first, group.sides.second)
    )


def co_contents(
    circuit: Circuit,
    params: Mapping[str, Array],
    voltages: Float[Array, "batch node"],
    injected: Float[Array, "batch output"],
    *,
    weights: Mapping[str, Array],
) -> dict[str, Float[Array, " batch"]]:
    r"""Return the weighted co-content of each class of devices [W].

    The sum over all classes, $\sum_b \omega_b \Theta_b(\Delta V_b) - \sum_k I_k o_k$, is
    stationary at an operating point under constant nudging currents, so its derivative by a
    conductance is the explicit one, $\omega\,\Delta V^2 / 2$. Sources and amplifiers hold no
    co-content: the former are constraints, the latter are what the weights stand for. Devices that
    are not reciprocal have none, and where there are some, the sum is not stationary.

    Args:
        circuit: The circuit.
        params: Conductances [S] by group name.
        voltages: All node voltages [V].
        injected: Current into each output [A].
        weights: Reciprocity weight of every branch, by group name.
    """
    xp = voltages.__array_namespace__()
    contents = {kind: xp.zeros(voltages.shape[0]) for kind in WITH_CONTENT}
    for group in circuit.groups_with_energy:
        omega = xp.broadcast_to(xp.asarray(weights[group.name]), group.layout.wiring.shape)
        kind = group.device.kind
        contents[kind] = contents[kind] + group.co_contents(params, voltages, omega)
    contents["nudge"] = -(injected * circuit.outputs(voltages)).sum(1)
    return contents
