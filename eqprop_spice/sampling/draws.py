"""The state of a system that is sampled: draws from a distribution, with weights."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from eqprop_spice.arrays import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draws:
    """What is known of the distribution of every sample's state.

    The draws of chains stand one chain after the other. A sum over all states of a small system
    is the same with its probabilities as weights; a deterministic approximation is one draw.

    Attributes:
        values: The drawn states: a tree of arrays, `batch draw ...`.
        weights: Weight of every draw; the sum over a sample's is 1.
        ends: Where every chain ended, `batch chain ...`; a chain goes on from here.
    """

    values: Any
    weights: Float[Array, "batch draw"]
    ends: Any

    def mean(self, values: Float[Array, "batch draw ..."]) -> Float[Array, "batch ..."]:
        """Return the weighted mean over draws."""
        return jnp.einsum("bd,bd...->b...", self.weights.astype(values.dtype), values)

    @property
    def means(self) -> Any:
        """The means of all that is drawn, `batch ...`."""
        return jax.tree.map(self.mean, self.values)

    def reweighted(self, weights: Float[Array, "batch draw"]) -> "Draws":
        """Return the same draws with other weights, of any sign and sum."""
        return dataclasses.replace(self, weights=weights)


def equal_weights(batch_size: int, count: int, dtype: Any) -> Float[Array, "batch draw"]:
    """Return the weights of draws that are worth the same."""
    return jnp.full((batch_size, count), 1.0 / count, dtype)


def covariance_weights(
    draws: Draws, quantity: Float[Array, "batch draw"], *, counted: bool
) -> Float[Array, "batch draw"]:
    """Return weights whose sums are covariances with a quantity.

    Args:
        draws: The draws.
        quantity: A number per draw.
        counted: Whether the draws are a count and no whole distribution: then their mean stands
            for the true one, which costs one degree of freedom.
    """
    centered = draws.weights * (quantity - draws.mean(quantity)[:, None])
    if not counted:
        return centered
    lost = (draws.weights**2).sum(1, keepdims=True)
    return centered / (1.0 - lost)
