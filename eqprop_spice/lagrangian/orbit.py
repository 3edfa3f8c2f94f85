"""Trajectories that were found, and what is wrong with those that were not."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.settled import Settled

NONE, RESONANCE, CROSSED, FOLDED = 0, 1, 2, 3
"""Why a sample is refused although its equations hold."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Orbit(Settled):
    """Trajectories of a batch of samples, and what is wrong with them.

    Attributes:
        trouble: 0, or 1 where the action is flat in a direction, or 2 where a nudge is so strong
            that it was on the way from the free trajectory to this one, or 3 where the branch from
            rest ends before the whole drive is on.
        node: The node that moves most along that direction.
        harmonic: How many waves it has in a period, or half waves between fixed ends.
        share: Of the drive, up to which the branch from rest leads.
    """

    trouble: Int[Array, "*batch"]
    node: Int[Array, "*batch"]
    harmonic: Int[Array, "*batch"]
    share: Float[Array, "*batch"]

    def explanation(self, sample: int, nodes: Sequence[str], boundary: str) -> str:
        """Name a resonance, or tell what is left of the equations."""
        trouble = int(np.asarray(self.trouble)[sample])
        node = nodes[int(np.asarray(self.node)[sample])]
        harmonic = int(np.asarray(self.harmonic)[sample])
        waves = "the period" if boundary == "periodic" else "half a wave between the ends"
        if trouble == FOLDED:
            return (
                f"at {float(np.asarray(self.share)[sample]):.1%} of the drive the motion near rest "
                f"ends in a fold, softest at node '{node}' with harmonic {harmonic} of {waves}. "
                "Junctions are bistable up to there, and swing much further beyond. Lower the "
                "drive, or move the elements away from that resonance"
            )
        if trouble == RESONANCE:
            return (
                f"a natural oscillation, largest at node '{node}', has harmonic {harmonic} of "
                f"{waves}: a resonance, at which the trajectory is not determined. Change the "
                "period or the elements"
            )
        if trouble == CROSSED:
            return (
                "the nudge is so strong that a resonance lies between it and none: its trajectory "
                "says nothing of the free one. Lower beta"
            )
        residual = float(np.asarray(self.residual)[sample])
        if boundary == "initial" and not math.isfinite(residual):
            return "a time step has no solution near the one before: take more steps"
        return f"the equations of motion are missed by {residual:.1e} of their terms"
