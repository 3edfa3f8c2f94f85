"""The flat description of a circuit that every engine reads: groups of like devices on nodes.

Every node is one of three kinds. *Fixed* nodes are ground and those held by a voltage source.
*Followers* are amplifier outputs, whose voltage is a gain times that of another node. All others
are *free*: their voltages u are the unknowns, and every node voltage is $v = S u + b$. Kirchhoff's
current law at the free nodes reads $f(u) = R^T i(v) - I = 0$, where $i$ are the currents that leave
the nodes through two-terminal devices and R holds 1 for a free node and the reflection kappa for a
follower, since an amplifier draws kappa times its output current at its input.
"""

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.devices.base import AbstractTwoTerminal
from eqprop_spice.errors import NetlistError

GROUND = 0
"""Index of the ground node."""

NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]*")
"""What a name may be. ngspice executes what follows a newline in a name: nothing else may pass."""


RESERVED_NAMES = frozenset({"ac", "all", "alli", "allv", "ally"})
"""Node names that ngspice takes for a keyword or for a list of vectors."""


def check_name(name: str, what: str) -> str:
    """Return the name if it is safe in a netlist.

    Raises:
        NetlistError: If it is not lower-case letters, digits and underscores.
    """
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        raise NetlistError(
            f"The {what} name {name!r} is not allowed; names match [a-z][a-z0-9_]*, because "
            "ngspice runs commands hidden in other names."
        )
    return name


def add_at(array: Array, indices: np.ndarray, values: Array) -> Array:
    """Return the array with values added at indices of its last axis (repeats accumulate)."""
    if isinstance(array, np.ndarray):
        where: Any = (..., indices)  # numpy's stub leaves out tuples
        np.add.at(array, where, values)
        return array
    return array.at[..., indices].add(values)


@dataclasses.dataclass(frozen=True, eq=False)
class Product:
    """All pairs of two lists of nodes: a dense block, instances `[first, second]`."""

    first: Int[np.ndarray, " first"]
    second: Int[np.ndarray, " second"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of instances along each axis."""
        return (len(self.first), len(self.second))

    def pairs(self) -> tuple[Int[np.ndarray, " instance"], Int[np.ndarray, " instance"]]:
        """Return both nodes of every instance, in the order of the raveled parameters."""
        return (
            np.repeat(self.first, len(self.second)),
            np.tile(self.second, len(self.first)),
        )

    def instance_names(self) -> list[str]:
        """Return the suffix of every instance's name."""
        return [f"{i}_{j}" for i in range(len(self.first)) for j in range(len(self.second))]

    def linear_currents(self, v, g):
        """Return `(current out of first, current out of second)` of conductances g, by GEMM."""
        a, b = v[..., self.first], v[..., self.second]
        return a * g.sum(1) - b @ g.T, b * g.sum(0) - a @ g

    def voltage_drop_product(self, mean, change):
        """Return the batch mean of (drop of `mean`) x (drop of `change`), `[first, second]`."""
        a, b = mean[..., self.first], mean[..., self.second]
        da, db = change[..., self.first], change[..., self.second]
        size = mean.shape[0]
        return ((a * da).sum(0)[:, None] - a.T @ db - da.T @ b + (b * db).sum(0)[None, :]) / size


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """One pair of nodes per instance, instances `[instance]`."""

    first: Int[np.ndarray, " instance"]
    second: Int[np.ndarray, " instance"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of instances."""
        return (len(self.first),)

    def pairs(self) -> tuple[Int[np.ndarray, " instance"], Int[np.ndarray, " instance"]]:
        """Return both nodes of every instance."""
        return self.first, self.second

    def instance_names(self) -> list[str]:
        """Return the suffix of every instance's name."""
        return [str(i) for i in range(len(self.first))]

    def linear_currents(self, v, g):
        """Return `(current out of first, current out of second)` of conductances g."""
        current = g * (v[..., self.first] - v[..., self.second])
        return current, -current

    def voltage_drop_product(self, mean, change):
        """Return the batch mean of (drop of `mean`) x (drop of `change`), `[instance]`."""
        drop = mean[..., self.first] - mean[..., self.second]
        drop_change = change[..., self.first] - change[..., self.second]
        return (drop * drop_change).mean(0)


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Like two-terminal devices: one device law, many instances."""

    name: str
    device: AbstractTwoTerminal
    layout: Product | Pairs


@dataclasses.dataclass(frozen=True, eq=False)
class Sources:
    """Ideal voltage sources to ground: `scale` times an input, or just `scale` [V].

    Attributes:
        name: Group name.
        nodes: The node each source holds.
        columns: Which input it follows; -1 for a constant source.
        scales: Factor of the input, or the constant voltage [V].
    """

    name: str
    nodes: Int[np.ndarray, " instance"]
    columns: Int[np.ndarray, " instance"]
    scales: Float[np.ndarray, " instance"]


@dataclasses.dataclass(frozen=True, eq=False)
class Amplifiers:
    r"""Bidirectional amplifiers: a VCVS forwards, a CCCS backwards.

    $v_{out} = A v_{in}$, and $\kappa I_{out}$ is drawn at the input, where $I_{out}$ is the current
    that the amplifier delivers at its output.

    Attributes:
        name: Group name.
        inputs: Input nodes.
        outputs: Output nodes.
        gains: A.
        reflections: kappa.
    """

    name: str
    inputs: Int[np.ndarray, " instance"]
    outputs: Int[np.ndarray, " instance"]
    gains: Float[np.ndarray, " instance"]
    reflections: Float[np.ndarray, " instance"]


@dataclasses.dataclass(frozen=True, eq=False)
class Circuit:
    """Groups of like devices on numbered nodes; built by `CircuitBuilder`.

    Attributes:
        node_names: Name of every node; node 0 is ground.
        sources: Voltage sources by group.
        amplifiers: Bidirectional amplifiers by group.
        groups: Two-terminal devices by group.
        output_nodes: Positive and negative node of every output, `output 2`.
        num_inputs: Length of an input vector.
    """

    node_names: tuple[str, ...]
    sources: tuple[Sources, ...]
    amplifiers: tuple[Amplifiers, ...]
    groups: tuple[Group, ...]
    output_nodes: Int[np.ndarray, "output two"]
    num_inputs: int

    @property
    def num_nodes(self) -> int:
        """Number of nodes, ground included."""
        return len(self.node_names)

    @property
    def num_outputs(self) -> int:
        """Number of outputs."""
        return len(self.output_nodes)

    @functools.cached_property
    def fixed_nodes(self) -> Int[np.ndarray, " fixed"]:
        """Ground and the nodes held by sources, in the order of the sources."""
        return np.concatenate([[GROUND], *(s.nodes for s in self.sources)]).astype(int)

    @functools.cached_property
    def follower_nodes(self) -> Int[np.ndarray, " follower"]:
        """The output nodes of the amplifiers."""
        return np.concatenate([np.zeros(0, int), *(a.outputs for a in self.amplifiers)])

    @functools.cached_property
    def free_nodes(self) -> Int[np.ndarray, " free"]:
        """The nodes whose voltages are the unknowns."""
        held = np.zeros(self.num_nodes, bool)
        held[self.fixed_nodes] = True
        held[self.follower_nodes] = True
        return np.flatnonzero(~held)

    @functools.cached_property
    def is_fixed(self) -> np.ndarray:
        """Whether each node is ground or held by a source."""
        fixed = np.zeros(self.num_nodes, bool)
        fixed[self.fixed_nodes] = True
        return fixed

    @functools.cached_property
    def trainable_groups(self) -> tuple[Group, ...]:
        """The groups that have parameters."""
        return tuple(g for g in self.groups if g.device.trainable)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each group's conductances [S] by group name."""
        return {g.name: g.layout.shape for g in self.trainable_groups}

    def check_parameters(self, params: Mapping[str, Array]) -> None:
        """Refuse conductances that no resistor has.

        Raises:
            NetlistError: If a group is missing or unknown, has another shape, or holds a value
                that is not finite and positive.
        """
        shapes = self.parameter_shapes()
        for name in params:
            if name not in shapes:
                raise NetlistError(
                    f"The circuit has no group '{name}'; its trainable groups are {list(shapes)}."
                )
        for name, shape in shapes.items():
            if name not in params:
                raise NetlistError(f"Group '{name}' has no conductances; expected shape {shape}.")
            values = np.asarray(params[name])
            if values.shape != shape:
                raise NetlistError(
                    f"Group '{name}' has conductances of shape {values.shape}; expected {shape}."
                )
            with np.errstate(divide="ignore", over="ignore"):
                good = np.isfinite(values) & (values > 0) & np.isfinite(1.0 / values)
            if not good.all():
                where = np.unravel_index(int(np.argmin(good)), shape)
                index = ", ".join(str(int(i)) for i in where)
                raise NetlistError(
                    f"Resistor '{name}[{index}]' has conductance {float(values[where])} S; "
                    "conductances must be finite and positive. "
                    "Add a Box constraint or lower the learning rate."
                )

    def check_inputs(self, inputs: Float[Array, "batch input"]) -> None:
        """Refuse inputs of another length, or not finite.

        Raises:
            NetlistError: If so.
        """
        inputs = np.asarray(inputs)
        if inputs.ndim != 2 or inputs.shape[1] != self.num_inputs:
            raise NetlistError(
                f"Inputs have shape {inputs.shape}; this circuit expects "
                f"(batch, {self.num_inputs}) voltages."
            )
        if not np.isfinite(inputs).all():
            row, column = np.argwhere(~np.isfinite(inputs))[0]
            raise NetlistError(f"Input {column} of sample {row} is not a finite voltage.")

    def fixed_voltages(self, inputs: Float[Array, "batch input"]) -> Float[Array, "batch fixed"]:
        """Return the voltages of `fixed_nodes` [V]."""
        xp = inputs.__array_namespace__()
        batch = inputs.shape[0]
        parts = [xp.zeros((batch, 1))]
        for s in self.sources:
            if len(s.nodes):
                values = xp.where(s.columns >= 0, inputs[:, s.columns], 1.0) * s.scales
                parts.append(values)
        return xp.concatenate(parts, axis=1)

    def node_voltages(
        self, free: Float[Array, "batch free"], inputs: Float[Array, "batch input"]
    ) -> Float[Array, "batch node"]:
        """Return the voltages of all nodes from those of the free ones [V]."""
        xp = free.__array_namespace__()
        voltages = xp.zeros((free.shape[0], self.num_nodes))
        voltages = _set_at(voltages, self.fixed_nodes, self.fixed_voltages(inputs))
        voltages = _set_at(voltages, self.free_nodes, free)
        for a in self.amplifiers:
            voltages = _set_at(voltages, a.outputs, a.gains * voltages[:, a.inputs])
        return voltages

    def voltage_changes(self, free: Float[Array, "batch free"]) -> Float[Array, "batch node"]:
        """Return how all nodes move when the free nodes move and the sources do not [V]."""
        xp = free.__array_namespace__()
        changes = _set_at(xp.zeros((free.shape[0], self.num_nodes)), self.free_nodes, free)
        for a in self.amplifiers:
            changes = _set_at(changes, a.outputs, a.gains * changes[:, a.inputs])
        return changes

    def outputs(self, voltages: Float[Array, "batch node"]) -> Float[Array, "batch output"]:
        """Return the output voltages, positive minus negative node [V]."""
        return voltages[:, self.output_nodes[:, 0]] - voltages[:, self.output_nodes[:, 1]]

    def leaving_currents(
        self, params: Mapping[str, Array], voltages: Float[Array, "batch node"]
    ) -> Float[Array, "batch node"]:
        """Return the current that leaves each node through two-terminal devices [A]."""
        total = voltages.__array_namespace__().zeros(voltages.shape)
        for group in self.groups:
            layout = group.layout
            if group.device.trainable:
                first, second = layout.linear_currents(voltages, params[group.name])
                total = add_at(total, layout.first, first)
                total = add_at(total, layout.second, second)
            else:
                one, two = layout.pairs()
                current = group.device.current(voltages[:, one] - voltages[:, two])
                total = add_at(total, one, current)
                total = add_at(total, two, -current)
        return total

    def reflect(self, leaving: Float[Array, "batch node"]) -> Float[Array, "batch free"]:
        """Return $R^T i$: add kappa times each amplifier's output current at its input [A]."""
        for a in self.amplifiers:
            leaving = add_at(leaving, a.inputs, a.reflections * leaving[:, a.outputs])
        return leaving[:, self.free_nodes]

    def injected_currents(
        self, currents: Float[Array, "batch output"]
    ) -> Float[Array, "batch node"]:
        """Return the current injected into each node by sources at the outputs [A]."""
        total = currents.__array_namespace__().zeros((currents.shape[0], self.num_nodes))
        total = add_at(total, self.output_nodes[:, 0], currents)
        return add_at(total, self.output_nodes[:, 1], -currents)

    def residual(
        self,
        params: Mapping[str, Array],
        voltages: Float[Array, "batch node"],
        injected: Float[Array, "batch output"],
    ) -> Float[Array, "batch free"]:
        """Return the sum of currents leaving each free node [A]; zero at an operating point.

        Args:
            params: Conductances [S] by group name.
            voltages: All node voltages [V].
            injected: Current into each output [A], a spring's included.
        """
        leaving = self.leaving_currents(params, voltages) - self.injected_currents(injected)
        return self.reflect(leaving)

    def linearized_residual(
        self,
        params: Mapping[str, Array],
        voltages: Float[Array, "batch node"],
        changes: Float[Array, "batch node"],
        injected: Float[Array, "batch output"],
    ) -> Float[Array, "batch free"]:
        r"""Return $J\,\delta u - \delta I$ at an operating point [A]; zero for its response.

        Args:
            params: Conductances [S] by group name.
            voltages: All node voltages at the operating point [V].
            changes: Small change of all node voltages [V].
            injected: Small current into each output [A].
        """
        total = -self.injected_currents(injected)
        for group in self.groups:
            layout = group.layout
            if group.device.trainable:
                first, second = layout.linear_currents(changes, params[group.name])
                total = add_at(total, layout.first, first)
                total = add_at(total, layout.second, second)
            else:
                one, two = layout.pairs()
                slope = group.device.conductance(voltages[:, one] - voltages[:, two])
                current = slope * (changes[:, one] - changes[:, two])
                total = add_at(total, one, current)
                total = add_at(total, two, -current)
        return self.reflect(total)

    def current_scale(
        self,
        params: Mapping[str, Array],
        voltages: Float[Array, "batch node"],
        injected: Float[Array, "batch output"],
        *,
        voltage_floor: float = 0.0,
    ) -> Float[Array, "batch free"]:
        """Return a bound on the currents that meet in each free node [A].

        The residual of a solution in floating point is rounding relative to this scale.

        Args:
            params: Conductances [S] by group name.
            voltages: All node voltages [V].
            injected: Current into each output [A].
            voltage_floor: Drop that every device counts with at least [V], so that a circuit at
                rest has a scale too.
        """
        magnitude = np.zeros(voltages.shape)
        for group in self.groups:
            layout = group.layout
            if group.device.trainable:
                # g (|a| + |b|) per branch: the branch law applied to +|a| and -|b|.
                g = np.asarray(params[group.name])
                a = np.abs(voltages[:, layout.first]) + voltage_floor
                b = np.abs(voltages[:, layout.second])
                if isinstance(layout, Product):
                    add_at(magnitude, layout.first, a * g.sum(1) + b @ g.T)
                    add_at(magnitude, layout.second, b * g.sum(0) + a @ g)
                else:
                    add_at(magnitude, layout.first, g * (a + b))
                    add_at(magnitude, layout.second, g * (a + b))
            else:
                one, two = layout.pairs()
                drop = voltages[:, one] - voltages[:, two]
                current = np.abs(group.device.current(drop))
                current += voltage_floor * group.device.conductance(drop)
                add_at(magnitude, one, current)
                add_at(magnitude, two, current)
        add_at(magnitude, self.output_nodes[:, 0], np.abs(injected))
        add_at(magnitude, self.output_nodes[:, 1], np.abs(injected))
        for a in self.amplifiers:
            add_at(magnitude, a.inputs, np.abs(a.reflections) * magnitude[:, a.outputs])
        return magnitude[:, self.free_nodes]


def _set_at(array, indices, values):
    """Return the array with columns replaced."""
    if isinstance(array, np.ndarray):
        array[:, indices] = values
        return array
    return array.at[:, indices].set(values)


class CircuitBuilder:
    """Collects nodes and devices, and checks them once they are a circuit."""

    def __init__(self) -> None:
        """Start with ground alone."""
        self._node_names: list[str] = ["0"]
        self._node_indices: dict[str, int] = {"0": GROUND, "gnd": GROUND}
        self._sources: list[Sources] = []
        self._amplifiers: list[Amplifiers] = []
        self._groups: list[Group] = []
        self._names: set[str] = set()

    def add_node(self, name: str) -> int:
        """Add a node and return its index."""
        check_name(name, "node")
        if name in RESERVED_NAMES:
            raise NetlistError(f"Node '{name}' has a name that ngspice reserves; choose another.")
        if name in self._node_indices:
            raise NetlistError(f"Node '{name}' exists already; node names are unique.")
        self._node_indices[name] = len(self._node_names)
        self._node_names.append(name)
        return self._node_indices[name]

    def add_nodes(self, prefix: str, count: int) -> Int[np.ndarray, " node"]:
        """Add nodes `prefix_0`, `prefix_1`, ... and return their indices."""
        if count < 1:
            raise NetlistError(f"'{prefix}' would have {count} nodes; it needs at least one.")
        return np.array([self.add_node(f"{prefix}_{i}") for i in range(count)])

    def _claim(self, name: str) -> str:
        check_name(name, "group")
        if name in self._names:
            raise NetlistError(f"Group '{name}' exists already; group names are unique.")
        for other in self._names:
            short, long = sorted((name, other), key=len)
            if re.fullmatch(rf"{short}(_\d+)+", long):
                raise NetlistError(
                    f"Groups '{short}' and '{long}' could give two devices one name, since a "
                    f"device is named by its group and its number; rename '{long}'."
                )
        self._names.add(name)
        return name

    def add_inputs(
        self, name: str, nodes: Sequence[int] | np.ndarray, columns: np.ndarray, scale: float = 1.0
    ) -> None:
        """Hold nodes at `scale` times the given columns of the input vector."""
        nodes = np.asarray(nodes, int)
        scales = np.full(len(nodes), float(scale))
        self._sources.append(Sources(self._claim(name), nodes, np.asarray(columns, int), scales))

    def add_constants(
        self, name: str, nodes: Sequence[int] | np.ndarray, voltages: Iterable[float]
    ) -> None:
        """Hold nodes at constant voltages [V]."""
        nodes = np.asarray(nodes, int)
        scales = np.asarray(list(voltages), float)
        if not np.isfinite(scales).all():
            raise NetlistError(f"Source group '{name}' has a voltage that is not finite.")
        self._sources.append(Sources(self._claim(name), nodes, np.full(len(nodes), -1), scales))

    def add_amplifiers(
        self, name: str, inputs: np.ndarray, outputs: np.ndarray, gain: float, reflection: float
    ) -> None:
        """Drive each output node at gain times its input; draw reflection times its current."""
        for what, value in (("gain", gain), ("reflection", reflection)):
            if not np.isfinite(value) or value == 0:
                raise NetlistError(
                    f"Amplifier group '{name}' has {what} {value}; it must be finite, not zero."
                )
        count = len(inputs)
        self._amplifiers.append(
            Amplifiers(
                self._claim(name),
                np.asarray(inputs, int),
                np.asarray(outputs, int),
                np.full(count, float(gain)),
                np.full(count, float(reflection)),
            )
        )

    def add_dense(
        self, name: str, device: AbstractTwoTerminal, first: np.ndarray, second: np.ndarray
    ) -> None:
        """Connect every node of `first` to every node of `second`."""
        layout = Product(np.asarray(first, int), np.asarray(second, int))
        self._groups.append(Group(self._claim(name), device, layout))

    def add_pairs(
        self,
        name: str,
        device: AbstractTwoTerminal,
        first: np.ndarray | Sequence[int],
        second: np.ndarray | Sequence[int],
    ) -> None:
        """Connect `first[i]` to `second[i]`."""
        layout = Pairs(np.asarray(first, int), np.asarray(second, int))
        if len(layout.first) != len(layout.second):
            raise NetlistError(f"Group '{name}' has lists of nodes of different lengths.")
        self._groups.append(Group(self._claim(name), device, layout))

    def build(
        self, output_nodes: Sequence[tuple[int, int]] | np.ndarray, *, num_inputs: int
    ) -> Circuit:
        """Check what was collected and return it as a circuit.

        Raises:
            NetlistError: If a node is held twice, floats, or an output is not a free node.
        """
        outputs = np.asarray(output_nodes, int).reshape(-1, 2)
        circuit = Circuit(
            tuple(self._node_names),
            tuple(self._sources),
            tuple(self._amplifiers),
            tuple(self._groups),
            outputs,
            num_inputs,
        )
        _check_circuit(circuit)
        return circuit


def _check_circuit(circuit: Circuit) -> None:
    """Refuse circuits whose operating point is not defined."""
    names = circuit.node_names
    held = np.concatenate([circuit.fixed_nodes, circuit.follower_nodes])
    nodes, counts = np.unique(held, return_counts=True)
    if (counts > 1).any():
        raise NetlistError(f"Node '{names[nodes[counts > 1][0]]}' is held by two sources.")
    if not circuit.trainable_groups:
        raise NetlistError("The circuit has no resistors; add at least one dense layer.")
    if circuit.num_outputs == 0:
        raise NetlistError("The circuit has no outputs.")
    free = set(circuit.free_nodes.tolist())
    for a in circuit.amplifiers:
        for node in a.inputs.tolist():
            if node not in free:
                raise NetlistError(
                    f"The input of amplifier group '{a.name}', node '{names[node]}', is not free; "
                    "put a resistive layer before the amplifier."
                )
    for plus, minus in circuit.output_nodes.tolist():
        if plus == GROUND:
            raise NetlistError(
                "The positive node of an output is ground; swap the two nodes of that output."
            )
        for node in (plus, minus):
            if node not in free and node != GROUND:
                raise NetlistError(
                    f"Output node '{names[node]}' is held by a source or an amplifier; a nudging "
                    "current would have no effect. End the circuit with a resistive layer."
                )
    for s in circuit.sources:
        if (s.columns >= circuit.num_inputs).any():
            raise NetlistError(
                f"Source group '{s.name}' follows input {int(s.columns.max())}, but there are "
                f"{circuit.num_inputs} inputs."
            )
    models: dict[str, str] = {}
    for card in filter(None, (group.device.model_card() for group in circuit.groups)):
        name = card.split()[1]
        if models.setdefault(name, card) != card:
            raise NetlistError(
                f"Two different diodes have the model name '{name}', and ngspice would take one "
                "for both; give them different names."
            )
    label = _components(circuit, through_fixed=True)
    anchored = set(label[held].tolist())
    for node in sorted(free):
        if int(label[node]) not in anchored:
            raise NetlistError(
                f"Node '{names[node]}' floats: no path of devices leads from it to a source, an "
                "amplifier output or ground. Connect it or remove it."
            )


def _components(circuit: Circuit, *, through_fixed: bool) -> Int[np.ndarray, " node"]:
    """Label the nodes by connected component of the two-terminal devices.

    Args:
        circuit: The circuit.
        through_fixed: Whether ground and sources connect what is attached to them.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    skip = np.zeros(circuit.num_nodes, bool) if through_fixed else circuit.is_fixed
    edges: list[tuple[np.ndarray, np.ndarray]] = []
    for group in circuit.groups:
        layout = group.layout
        if isinstance(layout, Product):
            # A star of each side around one node of the other connects what all pairs connect.
            first = layout.first[~skip[layout.first]]
            second = layout.second[~skip[layout.second]]
            if len(first) and len(second):
                edges.append((np.full(len(second), first[0]), second))
                edges.append((first, np.full(len(first), second[0])))
        else:
            keep = ~(skip[layout.first] | skip[layout.second])
            edges.append((layout.first[keep], layout.second[keep]))
    one = np.concatenate([e[0] for e in edges]) if edges else np.zeros(0, int)
    two = np.concatenate([e[1] for e in edges]) if edges else np.zeros(0, int)
    graph = coo_array((np.ones(len(one)), (one, two)), shape=(circuit.num_nodes,) * 2)
    return connected_components(graph, directed=False)[1]


WEIGHT_TOLERANCE = 1e-9
"""Relative disagreement of weights above which a circuit is not reciprocal; far above rounding
and far below any gain mismatch that matters."""


def reciprocity_weights(circuit: Circuit) -> dict[str, Float[np.ndarray, "..."]]:
    r"""Return the weight w of each trainable group, as the circuit itself determines it.

    Scaling the rows of the Jacobian by d makes it symmetric iff every two-terminal device sees the
    same $\omega = d\,r/s$ at both ends, where a follower has $s = A$, $r = \kappa$. So devices
    join nodes into clusters of one $\omega$, every amplifier sets
    $\omega_{in} = \omega_{out} A / \kappa$, and the outputs have $\omega = 1$, since the nudge
    enters with weight 1. Then $dC/dg = \omega\,d/d\beta(\tfrac12 \Delta V^2)$ exactly.

    Returns:
        Arrays that broadcast against the conductances of each group.

    Raises:
        NetlistError: If no such weights exist: the circuit is not reciprocal.
    """
    label = _components(circuit, through_fixed=False)
    omega: dict[int, float] = {}
    outputs = circuit.output_nodes[circuit.output_nodes != GROUND]
    for cluster in np.unique(label[outputs]).tolist():
        omega[cluster] = 1.0
    links = [
        (int(label[i]), int(label[o]), float(gain / kappa))
        for a in circuit.amplifiers
        for i, o, gain, kappa in zip(a.inputs, a.outputs, a.gains, a.reflections, strict=True)
    ]
    changed = True
    while changed:
        changed = False
        for before, after, ratio in links:
            if after in omega and before not in omega:
                omega[before] = omega[after] * ratio
                changed = True
            elif before in omega and after not in omega:
                omega[after] = omega[before] / ratio
                changed = True
    for before, after, ratio in links:
        if before not in omega:
            continue
        expected = omega[after] * ratio
        if abs(omega[before] - expected) > WEIGHT_TOLERANCE * abs(expected):
            raise NetlistError(
                "The circuit is not reciprocal: two paths to the outputs give a cluster of nodes "
                f"the weights {omega[before]:.6g} and {expected:.6g}, so equilibrium propagation "
                "is biased here. Make A/kappa uniform over the amplifiers of a layer, or set "
                'weights = "none" to study the biased rule.'
            )
    # A device between held nodes, or one that no output sees, has no effect on the loss.
    node_weight = np.array([omega.get(int(c), 0.0) for c in label])
    weights: dict[str, np.ndarray] = {}
    for group in circuit.trainable_groups:
        layout = group.layout
        first = np.where(circuit.is_fixed[layout.first], np.nan, node_weight[layout.first])
        second = np.where(circuit.is_fixed[layout.second], np.nan, node_weight[layout.second])
        if isinstance(layout, Product):
            first, second = np.broadcast_arrays(first[:, None], second[None, :])
        combined = np.where(np.isnan(first), second, first)
        weights[group.name] = np.where(np.isnan(combined), 0.0, combined)
    return weights
