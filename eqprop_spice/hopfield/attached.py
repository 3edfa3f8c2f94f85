"""What phases attach to the outputs of a Hopfield network, row by row of a batch."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.phases import AbstractPhase, Hold


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Attached:
    """A force and a spring at the outputs, or what holds them; any phase is one of these.

    Rows are samples, in one phase after the other, so that all phases settle as one batch.

    Attributes:
        force: Constant force on each output.
        stiffness: Stiffness of the spring.
        held: What the outputs are held at.
        holds: Whether they are.
    """

    force: Float[Array, "row output"]
    stiffness: Float[Array, "row 1"]
    held: Float[Array, "row output"]
    holds: Bool[Array, "row 1"]


def attach(phases: Sequence[AbstractPhase], shape: tuple[int, int], dtype: Any) -> Attached:
    """Return some phases as one load, each for a batch of outputs of the given shape."""
    return jax.tree.map(
        lambda *parts: jnp.concatenate(parts), *(_one(p, shape, dtype) for p in phases)
    )


def _one(phase: AbstractPhase, shape: tuple[int, int], dtype: Any) -> Attached:
    column, nothing = jnp.ones((shape[0], 1), dtype), jnp.zeros(shape, dtype)
    if isinstance(phase, Hold):
        held = jnp.broadcast_to(jnp.asarray(phase.outputs, dtype), shape)
        return Attached(nothing, 0.0 * column, held, column > 0.0)
    force = jnp.broadcast_to(jnp.asarray(phase.source_currents(*shape), dtype), shape)
    stiffness = jnp.asarray(phase.conductance, dtype) * column
    return Attached(force, stiffness, nothing, column < 0.0)
