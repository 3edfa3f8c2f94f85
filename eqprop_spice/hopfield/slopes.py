r"""Slopes of the energy of a Hopfield network by its parameters.

$\partial E/\partial W_e$ is minus the product of the state of the source of e with the state of its
target, spread to where the pool took it from; $\partial E/\partial b_k$ is minus a state.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp

from eqprop_spice.arrays import Array
from eqprop_spice.hopfield.descent import State
from eqprop_spice.hopfield.graph import Graph, bias_name


def factors(
    graph: Graph, params: Mapping[str, Array], inputs: Array, state: State
) -> list[tuple[Array, Array]]:
    """Return, per edge, the state of the source, and of the target where the pool took it from.

    Args:
        graph: The network.
        params: Its parameters, in the precision of the state.
        inputs: State of layer 0.
        state: States of the other layers.
    """
    layers = (inputs, *state)
    found = []
    for edge in graph.edges:
        source, switches = layers[edge.source], ()
        if edge.pools_maxima:
            _, switches = edge.pool(edge.product(params[edge.name], source))
        found.append((source, edge.spread(layers[edge.target], switches)))
    return found


def mean_slopes(
    graph: Graph, products: Sequence[Array], state: State, samples: Array
) -> dict[str, Array]:
    """Return minus products and states, divided by the number of samples, by parameter.

    Args:
        graph: The network.
        products: Sums over samples of the products of factors, per edge.
        state: States, or their changes, of the layers; zero for samples that do not count.
        samples: Which samples count.
    """
    count = jnp.maximum(samples.sum(), 1).astype(state[-1].dtype)
    slopes = {
        edge.name: -product / count for edge, product in zip(graph.edges, products, strict=True)
    }
    for layer, values in enumerate(state, 1):
        total = values.reshape(-1, values.shape[-1]).sum(axis=0)
        slopes[bias_name(layer)] = -total / count
    return slopes
