r"""The circuit of a Hopfield network: its operating point is the network's state.

Every unit has a node u with a capacitor and a leak of 1 S to ground, into which its bias flows as
a current, and every connected state as a current through a transconductance. A saturating buffer
makes the state s of u. So Kirchhoff's law at u reads $C\dot u = d - u$ with $s = \mathrm{clip}(u)$:
the circuit rests exactly where the network does, without the error of a clamp that conducts. Nudges
flow into u.

References:
    Hopfield (1984), doi:10.1073/pnas.81.10.3088, eq. 5.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.hopfield.attached import Attached, attach
from eqprop_spice.hopfield.descent import State
from eqprop_spice.hopfield.edges import AbstractEdge
from eqprop_spice.hopfield.graph import Graph, bias_name
from eqprop_spice.phases import AbstractPhase
from eqprop_spice.spice.session import Session
from eqprop_spice.spice.writer import ACCURATE_OPTIONS, framed, number

CAPACITANCE = 1e-9
"""Of every unit's node [F]: with the leak, a time constant of 1 ns; the state does not depend on
it."""


def check_drawable(graph: Graph) -> None:
    """Refuse a network whose products are not those of fixed transconductances.

    Raises:
        ConfigError: If a layer pools maxima.
    """
    for edge in graph.edges:
        if edge.pools_maxima:
            raise ConfigError(
                f"Layer {edge.target} pools maxima, and no transconductance does. Pool averages, "
                "or leave the pool out, for a network that can be built and simulated in ngspice."
            )


def netlist(
    graph: Graph,
    params: Mapping[str, Array],
    inputs: Float[np.ndarray, " input"],
    phase: AbstractPhase,
    *,
    title: str,
) -> str:
    """Return the netlist of one sample in one phase; `ngspice -b` prints its states.

    Args:
        graph: The network.
        params: Weights [S] and biases [A] by group name.
        inputs: The units of layer 0 [V].
        phase: What is attached to the outputs.
        title: What it is; other characters than letters, digits and blanks become blanks.

    Raises:
        ConfigError: If a layer pools maxima.
        NetlistError: If a number is not finite.
    """
    load = attach([phase], (1, graph.shapes[-1][0]), "float64")
    names = [node for layer in _state_nodes(graph) for node in layer]
    return framed([*_cards(graph, params, inputs, load, 0)], names, phase, title)


def operating_states(
    graph: Graph,
    params: Mapping[str, Array],
    inputs: Float[np.ndarray, "batch input"],
    load: Attached,
) -> State:
    """Return the states of all layers at operating points of ngspice; NaN where there is none.

    Args:
        graph: The network.
        params: Weights [S] and biases [A] by group name.
        inputs: The units of layer 0 [V].
        load: What is attached to the outputs.

    Raises:
        ConfigError: If a layer pools maxima.
        NetlistError: If a number is not finite.
    """
    decks = [
        [
            "* eqprop_spice hopfield network",
            ACCURATE_OPTIONS,
            *_cards(graph, params, x, load, i),
            ".end",
        ]
        for i, x in enumerate(inputs)
    ]
    nodes, shapes = _state_nodes(graph), graph.shapes[1:]
    state = Session.do(lambda session: _solved(session, decks, nodes))
    return tuple(part.reshape(-1, *shape) for part, shape in zip(state, shapes, strict=True))


def _solved(
    session: Session, decks: list[list[str]], nodes: list[list[str]]
) -> list[Float[np.ndarray, "batch unit"]]:
    """Return the voltages of nodes, layer by layer, at the operating point of every deck."""
    state = [np.full((len(decks), len(names)), np.nan) for names in nodes]
    for row, deck in enumerate(decks):
        session.load(deck)
        session.command("op")
        for values, names in zip(state, nodes, strict=True):
            for unit, name in enumerate(names):
                found = session.vector(name)
                if found is not None:
                    values[row, unit] = found[0]
    session.unload()
    return state


def _state_nodes(graph: Graph) -> list[list[str]]:
    """Return the names of the nodes of states, layer by layer without the inputs."""
    return [
        [f"s{layer}_{unit}" for unit in range(math.prod(shape))]
        for layer, shape in enumerate(graph.shapes[1:], 1)
    ]


def _cards(
    graph: Graph,
    params: Mapping[str, Array],
    inputs: Float[np.ndarray, " input"],
    load: Attached,
    row: int,
) -> Iterator[str]:
    """Yield all cards of one sample under a row of a load."""
    check_drawable(graph)
    for group, values in params.items():
        if not np.isfinite(values).all():
            raise NetlistError(f"'{group}' holds numbers that are not finite.")
    yield "* inputs"
    for unit, value in enumerate(inputs):
        yield f"vs0_{unit} s0_{unit} 0 {number(value)}"
    yield "* units: leak, capacitor, bias, saturating buffer"
    for layer, shape in enumerate(graph.shapes[1:], 1):
        biases = np.broadcast_to(params[bias_name(layer)], shape).ravel()
        for unit, bias in enumerate(biases.tolist()):
            name = f"{layer}_{unit}"
            yield f"ru{name} u{name} 0 1"
            yield f"cu{name} u{name} 0 {number(CAPACITANCE)}"
            yield f"iu{name} 0 u{name} {number(bias)}"
            if layer < graph.num_layers:
                yield _buffer(name, *graph.bounds[layer - 1])
    yield "* weights: a transconductance in each direction, from inputs in one"
    for edge in graph.edges:
        yield from _weight_cards(edge, params[edge.name])
    yield "* outputs and nudge"
    yield from _output_cards(graph, load, row)


def _buffer(name: str, low: float, high: float) -> str:
    if math.isinf(low):
        return f"es{name} s{name} 0 u{name} 0 1"
    return f"bs{name} s{name} 0 v=min(max(v(u{name}), {number(low)}), {number(high)})"


def _weight_cards(edge: AbstractEdge, weight: Array) -> Iterator[str]:
    size = math.prod(edge.source_shape)
    units = np.eye(size).reshape(size, *edge.source_shape)
    product, _ = edge.pool(edge.product(np.asarray(weight), units))
    matrix = np.asarray(product).reshape(size, -1)
    for i, j in zip(*np.nonzero(matrix), strict=True):
        value, name = number(matrix[i, j]), f"{edge.source}_{i}_{edge.target}_{j}"
        yield f"gf{name} 0 u{edge.target}_{j} s{edge.source}_{i} 0 {value}"
        if edge.source > 0:
            yield f"gb{name} 0 u{edge.source}_{i} s{edge.target}_{j} 0 {value}"


def _output_cards(graph: Graph, load: Attached, row: int) -> Iterator[str]:
    last = graph.num_layers
    stiffness = float(load.stiffness[row, 0])
    forces, held = (np.asarray(part[row], float).tolist() for part in (load.force, load.held))
    for unit, (force, value) in enumerate(zip(forces, held, strict=True)):
        name = f"{last}_{unit}"
        if load.holds[row, 0]:
            yield f"vs{name} s{name} 0 {number(value)}"
            continue
        yield _buffer(name, *graph.bounds[-1])
        if stiffness != 0.0:
            yield f"gspring_{unit} u{name} 0 u{name} 0 {number(stiffness)}"
        if force != 0.0:
            yield f"inudge_{unit} 0 u{name} {number(force)}"
