"""Nonlinear layers: diodes at every node, in series with shift sources."""

import dataclasses

import numpy as np

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.devices.ideal import Ideal
from eqprop_spice.devices.measured import AnyDiode
from eqprop_spice.layers.base import AbstractLayer


@dataclasses.dataclass(frozen=True)
class AntiparallelDiodes(AbstractLayer):
    """Two diodes at every node: they conduct above +shift and below -shift.

    All nodes of the layer share the two shift sources; ideal sources see no difference.

    Attributes:
        diode: The device law of both diodes.
        shift: Voltage of the shift sources [V].
    """

    diode: AnyDiode
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

    diode: AnyDiode
    shift: float = 0.0

    def attach(self, builder: CircuitBuilder, nodes: np.ndarray, position: int) -> np.ndarray:
        """Add the source `sn<position>` and the diodes."""
        negative = builder.add_node(f"sn{position}")
        builder.add_constants(f"shift_{position}", [negative], [-self.shift])
        builder.add_pairs(f"lower_{position}", self.diode, np.full(len(nodes), negative), nodes)
        return nodes


@dataclasses.dataclass(frozen=True)
class SplitRectifiers(AbstractLayer):
    """One diode at every node: half of the nodes cannot fall below -shift, half not rise above it.

    With ideal diodes to ground this is the nonlinearity of deep resistive networks, whose first
    nodes are called excitatory and whose others inhibitory.

    Attributes:
        diode: The device law.
        shift: Voltage of the sources that the diodes lead to [V]: the inhibitory ones' is `shift`,
            the excitatory ones' -shift. With 0 they lead to ground.

    References:
        Scellier (2024), arXiv:2402.11674.
    """

    diode: AnyDiode = dataclasses.field(default_factory=Ideal)
    shift: float = 0.0

    def attach(self, builder: CircuitBuilder, nodes: np.ndarray, position: int) -> np.ndarray:
        """Add the diodes `excitatory_<position>` and `inhibitory_<position>`, and their sources."""
        first, others = np.array_split(nodes, 2)
        floor = ceiling = GROUND
        if self.shift:
            floor, ceiling = builder.add_node(f"sn{position}"), builder.add_node(f"sp{position}")
            builder.add_constants(f"shift_{position}", [floor, ceiling], [-self.shift, self.shift])
        for name, nodes_below, nodes_above in (
            ("excitatory", np.full(len(first), floor), first),
            ("inhibitory", others, np.full(len(others), ceiling)),
        ):
            if len(nodes_above):
                builder.add_pairs(f"{name}_{position}", self.diode, nodes_below, nodes_above)
        return nodes
