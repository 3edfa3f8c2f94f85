"""Recognizes a chain of layers in a circuit, the structure the layered plan exploits."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.groups import Group
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.circuits.reciprocity import WEIGHT_TOLERANCE
from eqprop_spice.devices.ideal import Diode
from eqprop_spice.engines.layered.blocks import Block, block_of
from eqprop_spice.engines.layered.nodes import DiodeSlot


@dataclasses.dataclass(frozen=True, eq=False)
class Coupling:
    r"""A block of resistors that ends at a layer, its rows split by what drives them.

    Attributes:
        block: The resistors.
        fixed_rows: Rows of the conductances that start at fixed nodes.
        fixed_columns: Where those nodes stand in `Circuit.fixed_nodes`.
        driven_rows: Rows that start at amplifier outputs (or free nodes) of the previous layer.
        driven_positions: Position in the previous layer of the node that drives each such row.
        gains: Voltage gain of each driven row; 1 for a free node.
        offsets: Input offset of its amplifier [V].
    """

    block: Block
    fixed_rows: Int[np.ndarray, " fixed_row"]
    fixed_columns: Int[np.ndarray, " fixed_row"]
    driven_rows: Int[np.ndarray, " driven_row"]
    driven_positions: Int[np.ndarray, " driven_row"]
    gains: Float[np.ndarray, " driven_row"]
    offsets: Float[np.ndarray, " driven_row"]

    @property
    def lifted(self) -> bool:
        """Whether any amplifier has an offset."""
        return bool((self.offsets != 0.0).any())


@dataclasses.dataclass(frozen=True, eq=False)
class Ending:
    """A dense group from a layer to fixed nodes, such as outputs that are held.

    Attributes:
        coupling: How its rows are driven.
        columns: Where the fixed nodes it ends at stand in `Circuit.fixed_nodes`.
    """

    coupling: Coupling
    columns: Int[np.ndarray, " column"]


@dataclasses.dataclass(frozen=True, eq=False)
class Supply:
    """Current sources of one group at the nodes of a layer.

    Attributes:
        group: The group.
        instances: Which of its sources these are.
        positions: Where their nodes stand in the layer.
        sign: 1 if their current enters the nodes, -1 if it leaves them.
    """

    group: Group
    instances: Int[np.ndarray, " some"]
    positions: Int[np.ndarray, " some"]
    sign: float


@dataclasses.dataclass(frozen=True, eq=False)
class ChainLayer:
    r"""The free nodes that one or more blocks of resistors end at.

    Attributes:
        nodes: Their indices in the circuit.
        couplings: The blocks.
        endings: The blocks that lead from the layer to fixed nodes.
        diodes: The diodes from each node to fixed nodes.
        supplies: The current sources at its nodes.
        ratios: $\kappa/A$ of each node's amplifiers; 1 without an amplifier.
        weights: Reciprocity weight of each node.
    """

    nodes: Int[np.ndarray, " node"]
    couplings: tuple[Coupling, ...]
    endings: tuple[Ending, ...]
    diodes: tuple[DiodeSlot, ...]
    supplies: tuple[Supply, ...]
    ratios: Float[np.ndarray, " node"]
    weights: Float[np.ndarray, " node"]

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.nodes)


@dataclasses.dataclass(frozen=True, eq=False)
class Chain:
    """Layers in a row; the last one holds the outputs, unless sources hold them.

    Attributes:
        layers: The layers, from the inputs to the outputs.
        incidence: +1 and -1 where an output is read, `output node` of the last layer; zero for
            nodes that sources hold.
        column_of_node: Where each node of the circuit stands in the row
            `fixed nodes | nodes of each layer | followers`.
    """

    layers: tuple[ChainLayer, ...]
    incidence: Float[np.ndarray, "output node"]
    column_of_node: Int[np.ndarray, " circuit_node"]

    @property
    def devices(self) -> set[Diode]:
        """The diode laws in it."""
        return {slot.device for layer in self.layers for slot in layer.diodes}


class _NotAChainError(Exception):
    """The circuit has another structure; the general plan solves it."""


def recognize(circuit: Circuit) -> Chain | None:
    """Return the circuit's chain of layers, or None if it has another structure.

    The layered plan needs: resistors in dense groups and patches only, each group from fixed nodes
    and the followers of one layer to all nodes of the next, or to fixed nodes; diodes from layers
    to constant sources; current sources at layers; one ratio kappa/A per node; and reciprocity
    weights that are positive, or alternate in sign from layer to layer, so that Newton's method on
    every second layer is convex.
    """
    try:
        return _recognize(circuit)
    except _NotAChainError:
        return None


def _require(condition: bool) -> None:
    if not condition:
        raise _NotAChainError


def _recognize(circuit: Circuit) -> Chain:
    sets: list[np.ndarray] = []
    groups_of: list[list[Block]] = []
    ending_groups: list[Block] = []
    layer_of = np.full(circuit.num_nodes, -1)
    position_of = np.full(circuit.num_nodes, -1)
    for group in circuit.linear_groups:
        block = block_of(group)
        if block is None:
            raise _NotAChainError
        second = block.layout.second
        if circuit.is_fixed[second].all():
            ending_groups.append(block)
            continue
        known = int(layer_of[second[0]])
        if known >= 0:
            _require(np.array_equal(sets[known], second))
            groups_of[known].append(block)
            continue
        _require(bool((layer_of[second] < 0).all()) and len(set(second.tolist())) == len(second))
        layer_of[second] = len(sets)
        position_of[second] = np.arange(len(second))
        sets.append(second)
        groups_of.append([block])
    _require(bool((layer_of[circuit.free_nodes] >= 0).all()))
    _require(int((layer_of >= 0).sum()) == len(circuit.free_nodes))
    drivers = _Drivers(circuit, position_of, layer_of)
    order = _order(drivers, groups_of)
    ending_groups_of = _by_layer(drivers, ending_groups, len(sets))
    incidence = _incidence(circuit, sets[order[-1]], position_of)
    slots = _diode_slots(circuit, layer_of, position_of, sets)
    supplies = _supplies(circuit, layer_of, position_of, len(sets))
    couplings = [tuple(drivers.coupling(g) for g in groups_of[i]) for i in order]
    following = [*(groups_of[i] for i in order[1:]), []]
    driven = [[*groups, *ending_groups_of[i]] for i, groups in zip(order, following, strict=True)]
    ratios = [drivers.ratios(sets[i], groups) for i, groups in zip(order, driven, strict=True)]
    weights = _weights(ratios)
    layers = tuple(
        ChainLayer(
            sets[i],
            couplings[k],
            tuple(drivers.ending(g) for g in ending_groups_of[i]),
            tuple(slots[i]),
            tuple(supplies[i]),
            ratios[k],
            weights[k],
        )
        for k, i in enumerate(order)
    )
    return Chain(layers, incidence, _columns(circuit, layers))


class _Drivers:
    """What drives each node: a source, a free node, or an amplifier."""

    def __init__(self, circuit: Circuit, position_of: np.ndarray, layer_of: np.ndarray) -> None:
        count = circuit.num_nodes
        self.source = np.arange(count)
        self.gain = np.ones(count)
        self.reflection = np.ones(count)
        self.offset = np.zeros(count)
        for a in circuit.amplifiers:
            self.source[a.outputs] = a.inputs
            self.gain[a.outputs] = a.gains
            self.reflection[a.outputs] = a.reflections
            self.offset[a.outputs] = a.offsets
        self.is_fixed = circuit.is_fixed
        self.column = np.full(count, -1)
        self.column[circuit.fixed_nodes] = np.arange(len(circuit.fixed_nodes))
        self.position_of = position_of
        self.layer_of = layer_of

    def previous_layers(self, group: Block) -> set[int]:
        """Return the layers whose nodes drive a group."""
        first = group.layout.first
        return set(self.layer_of[self.source[first[~self.is_fixed[first]]]].tolist())

    def coupling(self, group: Block) -> Coupling:
        """Split the rows of a group by what drives them."""
        first = group.layout.first
        fixed_rows = np.flatnonzero(self.is_fixed[first])
        driven_rows = np.flatnonzero(~self.is_fixed[first])
        driven = first[driven_rows]
        return Coupling(
            group,
            fixed_rows,
            self.column[first[fixed_rows]],
            driven_rows,
            self.position_of[self.source[driven]],
            self.gain[driven],
            self.offset[driven],
        )

    def ending(self, group: Block) -> Ending:
        """Return a block that leads to fixed nodes."""
        return Ending(self.coupling(group), self.column[group.layout.second])

    def ratios(self, nodes: np.ndarray, next_groups: list[Block]) -> np.ndarray:
        """Return kappa/A of each node's amplifiers, which must agree."""
        ratios = np.full(len(nodes), np.nan)
        for group in next_groups:
            first = group.layout.first
            driven = first[~self.is_fixed[first]]
            positions = self.position_of[self.source[driven]]
            values = self.reflection[driven] / self.gain[driven]
            for position, value in zip(positions.tolist(), values.tolist(), strict=True):
                old = ratios[position]
                _require(bool(np.isnan(old) or abs(old - value) <= WEIGHT_TOLERANCE * abs(value)))
                ratios[position] = value if np.isnan(old) else old
        # A node that drives nothing has no ratio of its own; its neighbors' keeps layers uniform.
        known = ratios[~np.isnan(ratios)]
        return np.where(np.isnan(ratios), known[0] if len(known) else 1.0, ratios)


def _by_layer(drivers: _Drivers, groups: list[Block], num_layers: int) -> list[list[Block]]:
    """Return the blocks that lead to fixed nodes by the layer that drives them."""
    of_layer: list[list[Block]] = [[] for _ in range(num_layers)]
    for group in groups:
        previous = drivers.previous_layers(group)
        _require(len(previous) <= 1 and -1 not in previous)
        # A block between fixed nodes carries currents that concern no unknown.
        for layer in previous:
            of_layer[layer].append(group)
    return of_layer


def _order(drivers: _Drivers, groups_of: list[list[Block]]) -> list[int]:
    """Return the layers from the inputs to the outputs."""
    following: dict[int, int] = {}
    start = set(range(len(groups_of)))
    for layer, groups in enumerate(groups_of):
        previous = set().union(*(drivers.previous_layers(g) for g in groups))
        _require(len(previous) <= 1 and layer not in previous and -1 not in previous)
        for before in previous:
            _require(before not in following)
            following[before] = layer
            start.discard(layer)
    _require(len(start) == 1)
    order = [start.pop()]
    while order[-1] in following:
        order.append(following[order[-1]])
    _require(len(order) == len(groups_of))
    return order


def _incidence(circuit: Circuit, last: np.ndarray, position_of: np.ndarray) -> np.ndarray:
    """Return where the outputs are read in the last layer."""
    incidence = np.zeros((circuit.num_outputs, len(last)))
    members = set(last.tolist())
    for sign, nodes in zip((1.0, -1.0), circuit.output_nodes.T, strict=True):
        for row, node in enumerate(nodes.tolist()):
            if not circuit.is_fixed[node]:
                _require(node in members)
                incidence[row, position_of[node]] += sign
    return incidence


def _constant_voltages(circuit: Circuit) -> dict[int, float]:
    """Return the voltage of ground and of every constant source by node [V]."""
    voltages = {GROUND: 0.0}
    for s in circuit.sources:
        for node, column, scale in zip(s.nodes, s.columns, s.scales, strict=True):
            if column < 0:
                voltages[int(node)] = float(scale)
    return voltages


def _diode_slots(
    circuit: Circuit, layer_of: np.ndarray, position_of: np.ndarray, sets: list[np.ndarray]
) -> list[list[DiodeSlot]]:
    """Return the diodes of each layer: per group, direction and repeat, at most one per node."""
    constants = _constant_voltages(circuit)
    slots: list[list[DiodeSlot]] = [[] for _ in sets]
    for group in circuit.nonlinear_groups:
        device = group.device
        if not isinstance(device, Diode):
            raise _NotAChainError
        pending: dict[tuple[int, int], list[dict[int, tuple[int, float]]]] = {}
        first, second = group.layout.pairs()
        for i, (anode, cathode) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
            if circuit.is_fixed[anode] and circuit.is_fixed[cathode]:
                continue
            sign, node, other = (
                (1, anode, cathode) if circuit.is_fixed[cathode] else (-1, cathode, anode)
            )
            _require(bool(layer_of[node] >= 0) and other in constants)
            rows = pending.setdefault((int(layer_of[node]), sign), [])
            position = int(position_of[node])
            row = next((r for r in rows if position not in r), None)
            if row is None:
                row = {}
                rows.append(row)
            row[position] = i, constants[other]
        for (layer, sign), rows in pending.items():
            for row in rows:
                slots[layer].append(_slot(device, group.values, float(sign), len(sets[layer]), row))
    return slots


def _supplies(
    circuit: Circuit, layer_of: np.ndarray, position_of: np.ndarray, num_layers: int
) -> list[list[Supply]]:
    """Return the current sources at the nodes of each layer."""
    found: list[list[Supply]] = [[] for _ in range(num_layers)]
    for group in circuit.supplying_groups:
        for sign, nodes in zip((-1.0, 1.0), group.layout.pairs(), strict=True):
            at = layer_of[nodes]
            _require(bool((circuit.is_fixed[nodes] | (at >= 0)).all()))
            for layer in range(num_layers):
                here = np.flatnonzero(at == layer)
                if len(here):
                    found[layer].append(Supply(group, here, position_of[nodes[here]], sign))
    return found


def _slot(
    device: Diode,
    group_values: Mapping[str, Float[np.ndarray, " instance"]],
    sign: float,
    size: int,
    row: Mapping[int, tuple[int, float]],
) -> DiodeSlot:
    """Return one slot: by position in the layer, which instance is there, and its other end [V]."""
    positions = np.array(list(row), int)
    instances = np.array([i for i, _ in row.values()], int)
    present, shifts = np.zeros(size, bool), np.zeros(size)
    present[positions], shifts[positions] = True, [shift for _, shift in row.values()]
    values = {}
    for name, own in group_values.items():
        # Where there is no diode, the law is computed all the same, and left out.
        values[name] = np.full(size, float(own[instances[0]]))
        values[name][positions] = own[instances]
    return DiodeSlot(device, sign, shifts, present, values)


def _weights(ratios: list[np.ndarray]) -> list[np.ndarray]:
    r"""Return the weights $w_l = w_{l+1} A_l / \kappa_l$, with $w = 1$ at the last layer."""
    weights = [np.ones(len(ratios[-1]))]
    for ratio in reversed(ratios[:-1]):
        after = weights[0]
        _require(bool(np.ptp(after) <= WEIGHT_TOLERANCE * abs(after[0])))
        weights.insert(0, after[0] / ratio)
    signs = [np.sign(w) for w in weights]
    alternating = all((s == (-1) ** k).all() for k, s in enumerate(reversed(signs)))
    positive = all((s > 0).all() for s in signs)
    # Both signs in one layer are harmless only where that layer is eliminated exactly.
    _require(len(weights) <= 2 or alternating or positive)
    return weights


def _columns(circuit: Circuit, layers: tuple[ChainLayer, ...]) -> np.ndarray:
    """Return where each node stands in `fixed nodes | layers | followers`."""
    order = np.concatenate(
        [circuit.fixed_nodes, *(layer.nodes for layer in layers), circuit.follower_nodes]
    ).astype(int)
    columns = np.empty(circuit.num_nodes, int)
    columns[order] = np.arange(len(order))
    return columns
