"""Nonlinear layers: diodes at every node, in series with shift sources."""

import dataclasses

import numpy as np

from eqprop_spice.builder import CircuitBuilder
from eqprop_spice.devices.diode import Shockley
from eqprop_spice.layers.base import AbstractLayer


@dataclasses.dataclass(frozen=True)
class AntiparallelDiodes(AbstractLayer):
    """Two diodes at every node: they conduct above +shift and below -shift.

    All nodes of the layer share the two shift sources; ideal sources see no difference.

    Attributes:
        diode: The device law of both diodes.
        shift: Voltage of the shift sources [V].
    """

    diode: Shockley
    shift: float = 0.3

    def attach(self, builder: CircuitBuilder, nodes: np.ndarray, position: int) -> np.ndarray:
        """Add the sources `sp<position>`, `sn<position>` and the diodes."""
        positive = builder.add_node(f"sp{position}")
        negative = builder.add_node(f"sn{position}")
        builder.add_constants(f"shift_{position}", [positive, negative], [self.shift, -self.shift])
        count = len(nodes)
        builder.add_pairs(f"upper_{position}", self.diode, nodes, np.full(count, positive))
        builder.add_pairs(f"lower_{position}", self.diode, np.full(count, negative), nodes)
        return nodes


@dataclasses.dataclass(frozen=True)
class Rectifier(AbstractLayer):
    """One diode at every node, from a source at -shift: the node cannot fall far below -shift.

    Attributes:
        diode: The device law.
        shift: Minus the voltage of the source [V].
    """

    diode: Shockley
    shift: float = 0.0

    def attach(self, builder: CircuitBuilder, nodes: np.ndarray, position: int) -> np.ndarray:
        """Add the source `sn<position>` and the diodes."""
        negative = builder.add_node(f"sn{position}")
        builder.add_constants(f"shift_{position}", [negative], [-self.shift])
        builder.add_pairs(f"lower_{position}", self.diode, np.full(len(nodes), negative), nodes)
        return nodes
