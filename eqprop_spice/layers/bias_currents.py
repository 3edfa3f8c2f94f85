"""Trained biases: a current source at every node."""

import dataclasses

import numpy as np

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.devices.current_source import BiasCurrent
from eqprop_spice.layers.base import AbstractLayer


@dataclasses.dataclass(frozen=True)
class BiasCurrents(AbstractLayer):
    """A current source from ground into every node, whose current of either sign learns.

    They start at 0 A. A constraint leaves them as they are unless it names their group,
    `bias_current_<position>`.

    Attributes:
        group: Name of the currents, to share them with other layers; none if empty.

    References:
        Scellier (2024), arXiv:2402.11674, whose deep resistive networks have them.
    """

    group: str = ""

    def attach(self, builder: CircuitBuilder, nodes: np.ndarray, position: int) -> np.ndarray:
        """Add the sources `bias_current_<position>`."""
        grounds = np.full(len(nodes), GROUND)
        name = f"bias_current_{position}"
        builder.add_pairs(name, BiasCurrent(), grounds, nodes, shared=self.group)
        return nodes
