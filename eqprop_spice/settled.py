"""Where a circuit has settled."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from eqprop_spice.arrays import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """The node voltages of a batch of samples, and whether each of them is one.

    Attributes:
        voltages: Voltage of every node [V], ground included; NaN where not converged.
        converged: Whether Kirchhoff's current law holds to the engine's tolerance.
        residual: Largest violation of Kirchhoff's current law, relative to the currents that
            meet in the node.
        worst_node: The node with that violation.
        num_steps: Newton steps taken, where the engine counts them; else 0.
    """

    voltages: Float[Array, "batch node"]
    converged: Bool[Array, " batch"]
    residual: Float[Array, " batch"]
    worst_node: Int[Array, " batch"]
    num_steps: Int[Array, " batch"]

    @property
    def num_unconverged(self) -> int:
        """How many samples did not converge."""
        return int(np.sum(~np.asarray(self.converged)))
