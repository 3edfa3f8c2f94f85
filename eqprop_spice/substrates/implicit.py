r"""Responses and gradients at a settled state by the implicit function theorem.

Where $r(\theta, s, I) = 0$ defines the state and $J = \partial_s r$ is its Jacobian, a force moves
it by $\partial s/\partial I = -J^{-1}\,\partial_I r$, and the gradient of a cost is
$dC/d\theta = -\lambda^T \partial_\theta r$ with $J^T \lambda = \partial_s C$. J is built and
factored per sample: right for any system, and fast enough for small ones.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.phases import Force, Free

if TYPE_CHECKING:
    from eqprop_spice.substrates.base import AbstractSubstrate, Params


def masked(state: Any, samples: Bool[Array, " batch"]) -> Any:
    """Return a tree with zeros for the samples that do not count: NaN would spread from there."""

    def part(leaf: Array) -> Array:
        shape = (-1,) + (1,) * (leaf.ndim - 1)
        return jnp.where(jnp.reshape(samples, shape), leaf, 0.0)

    return jax.tree.map(part, state)


def respond(
    substrate: "AbstractSubstrate", params: "Params", inputs: Array, state: Any, forces: Array
) -> tuple[Any, Bool[Array, " batch"]]:
    """Return the change of a free state under a small force at the outputs, and where it is finite.

    Args:
        substrate: The system.
        params: Parameters by group name.
        inputs: Inputs.
        state: A free state.
        forces: Small force on each output, `batch output`.
    """

    def pushed(currents):
        return substrate.residual(params, inputs, state, Force(currents))

    _, push = jax.jvp(pushed, (0.0 * forces,), (forces,))
    jacobians, flatten, unflatten = _linearize(substrate, params, inputs, state)
    change = -jnp.linalg.solve(jacobians, flatten(push)[..., None])[..., 0]
    return unflatten(change), jnp.isfinite(change).all(axis=1)


def cost_gradient(
    substrate: "AbstractSubstrate",
    params: "Params",
    inputs: Array,
    state: Any,
    output_gradient: Array,
    samples: Bool[Array, " batch"],
) -> tuple[dict[str, Array], Bool[Array, " batch"]]:
    r"""Return the mean of $dC/d\theta$ over the samples where it is finite, and which they are.

    Args:
        substrate: The system.
        params: Parameters by group name.
        inputs: Inputs.
        state: A free state.
        output_gradient: $\partial C/\partial o$, `batch output`.
        samples: Which samples count.
    """
    state = masked(state, samples)
    _, pull = jax.vjp(substrate.outputs, state)
    jacobians, flatten, unflatten = _linearize(substrate, params, inputs, state)
    (slope,) = pull(output_gradient)
    multipliers = jnp.linalg.solve(jnp.swapaxes(jacobians, 1, 2), flatten(slope)[..., None])[..., 0]
    valid = samples & jnp.isfinite(multipliers).all(axis=1)
    weights = jnp.where(valid[:, None], -multipliers, 0.0) / jnp.maximum(valid.sum(), 1)
    arrays = {name: jnp.asarray(value) for name, value in params.items()}
    _, pull = jax.vjp(lambda p: substrate.residual(p, inputs, state, Free()), arrays)
    (gradient,) = pull(unflatten(weights))
    return gradient, valid


def _linearize(substrate: "AbstractSubstrate", params: "Params", inputs: Array, state: Any):
    """Return the Jacobian of the residual per sample, and how trees become rows and rows trees."""
    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], state))

    def flatten(tree: Any) -> Float[Array, "batch unknown"]:
        return jax.vmap(lambda one: ravel_pytree(one)[0])(tree)

    def jacobian(x, row):
        def residual(row):
            one = jax.tree.map(lambda leaf: leaf[None], unravel(row))
            return flatten(substrate.residual(params, x[None], one, Free()))[0]

        return jax.jacfwd(residual)(row)

    jacobians = jax.vmap(jacobian)(jnp.asarray(inputs), flatten(state))
    return jacobians, flatten, jax.vmap(unravel)
