"""What a layer is, and how layers in a row become a circuit."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.errors import NetlistError


@dataclasses.dataclass(frozen=True)
class AbstractLayer:
    """A part of a layered circuit: takes nodes, adds devices, returns nodes."""

    def attach(
        self, builder: CircuitBuilder, nodes: Int[np.ndarray, " node"], position: int
    ) -> Int[np.ndarray, " node"]:
        """Add this layer's nodes and devices after the given nodes.

        Args:
            builder: The circuit under construction.
            nodes: The nodes the previous layer ended with.
            position: Number of this layer, for the names of its nodes and groups.

        Returns:
            The nodes the next layer starts from.
        """
        raise NotImplementedError


def layered_circuit(
    layers: Sequence[AbstractLayer],
    *,
    num_inputs: int,
    num_outputs: int,
    doubled_inputs: bool = False,
    differential: bool = True,
) -> Circuit:
    """Build the circuit of layers in a row.

    Args:
        layers: The layers; the last one must end with the output nodes.
        num_inputs: Number of input voltages.
        num_outputs: Number of outputs read.
        doubled_inputs: Whether every input x has a second source at -x. Conductances are positive,
            so a negative coefficient needs a negative source.
        differential: Whether an output is the difference of two nodes.

    Raises:
        NetlistError: If there are no layers, or the last layer's size is not that of the outputs.
    """
    if not layers:
        raise NetlistError("The circuit has no layers; add at least one dense layer.")
    if num_inputs < 1 or num_outputs < 1:
        raise NetlistError(
            f"A circuit needs inputs and outputs; got {num_inputs} inputs, {num_outputs} outputs."
        )
    builder = CircuitBuilder()
    columns = np.arange(num_inputs)
    nodes = builder.add_nodes("x", num_inputs)
    builder.add_inputs("x", nodes, columns)
    if doubled_inputs:
        negative = builder.add_nodes("xn", num_inputs)
        builder.add_inputs("xn", negative, columns, scale=-1.0)
        nodes = np.concatenate([nodes, negative])
    for position, layer in enumerate(layers):
        nodes = layer.attach(builder, nodes, position)
    expected = 2 * num_outputs if differential else num_outputs
    if len(nodes) != expected:
        how = "differential " if differential else ""
        raise NetlistError(
            f"The last layer ends with {len(nodes)} nodes, but {num_outputs} {how}outputs need "
            f"{expected}. Set the last layer's num_outputs to {expected}."
        )
    if differential:
        pairs = np.stack([nodes[:num_outputs], nodes[num_outputs:]], axis=1)
    else:
        pairs = np.stack([nodes, np.full(num_outputs, GROUND)], axis=1)
    return builder.build(pairs, num_inputs=num_inputs)
