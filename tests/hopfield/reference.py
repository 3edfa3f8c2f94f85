"""Hopfield networks once more, in numpy: matrices that loops fill, layers visited in their order.

It shares the description of a network with the package, and nothing that computes.
"""

import numpy as np

from eqprop_spice.hopfield.edges import AbstractEdge, ConvolutionEdge
from eqprop_spice.substrates.hopfield import Hopfield

MOST_SWEEPS = 100_000
"""Sweeps after which the reference gives up; its tests need a few hundred."""


def matrix(edge: AbstractEdge, weight: np.ndarray) -> np.ndarray:
    """Return the product of a connection as a matrix from source units to product units."""
    if not isinstance(edge, ConvolutionEdge):
        return weight.T
    rows, columns, channels = edge.source_shape
    height, width = (
        (n + 2 * edge.padding - edge.kernel) // edge.stride + 1 for n in (rows, columns)
    )
    full = np.zeros((height, width, edge.channels, rows, columns, channels))
    for i in range(height):
        for j in range(width):
            for a in range(edge.kernel):
                for b in range(edge.kernel):
                    r, c = i * edge.stride + a - edge.padding, j * edge.stride + b - edge.padding
                    if 0 <= r < rows and 0 <= c < columns:
                        full[i, j, :, r, c, :] += weight[a, b].T
    return full.reshape(height * width * edge.channels, -1)


def windows(edge: AbstractEdge) -> np.ndarray | None:
    """Return which product units each target unit pools, `target place`; None without a pool."""
    if not isinstance(edge, ConvolutionEdge) or edge.pooling == "none":
        return None
    height, width, channels = edge.product_shape
    number = np.arange(height * width * channels).reshape(height, width, channels)
    p = edge.window
    return np.array(
        [
            [number[i * p + a, j * p + b, c] for a in range(p) for b in range(p)]
            for i in range(height // p)
            for j in range(width // p)
            for c in range(channels)
        ]
    )


def pooled(edge: AbstractEdge, members: np.ndarray | None, product: np.ndarray) -> np.ndarray:
    """Return what a pool makes of one sample's products, as a matrix from products to targets."""
    if members is None:
        return np.eye(len(product))
    result = np.zeros((len(members), len(product)))
    for target, places in enumerate(members):
        if edge.pools_maxima:
            result[target, places[np.argmax(product[places])]] = 1.0
        else:
            result[target, places] = 1.0 / len(places)
    return result


def settled(
    network: Hopfield,
    params: dict[str, np.ndarray],
    inputs: np.ndarray,
    *,
    force: np.ndarray | float = 0.0,
    stiffness: float = 0.0,
    held: np.ndarray | None = None,
    start: list[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Return the state of one sample, layers flat, to its last bit.

    Args:
        network: The network.
        params: Its parameters.
        inputs: Inputs of the sample.
        force: Force on the outputs.
        stiffness: Spring at the outputs.
        held: What the outputs are held at.
        start: State to start from, layers flat; zeros if None.
    """
    graph, last = network.graph, network.graph.num_layers
    matrices = [matrix(edge, params[edge.name]) for edge in graph.edges]
    members = [windows(edge) for edge in graph.edges]
    image = np.moveaxis(inputs.reshape(network.image), 0, -1) if network.image else inputs
    zeros = [np.zeros(int(np.prod(shape))) for shape in graph.shapes[1:]]
    state = [image.ravel(), *(start or zeros)]
    biases = [
        np.broadcast_to(params[f"bias_{k}"], graph.shapes[k]).ravel() for k in range(1, last + 1)
    ]
    for _ in range(MOST_SWEEPS):
        before = [part.copy() for part in state]
        for layer in range(1, last + 1):
            drive = biases[layer - 1].copy()
            for edge, product, places in zip(graph.edges, matrices, members, strict=True):
                pool = pooled(edge, places, product @ state[edge.source])
                if edge.target == layer:
                    drive += pool @ product @ state[edge.source]
                if edge.source == layer:
                    drive += product.T @ pool.T @ state[edge.target]
            if layer == last:
                drive = (drive + force) / (1.0 + stiffness)
            state[layer] = np.clip(drive, *graph.bounds[layer - 1])
            if layer == last and held is not None:
                state[layer] = held
        if all(np.abs(a - b).max() < 1e-15 for a, b in zip(state, before, strict=True)):
            return state[1:]
    raise AssertionError("the reference did not settle")
