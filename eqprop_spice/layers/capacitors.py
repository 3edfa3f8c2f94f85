"""Capacitors at nodes: what a wire and the inputs of the next stage charge."""

import dataclasses

import numpy as np

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.devices.capacitor import Capacitor
from eqprop_spice.layers.base import AbstractLayer


@dataclasses.dataclass(frozen=True)
class Capacitors(AbstractLayer):
    """A capacitor from every node to ground. No operating point knows of it; transients do.

    Attributes:
        farads: The capacitance of each [F].
    """

    farads: float = 1e-12

    def attach(self, builder: CircuitBuilder, nodes: np.ndarray, position: int) -> np.ndarray:
        """Add the capacitors `capacitor_<position>`."""
        grounds = np.full(len(nodes), GROUND)
        builder.add_pairs(f"capacitor_{position}", Capacitor(self.farads), nodes, grounds)
        return nodes
