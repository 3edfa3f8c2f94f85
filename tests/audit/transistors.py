"""A layer of transistors, as a user's package might have one."""

import dataclasses

import numpy as np

from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.devices.mosfet import Mosfet
from eqprop_spice.layers.base import AbstractLayer


@dataclasses.dataclass(frozen=True)
class Edges(AbstractLayer):
    """A transistor from every node to every new one; their gates are at different voltages."""

    num_outputs: int = 2

    def attach(self, builder, nodes, position):
        """Add the transistors `edge_<position>`, and their gates' sources."""
        new = builder.add_nodes(f"e{position}", self.num_outputs)
        first, second = (ends.ravel() for ends in np.meshgrid(nodes, new))
        gates = builder.add_nodes(f"gate{position}", len(first))
        builder.add_constants(f"bias_{position}", gates, np.linspace(1.2, 2.2, len(first)))
        ends = [first, gates, second, np.full(len(first), GROUND)]
        device = Mosfet("edge", threshold=0.5, transconductance=2e-3)
        builder.add_devices(f"edge_{position}", device, ends)
        return new
