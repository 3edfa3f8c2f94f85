r"""Operating points of small networks of transistors, batched in one compiled loop.

Newton's method with bounded steps. Where no edge joins two free nodes the Jacobian is diagonal:
every node's voltage is the root of an increasing scalar function, and no system is solved at all.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.engines.edges.network import EdgeNetwork

MAX_STEPS = 200
LARGEST_STEP = 0.3
"""Of a voltage [V]: a few threshold voltages' share, within which the square law is good."""

STEP_TOLERANCE = 1e-10
"""A step of a voltage [V] after which the error, of its square, is rounding."""

RESIDUAL_TOLERANCE = 1e-9
"""Largest violation of Kirchhoff's law, relative to the currents that meet in a node and
`CURRENT_FLOOR`."""

CURRENT_FLOOR = 1e-12
"""Current [A] below which no node's residual is asked to be relative: gmin times a volt."""

Loads = tuple[Float[Array, "batch free"], Array | float]


def stiffness_matrix(network: EdgeNetwork, pairs: np.ndarray) -> np.ndarray:
    """Return what a unit conductance across every pair of free nodes stamps, `free free`.

    Args:
        network: The network.
        pairs: Free nodes, numbered from 0; -1 for the ground.
    """
    found = np.zeros((network.num_free, network.num_free))
    for plus, minus in pairs.tolist():
        for one, two, sign in ((plus, plus, 1), (minus, minus, 1), (plus, minus, -1)):
            if one >= 0 and two >= 0:
                found[one, two] += sign
                if one != two:
                    found[two, one] += sign
    return found


def jacobian(
    network: EdgeNetwork,
    voltages: Float[Array, "batch node"],
    gates: Float[Array, " edge"],
    springs: Float[Array, "free free"],
) -> Float[Array, "batch free free"]:
    """Return the derivative of Kirchhoff's equations by the free voltages [S]."""
    rows, columns, kept = network.pattern
    slopes = jnp.concatenate(network.slopes(voltages, gates), axis=1)[:, kept]
    base = jnp.asarray(springs) + network.leak * jnp.eye(network.num_free)
    full = jnp.broadcast_to(base, (len(voltages), *base.shape))
    return full.at[:, rows, columns].add(slopes)


def diagonal(
    network: EdgeNetwork, voltages: Float[Array, "batch node"], gates: Float[Array, " edge"]
) -> Float[Array, "batch free"]:
    """Return the diagonal of the Jacobian [S]: all of it, where the network is scalar."""
    by_drain, _, _, by_source = network.slopes(voltages, gates)
    return network.gathered(by_drain, by_source) + network.leak


@functools.partial(jax.jit, static_argnames="network")
def solve(
    network: EdgeNetwork,
    gates: Float[Array, " edge"],
    held: Float[Array, "batch source"],
    injected: Float[Array, "batch free"],
    springs: Float[Array, "free free"] | None,
    fixed: Bool[Array, " free"],
    start: Float[Array, "batch free"],
) -> tuple[Float[Array, "batch free"], Bool[Array, " batch"], Float[Array, " batch"], Array]:
    """Find operating points.

    Args:
        network: The network.
        gates: Gate voltages [V].
        held: Voltages of the sources [V].
        injected: Currents into the free nodes [A].
        springs: Conductances between free nodes [S]; None for none.
        fixed: Free nodes that stay where `start` has them.
        start: Voltages to start from [V].

    Returns:
        Voltages of the free nodes [V], which samples converged, the largest relative violation,
        and the steps taken.
    """
    scalar = network.scalar and springs is None
    none = jnp.zeros((network.num_free,) * 2)
    coupling = none if springs is None else springs
    moving = jnp.asarray(~fixed)

    def full(free):
        return jnp.concatenate([held, free], axis=1)

    def excess(free):
        found = network.residual(full(free), gates, injected)
        return jnp.where(moving, found if scalar else found + free @ coupling.T, 0.0)

    def move(free):
        if scalar:
            return -excess(free) / diagonal(network, full(free), gates)
        matrix = jacobian(network, full(free), gates, coupling)
        matrix = jnp.where(moving[:, None], matrix, jnp.eye(len(moving)))
        return -jnp.linalg.solve(matrix, excess(free)[..., None])[..., 0]

    def step(loop):
        free, _, count = loop
        change = move(free)
        change = jnp.where(jnp.isfinite(change), change, 0.0)
        largest = jnp.abs(change).max(axis=1, initial=0.0)
        bound = jnp.minimum(1.0, LARGEST_STEP / jnp.maximum(largest, LARGEST_STEP))
        # Scalar equations are solved each for itself.
        change = (
            jnp.clip(change, -LARGEST_STEP, LARGEST_STEP) if scalar else change * bound[:, None]
        )
        return free + change, largest.max(initial=0.0), count + 1

    def going(loop):
        return (loop[1] > STEP_TOLERANCE) & (loop[2] < MAX_STEPS)

    first = jnp.asarray(start), jnp.asarray(jnp.inf), jnp.asarray(0)
    free, _, count = jax.lax.while_loop(going, step, first)
    scale = network.scale(full(free), gates) + abs(injected) + CURRENT_FLOOR
    residual = (jnp.abs(excess(free)) / scale).max(axis=1, initial=0.0)
    residual = jnp.where(jnp.isfinite(residual), residual, jnp.inf)
    converged = residual <= RESIDUAL_TOLERANCE
    return jnp.where(converged[:, None], free, jnp.nan), converged, residual, count


@functools.partial(jax.jit, static_argnames=("network", "transposed"))
def linear_solve(
    network: EdgeNetwork,
    gates: Float[Array, " edge"],
    voltages: Float[Array, "batch node"],
    right: Float[Array, "batch free"],
    *,
    transposed: bool,
) -> Float[Array, "batch free"]:
    """Solve the Jacobian at operating points, or its transpose."""
    if network.scalar:
        return right / diagonal(network, voltages, gates)
    none = jnp.zeros((network.num_free,) * 2)
    matrix = jacobian(network, voltages, gates, none)
    matrix = matrix.swapaxes(1, 2) if transposed else matrix
    return jnp.linalg.solve(matrix, right[..., None])[..., 0]
