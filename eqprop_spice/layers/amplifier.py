"""Bidirectional amplifiers between the layers."""

import dataclasses
from typing import Literal

import numpy as np

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.base import AbstractLayer

REFLECTIONS = {
    "transformer": lambda gain: gain,
    "kendall": lambda gain: 1.0 / gain,
    "published": lambda gain: -1.0 / gain,
}
"""The reflection kappa of each kind: the current drawn at the input is kappa times the current
delivered at the output. `transformer` conserves power; `kendall` is Kendall et al. (2020),
arXiv:2006.01981; `published` has the sign that a CCCS gets when it senses the VCVS's own branch
current, which SPICE counts into the positive terminal: use it only to reproduce such netlists."""


@dataclasses.dataclass(frozen=True)
class BidirectionalAmplifier(AbstractLayer):
    r"""An amplifier after every node; it also carries the nudge's current backwards.

    It delivers $A (v + o)$ at its output and draws $\kappa$ times its output's current.

    Attributes:
        gain: Voltage gain A.
        reflection: Which current is drawn at the input: a key of `REFLECTIONS`, or the number
            $\kappa$ itself, such as 1.0. The reciprocity weight of what stands before the amplifier
            is $A / \kappa$ times that of what stands behind it.
        inverted: Whether a second output delivers -A times the input, since conductances are
            positive and a negative coefficient needs a negative node.
        offset: Input offset o [V].
    """

    gain: float = 4.0
    reflection: Literal["transformer", "kendall", "published"] | float = "kendall"
    inverted: bool = False
    offset: float = 0.0

    def attach(self, builder: CircuitBuilder, nodes: np.ndarray, position: int) -> np.ndarray:
        """Add output nodes `a<position>_j` (and `i<position>_j`) and the amplifiers."""
        if self.gain == 0:
            raise NetlistError(f"Amplifier layer {position} has gain 0; it must not be zero.")
        kappa, offset = self.reflection, self.offset
        if isinstance(kappa, str):
            kappa = REFLECTIONS[kappa](self.gain)
        outputs = builder.add_nodes(f"a{position}", len(nodes))
        builder.add_amplifiers(f"amp_{position}", nodes, outputs, self.gain, kappa, offset=offset)
        if not self.inverted:
            return outputs
        negative = builder.add_nodes(f"i{position}", len(nodes))
        # The published circuit inverts by the VCVS's gain alone and leaves its CCCS as it is.
        inverted = kappa if self.reflection == "published" else -kappa
        builder.add_amplifiers(
            f"inv_{position}", nodes, negative, -self.gain, inverted, offset=offset
        )
        return np.concatenate([outputs, negative])
