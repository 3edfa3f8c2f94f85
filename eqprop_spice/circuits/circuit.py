"""The flat description of a circuit that every engine reads: groups of like devices on nodes.

Every node is one of three kinds. *Fixed* nodes are ground and those held by a voltage source.
*Followers* are amplifier outputs, whose voltage is a gain times that of another node (plus an
offset). All others are *free*: their voltages u are the unknowns, and every node voltage is
$v = S u + b$. Kirchhoff's current law at the free nodes reads $f(u) = R^T i(v) - I = 0$, where $i$
are the currents that leave the nodes through two-terminal devices; `maps` says what S and R are.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.groups import Amplifiers, AtNodes, Group, Sources
from eqprop_spice.circuits.layouts import GROUND, Product, add_at
from eqprop_spice.circuits.maps import NodeMap, set_at, sum_at
from eqprop_spice.errors import NetlistError, ParameterError
from eqprop_spice.notebook import html_table

CLAMP_GROUP = "_clamp"
"""Name of the sources that clamp the outputs; no group of a user starts with an underscore."""


@dataclasses.dataclass(frozen=True, eq=False)
class Circuit:
    """Groups of like devices on numbered nodes; built by `CircuitBuilder`.

    Attributes:
        node_names: Name of every node; node 0 is ground.
        sources: Voltage sources by group.
        amplifiers: Bidirectional amplifiers by group.
        groups: All other devices by group.
        output_nodes: Positive and negative node of every output, `output 2`.
        num_inputs: Length of an input vector.
    """

    node_names: tuple[str, ...]
    sources: tuple[Sources, ...]
    amplifiers: tuple[Amplifiers, ...]
    groups: tuple[Group, ...]
    output_nodes: Int[np.ndarray, "output two"]
    num_inputs: int

    def _repr_html_(self) -> str:
        """Show a notebook what the circuit is made of."""
        groups = {g.name: f"{g.num_instances} {type(g.device).__name__}" for g in self.groups}
        amplifiers = {a.name: f"{len(a.outputs)} amplifiers" for a in self.amplifiers}
        title = (
            f"Circuit: {self.num_inputs} inputs, {self.num_outputs} outputs, "
            f"{len(self.free_nodes)} free nodes"
        )
        return html_table(title, groups | amplifiers)

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
    def clamped_nodes(self) -> Int[np.ndarray, " clamped"]:
        """The nodes that a clamp of the outputs holds, ground aside, in ascending order."""
        return np.unique(self.output_nodes[self.output_nodes != GROUND])

    @functools.cached_property
    def clamped(self) -> "Circuit":
        """This circuit with a voltage source at every output node, fed by further inputs."""
        nodes = self.clamped_nodes
        columns = self.num_inputs + np.arange(len(nodes))
        clamps = Sources(CLAMP_GROUP, nodes, columns, np.ones(len(nodes)))
        return dataclasses.replace(
            self,
            sources=(*self.sources, clamps),
            num_inputs=self.num_inputs + len(nodes),
        )

    @functools.cached_property
    def trainable_groups(self) -> tuple[Group, ...]:
        """The groups that have parameters."""
        return tuple(g for g in self.groups if g.device.trainable)

    @functools.cached_property
    def conducting_groups(self) -> tuple[Group, ...]:
        """The groups that direct currents flow through: all that operating points know of."""
        return tuple(g for g in self.groups if g.device.paths or g.device.supplies)

    @functools.cached_property
    def supplying_groups(self) -> tuple[Group, ...]:
        """The groups of current sources."""
        return tuple(g for g in self.groups if g.device.supplies)

    @functools.cached_property
    def supplied_parameters(self) -> frozenset[str]:
        """Names of the parameters that are currents [A] of either sign, not conductances."""
        return frozenset(g.key for g in self.supplying_groups)

    @functools.cached_property
    def blocking_groups(self) -> tuple[Group, ...]:
        """The groups that no direct current flows through, such as capacitors."""
        return tuple(g for g in self.groups if not (g.device.paths or g.device.supplies))

    @functools.cached_property
    def linear_groups(self) -> tuple[Group, ...]:
        """The groups that obey Ohm's law, whether they have parameters or not."""
        return tuple(g for g in self.groups if g.device.linear)

    @functools.cached_property
    def nonlinear_groups(self) -> tuple[Group, ...]:
        """The groups whose direct currents follow from voltages, but not by Ohm's law."""
        return tuple(
            g for g in self.conducting_groups if not (g.device.linear or g.device.supplies)
        )

    @functools.cached_property
    def groups_with_energy(self) -> tuple[Group, ...]:
        """The groups of reciprocal devices, whose currents are the gradient of a co-content."""
        return tuple(g for g in self.conducting_groups if g.device.reciprocal)

    @functools.cached_property
    def groups_without_energy(self) -> tuple[Group, ...]:
        """The groups of devices that are not reciprocal; without any, the circuit has an energy."""
        return tuple(g for g in self.conducting_groups if not g.device.reciprocal)

    def node_conductances(self, params: Mapping[str, Array]) -> Float[np.ndarray, " node"]:
        """Return the sum of the conductances of all resistors at every node [S]."""
        params = {name: np.asarray(values, float) for name, values in params.items()}
        at_rest, total = np.zeros((1, self.num_nodes)), np.zeros((1, self.num_nodes))
        for group in self.linear_groups:
            sum_at(total, group.own_conductances(params, at_rest))
        return total[0]

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of the conductances [S], or currents [A], by name."""
        return {g.key: g.layout.shape for g in self.trainable_groups}

    def supplied_currents(self, params: Mapping[str, Array]) -> Array:
        """Return the current that leaves each node through current sources [A], `one node`."""
        some = next(iter(params.values())) if params else np.zeros(0)
        xp = some.__array_namespace__()
        at_rest = xp.zeros((1, self.num_nodes))
        parts = (group.currents(params, at_rest) for group in self.supplying_groups)
        return sum_at(xp.zeros((1, self.num_nodes)), itertools.chain.from_iterable(parts))

    def parameter_slopes(
        self,
        mean: Float[Array, "batch node"],
        change: Float[Array, "batch node"],
        *,
        weights: Mapping[str, Array | float],
        share: Array | float = 1.0,
        still: np.ndarray | None = None,
    ) -> dict[str, Array]:
        """Return `Group.parameter_slopes` of all parameters by name, summed over groups.

        Args:
            mean: Voltages of all nodes [V].
            change: How they change [V].
            weights: Weights by the name of a group; 1 without.
            share: What all are divided by.
            still: Nodes whose change is known to be zero.
        """
        slopes: dict[str, Array] = {}
        for group in self.trainable_groups:
            factor = weights.get(group.name, 1.0) / share
            own = group.parameter_slopes(mean, change, factor, still)
            slopes[group.key] = slopes[group.key] + own if group.key in slopes else own
        return slopes

    def check_parameters(self, params: Mapping[str, Array]) -> None:
        """Refuse conductances that no resistor has.

        Raises:
            NetlistError: If a group is missing or unknown, or has another shape.
            ParameterError: If a value is not finite and positive.
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
            if name in self.supplied_parameters:
                if not np.isfinite(values).all():
                    raise ParameterError(
                        f"Current source '{name}' has a current that is not finite; lower the "
                        "learning rate."
                    )
                continue
            with np.errstate(divide="ignore", over="ignore"):
                good = np.isfinite(values) & (values > 0) & np.isfinite(1.0 / values)
            if not good.all():
                where = np.unravel_index(int(np.argmin(good)), shape)
                index = ", ".join(str(int(i)) for i in where)
                raise ParameterError(
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
        held = [s.voltages(inputs) for s in self.sources if len(s.nodes)]
        return xp.concatenate([xp.zeros((batch, 1)), *held], axis=1)

    @functools.cached_property
    def selection(self) -> NodeMap:
        """S: followers have their gain times the voltage of the node they follow."""
        links = tuple((a.inputs, a.outputs, a.gains) for a in self.amplifiers)
        return NodeMap(self.num_nodes, self.free_nodes, links)

    @functools.cached_property
    def reflection(self) -> NodeMap:
        """R: amplifiers draw their reflection times their output's current at their input."""
        links = tuple((a.inputs, a.outputs, a.reflections) for a in self.amplifiers)
        return NodeMap(self.num_nodes, self.free_nodes, links)

    def known_voltages(self, inputs: Float[Array, "batch input"]) -> Float[Array, "batch node"]:
        """Return b, the voltages of all nodes while the free ones are at zero [V]."""
        xp = inputs.__array_namespace__()
        known = xp.zeros((inputs.shape[0], self.num_nodes))
        known = set_at(known, self.fixed_nodes, self.fixed_voltages(inputs))
        for a in self.amplifiers:
            known = set_at(known, a.outputs, a.gains * a.offsets)
        return known

    def node_voltages(
        self, free: Float[Array, "batch free"], inputs: Float[Array, "batch input"]
    ) -> Float[Array, "batch node"]:
        """Return the voltages of all nodes from those of the free ones [V]."""
        return self.selection.spread(free) + self.known_voltages(inputs)

    def outputs(self, voltages: Float[Array, "batch node"]) -> Float[Array, "batch output"]:
        """Return the output voltages, positive minus negative node [V]."""
        return voltages[:, self.output_nodes[:, 0]] - voltages[:, self.output_nodes[:, 1]]

    def leaving_currents(
        self, params: Mapping[str, Array], voltages: Float[Array, "batch node"]
    ) -> Float[Array, "batch node"]:
        """Return the current that leaves each node through two-terminal devices [A]."""
        total = voltages.__array_namespace__().zeros(voltages.shape)
        return sum_at(total, self._parts(lambda group: group.currents(params, voltages)))

    def _parts(self, of: Callable[[Group], AtNodes]) -> AtNodes:
        """Yield what a method of the conducting groups yields, group after group."""
        return itertools.chain.from_iterable(map(of, self.conducting_groups))

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
        return self.reflection.gather(leaving)

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
        changed = self._parts(lambda group: group.current_changes(params, voltages, changes))
        return self.reflection.gather(sum_at(-self.injected_currents(injected), changed))

    def balance(
        self,
        params: Mapping[str, Array],
        voltages: Float[Array, "batch node"],
        injected: Float[Array, "batch output"],
        *,
        voltage_floor: float = 0.0,
    ) -> tuple[Float[Array, "batch free"], Float[Array, "batch free"]]:
        """Return `residual`, and a bound on the currents that meet in each free node [A].

        The residual of a solution in floating point is rounding relative to this bound.

        Args:
            params: Conductances [S] by group name.
            voltages: All node voltages [V].
            injected: Current into each output [A], a spring's included.
            voltage_floor: Drop that every device counts with at least [V], so that a circuit at
                rest has a scale too.
        """
        voltages, injected = np.asarray(voltages), np.asarray(injected)
        leaving, magnitude = np.zeros(voltages.shape), np.zeros(voltages.shape)
        for group in self.conducting_groups:
            for nodes, current, bound in group.currents_and_bounds(params, voltages, voltage_floor):
                add_at(leaving, nodes, np.asarray(current))
                add_at(magnitude, nodes, bound)
        for nodes in self.output_nodes.T:
            add_at(magnitude, nodes, np.abs(injected))
        leaving -= self.injected_currents(injected)
        return self.reflection.gather(leaving), self._reflected_size.gather(magnitude)

    @functools.cached_property
    def _reflected_size(self) -> NodeMap:
        """The map R with the magnitudes of its factors."""
        return abs(self.reflection)


def components(
    circuit: Circuit,
    *,
    through_fixed: bool,
    conducting: Mapping[str, Bool[np.ndarray, "..."]] | None = None,
) -> Int[np.ndarray, " node"]:
    """Label the nodes by connected component of what direct currents flow through.

    Args:
        circuit: The circuit.
        through_fixed: Whether ground and sources connect what is attached to them.
        conducting: By group name, which devices connect their nodes; all where not named.
    """
    skip = np.zeros(circuit.num_nodes, bool) if through_fixed else circuit.is_fixed
    edges: list[tuple[np.ndarray, np.ndarray]] = []
    for group in circuit.conducting_groups:
        layout = group.layout
        mask = None if conducting is None else conducting.get(group.key)
        if isinstance(layout, Product) and (mask is None or mask.all()):
            # A star of each side around one node of the other connects what all pairs connect.
            first = layout.first[~skip[layout.first]]
            second = layout.second[~skip[layout.second]]
            if len(first) and len(second):
                edges.append((np.full(len(second), first[0]), second))
                edges.append((first, np.full(len(first), second[0])))
        else:
            for one, two in group.paths:
                keep = ~(skip[one] | skip[two])
                if mask is not None:
                    keep &= layout.instance_values(mask).ravel()
                edges.append((one[keep], two[keep]))
    one = np.concatenate([e[0] for e in edges]) if edges else np.zeros(0, int)
    two = np.concatenate([e[1] for e in edges]) if edges else np.zeros(0, int)
    graph = coo_array((np.ones(len(one)), (one, two)), shape=(circuit.num_nodes,) * 2)
    return connected_components(graph, directed=False)[1]
