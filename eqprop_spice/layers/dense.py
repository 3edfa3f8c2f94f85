"""Dense resistor layers."""

import dataclasses

import numpy as np

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.base import AbstractLayer


@dataclasses.dataclass(frozen=True)
class Dense(AbstractLayer):
    """A resistor between every node of the previous layer and every new node.

    Attributes:
        num_outputs: Number of new nodes.
        bias: Voltages [V] of constant sources that join the previous layer's nodes.
        group: Name of the conductances, to share them with other layers of the same size; none if
            empty. A shared conductance has the sum of its resistors' gradients.
    """

    num_outputs: int
    bias: tuple[float, ...] = ()
    group: str = ""

    def attach(self, builder: CircuitBuilder, nodes: np.ndarray, position: int) -> np.ndarray:
        """Add nodes `n<position>_j` and resistors `dense_<position>`."""
        if self.num_outputs < 1:
            raise NetlistError(
                f"Dense layer {position} has num_outputs {self.num_outputs}; it needs at least 1."
            )
        if self.bias:
            sources = builder.add_nodes(f"b{position}", len(self.bias))
            builder.add_constants(f"bias_{position}", sources, self.bias)
            nodes = np.concatenate([nodes, sources])
        new = builder.add_nodes(f"n{position}", self.num_outputs)
        builder.add_dense(f"dense_{position}", Resistor(), nodes, new, shared=self.group)
        return new
