"""Where a system has settled, and how it relaxes there."""

import dataclasses
from typing import Generic, TypeAlias, TypeVar

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from eqprop_spice.arrays import Array

State = TypeVar("State")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Settled(Generic[State]):
    """The state of a batch of samples, and whether each of them has settled.

    Transformations of JAX may stack several: then all arrays have more axes before the others.

    Attributes:
        state: The state: a tree of arrays, `batch ...`; NaN where not converged, or where the
            iteration stopped if the system says so.
        converged: Whether the residual is within the system's tolerance.
        residual: Largest violation of the equations of the state, in units that the system names.
        num_steps: Steps of the iteration taken, where they are counted; else 0.
    """

    state: State
    converged: Bool[Array, "*batch"]
    residual: Float[Array, "*batch"]
    num_steps: Int[Array, "*batch"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """The node voltages of a batch of samples, and whether each of them is one.

    What `Settled` is to any system, with the voltages as the state; it may be stacked as well.

    Attributes:
        voltages: Voltage of every node [V], ground included; NaN where not converged.
        converged: Whether Kirchhoff's current law holds to the engine's tolerance.
        residual: Largest violation of Kirchhoff's current law, relative to the currents that
            meet in the node.
        worst_node: The node with that violation.
        num_steps: Newton steps taken, where the engine counts them; else 0.
    """

    voltages: Float[Array, "*batch node"]
    converged: Bool[Array, "*batch"]
    residual: Float[Array, "*batch"]
    worst_node: Int[Array, "*batch"]
    num_steps: Int[Array, "*batch"]

    @property
    def state(self) -> Float[Array, "*batch node"]:
        """The voltages, as the state of a circuit."""
        return self.voltages

    @property
    def num_unconverged(self) -> int:
        """How many samples did not converge."""
        return int(np.sum(~np.asarray(self.converged)))


AnySettled: TypeAlias = Settled | OperatingPoint
"""What `settle` of a substrate returns for each phase."""


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """How a system relaxes: what is backpropagated through instead of its settled state.

    Attributes:
        num_iterations: How often every unknown is visited.
        synchronous: Whether all move at once; else those at an odd distance from the outputs
            move first, and the others, the outputs among them, after.
    """

    num_iterations: int
    synchronous: bool
