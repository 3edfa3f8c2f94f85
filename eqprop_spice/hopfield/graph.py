"""The graph of a Hopfield network: layers, what connects them, and which may move at once."""

import dataclasses
import functools
import math
from collections.abc import Sequence

from eqprop_spice.errors import ConfigError
from eqprop_spice.hopfield.edges import AbstractEdge, ConvolutionEdge, DenseEdge, Shape
from eqprop_spice.hopfield.layers import Convolution, Dense, Skip


@dataclasses.dataclass(frozen=True)
class Graph:
    """Layers by number, the inputs being layer 0 and the outputs the last.

    Attributes:
        shapes: Shape of a state of every layer, the inputs among them.
        bounds: Smallest and largest state of every layer but the inputs.
        edges: The connections; the layer's own comes before what skips others to it.
    """

    shapes: tuple[Shape, ...]
    bounds: tuple[tuple[float, float], ...]
    edges: tuple[AbstractEdge, ...]

    @property
    def num_layers(self) -> int:
        """Number of layers that move."""
        return len(self.bounds)

    @functools.cached_property
    def inner_edges(self) -> tuple[int, ...]:
        """Numbers of the edges between layers that move."""
        return tuple(i for i, edge in enumerate(self.edges) if edge.source > 0)

    @functools.cached_property
    def num_products(self) -> int:
        """Multiplications of a sample in a sweep, one direction counted, by plain sums."""
        edges = (self.edges[i] for i in self.inner_edges)
        return sum(edge.num_products for edge in edges)

    @functools.cached_property
    def colors(self) -> tuple[tuple[int, ...], ...]:
        """Layers by color: no two of a color are connected, so that they may move at once.

        Greedy, in the order of the layers: odd and even ones where no connection skips a layer.
        """
        color: dict[int, int] = {}
        for layer in range(1, self.num_layers + 1):
            pairs = [(self.edges[i].source, self.edges[i].target) for i in self.inner_edges]
            near = {a for a, b in pairs if b == layer} | {b for a, b in pairs if a == layer}
            taken = {color[other] for other in near if other in color}
            color[layer] = next(c for c in range(self.num_layers) if c not in taken)
        count = max(color.values()) + 1
        return tuple(tuple(k for k in color if color[k] == c) for c in range(count))

    def parameter_shapes(self) -> dict[str, Shape]:
        """Return the shapes of weights and biases; a convolution has a bias per channel."""
        shapes: dict[str, Shape] = {}
        for edge in self.edges:
            shapes[edge.name] = edge.weight_shape
            shapes.setdefault(bias_name(edge.target), self.shapes[edge.target][-1:])
        return shapes


def bias_name(layer: int) -> str:
    """Return the name of a layer's biases."""
    return f"bias_{layer}"


def build_graph(
    layers: Sequence[Dense | Convolution],
    skips: Sequence[Skip],
    *,
    num_inputs: int,
    image: tuple[int, ...],
) -> Graph:
    """Return the graph of layers in a row, each connected to the one before it, and of skips.

    Args:
        layers: The layers, the outputs last.
        skips: Further connections.
        num_inputs: Number of inputs.
        image: Channels, height and width of the inputs; empty if they are no image.

    Raises:
        ConfigError: If shapes do not fit, or a layer or a connection cannot be.
    """
    for skip in skips:
        if not 0 <= skip.source < skip.target - 1 < len(layers):
            raise ConfigError(
                f"A skip goes from layer {skip.source} to layer {skip.target}; it must go from one "
                f"of 0 (the inputs) to {len(layers)} (the outputs) to a later one, past at least "
                "one layer."
            )
    shapes = [_input_shape(num_inputs, image)]
    edges: list[AbstractEdge] = []
    for number, layer in enumerate(layers, 1):
        edge = _own_edge(layer, number, shapes[-1])
        shapes.append(edge.target_shape)
        edges.append(edge)
        edges += [_skip_edge(skip, shapes) for skip in skips if skip.target == number]
    names = [edge.name for edge in edges]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(f"Two skips are the same connection, '{double}'. Remove one.")
    bounds = tuple(_bounds(layer.bounds, number) for number, layer in enumerate(layers, 1))
    for edge in edges:
        if edge.pools_maxima and bounds[edge.target - 1][0] < 0.0:
            raise ConfigError(
                f"Layer {edge.target} pools maxima, and its states may be negative: the energy "
                "would have no minimum that is found layer by layer. Set its lower bound to 0, or "
                "pool averages."
            )
    return Graph(tuple(shapes), bounds, tuple(edges))


def _input_shape(num_inputs: int, image: tuple[int, ...]) -> Shape:
    if not image:
        return (num_inputs,)
    if len(image) != 3 or min(image) < 1 or math.prod(image) != num_inputs:
        raise ConfigError(
            f"image is {list(image)}; it must be the channels, height and width of the "
            f"{num_inputs} inputs."
        )
    channels, height, width = image
    return height, width, channels


def _own_edge(layer: Dense | Convolution, number: int, source: Shape) -> AbstractEdge:
    name = f"weight_{number}"
    if isinstance(layer, Convolution):
        window = 1 if layer.pool == "none" else layer.window
        return ConvolutionEdge(
            name,
            number - 1,
            number,
            source,
            channels=layer.channels,
            kernel=layer.kernel,
            stride=layer.stride,
            padding=layer.padding,
            pooling=layer.pool,
            window=window,
        )
    if layer.size < 1:
        raise ConfigError(f"Layer {number} has size {layer.size}; it must be positive.")
    return DenseEdge(name, number - 1, number, source, size=layer.size)


def _skip_edge(skip: Skip, shapes: Sequence[Shape]) -> AbstractEdge:
    """Return the connection of a skip to the last of some layers."""
    place = f"weight_{skip.source}_{skip.target}", skip.source, skip.target
    source, target = shapes[skip.source], shapes[-1]
    if skip.kernel == 0 and len(target) == 1:
        return DenseEdge(*place, source, size=target[0])
    edge = ConvolutionEdge(
        *place,
        source,
        channels=target[-1],
        kernel=skip.kernel,
        stride=skip.stride,
        padding=skip.padding,
    )
    if edge.target_shape != target:
        raise ConfigError(
            f"The skip from layer {skip.source} to layer {skip.target} makes images of "
            f"{edge.target_shape[0]} x {edge.target_shape[1]} pixels, but layer {skip.target} "
            f"has the shape {target} (rows, columns, channels). Change its kernel, stride or "
            "padding."
        )
    return edge


def _bounds(bounds: tuple[float, ...], number: int) -> tuple[float, float]:
    if not bounds:
        return -math.inf, math.inf
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise ConfigError(
            f"Layer {number} has the bounds {list(bounds)}; they must be a smaller and a larger "
            "number, or an empty list for a linear layer."
        )
    return bounds[0], bounds[1]
