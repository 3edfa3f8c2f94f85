"""What stands in a circuit: groups of like devices, of voltage sources and of amplifiers."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.layouts import AbstractLayout, AbstractTwoSided, take_columns
from eqprop_spice.devices.base import AbstractDevice, AbstractTwoTerminal

AtNodes: TypeAlias = Iterator[
    tuple[Int[np.ndarray, " some_nodes"], Float[Array, "batch some_nodes"]]
]
"""Values at nodes, in parts; what a node has in several parts, or twice in one, adds up."""


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Like devices: one law, many instances.

    What all instances do together is computed here and nowhere else: dense blocks of resistors by
    matrix products, all other devices one by one along the last axis.

    Attributes:
        name: Name of the group.
        device: The law, with the values that all instances share.
        layout: Which nodes each instance connects.
        values: By field of the device, what differs: one number per instance, as `layout.terminals`
            orders them.
        shared: Name of parameters that it has together with other groups; none if empty.
    """

    name: str
    device: AbstractDevice
    layout: AbstractLayout
    values: Mapping[str, Float[np.ndarray, " instance"]] = dataclasses.field(default_factory=dict)
    shared: str = ""

    @property
    def key(self) -> str:
        """The name of its parameters."""
        return self.shared or self.name

    @property
    def num_instances(self) -> int:
        """Number of devices."""
        return int(np.prod(self.layout.wiring.shape))

    @functools.cached_property
    def _own_law(self) -> AbstractDevice:
        return dataclasses.replace(self.device, **self.values) if self.values else self.device

    def law(self, params: Mapping[str, Array]) -> AbstractDevice:
        """Return the device with the values of every instance in its fields."""
        field = self.device.parameter
        if field is None:
            return self._own_law
        values = self.layout.instance_values(params[self.key])
        return dataclasses.replace(self._own_law, **{field: values.reshape(-1)})

    def instances(self, params: Mapping[str, Array]) -> list[AbstractDevice]:
        """Return every instance as a device of its own; a model for each set of values."""
        values = {name: np.asarray(v, float).tolist() for name, v in self.values.items()}
        if self.device.parameter is not None:
            parameters = np.ravel(self.layout.instance_values(np.asarray(params[self.key])))
            values[self.device.parameter] = parameters.tolist()
        if not values:
            return [self.device] * self.num_instances
        model = getattr(self.device, "model", None)
        devices: dict[tuple[float, ...], AbstractDevice] = {}
        for suffix, row in zip(
            self.layout.instance_names(), zip(*values.values(), strict=True), strict=True
        ):
            if row not in devices:
                named = {} if model is None else {"model": f"{model}_{self.name}_{suffix}"}
                changes = dict(zip(values, row, strict=True))
                devices[row] = dataclasses.replace(self.device, **changes, **named)
        return [devices[row] for row in zip(*values.values(), strict=True)]

    def at_temperature(self, kelvin: float) -> "Group":
        """Return the group with its devices as they are at a temperature [K]."""
        hot = self._own_law.at_temperature(kelvin)
        fields = [f.name for f in dataclasses.fields(hot)]
        values = {f: getattr(hot, f) for f in fields if np.ndim(getattr(hot, f))}
        return dataclasses.replace(self, device=self.device.at_temperature(kelvin), values=values)

    @property
    def sides(self) -> AbstractTwoSided:
        """The layout, of a group of devices with two terminals."""
        assert isinstance(self.layout, AbstractTwoSided), f"'{self.name}' has more terminals"
        return self.layout

    @functools.cached_property
    def ports(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """For every terminal but the last, its nodes and those of the last, `instance` each."""
        *others, last = self.layout.terminals()
        return tuple((nodes, last) for nodes in others)

    @functools.cached_property
    def paths(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """The pairs of nodes that a direct current flows between, `instance` each."""
        nodes = self.layout.terminals()
        return tuple((nodes[one], nodes[two]) for one, two in self.device.paths)

    def drops(
        self, voltages: Float[Array, "batch node"]
    ) -> tuple[Float[Array, "batch instance"], ...]:
        """Return the voltage of every terminal above the last [V]."""
        return tuple(voltages[:, one] - voltages[:, two] for one, two in self.ports)

    def conductances(self, params: Mapping[str, Array]) -> Array:
        """Return the conductance of every instance of a linear device [S], shaped as the wiring."""
        if self.device.trainable:
            return self.layout.instance_values(params[self.key])
        shape = self.layout.wiring.shape
        law = self._own_law
        assert isinstance(law, AbstractTwoTerminal), "a linear device has two terminals"
        return law.conductance(np.zeros(self.num_instances)).reshape(shape)

    def currents(
        self, params: Mapping[str, Array], voltages: Float[Array, "batch node"]
    ) -> AtNodes:
        """Yield the currents that leave the nodes through the group [A]."""
        if self.device.linear:
            return self._ohmic_currents(params, voltages)
        return self._at_both_ends(self.law(params).currents(*self.drops(voltages)))

    def current_changes(
        self,
        params: Mapping[str, Array],
        voltages: Float[Array, "batch node"],
        changes: Float[Array, "batch node"],
    ) -> AtNodes:
        """Yield how `currents` change when all voltages do, by a little [A]."""
        if self.device.linear:
            return self._ohmic_currents(params, changes)
        slopes = self.law(params).slopes(*self.drops(voltages))
        moves = self.drops(changes)
        return self._at_both_ends(
            _sum(slope * move for slope, move in zip(row, moves, strict=True)) for row in slopes
        )

    def currents_and_bounds(
        self,
        params: Mapping[str, Array],
        voltages: Float[np.ndarray, "batch node"],
        voltage_floor: float,
    ) -> Iterator[tuple[np.ndarray, Array, Array]]:
        """Yield nodes, the `currents` that leave them and the sums of their magnitudes [A].

        Args:
            params: Conductances [S] by group name.
            voltages: All node voltages [V].
            voltage_floor: Drop that every device counts with at least [V].
        """
        if self.device.linear:
            # g (|a| + |b|) per branch is 2 g |a|, less what flows from |a| to |b|.
            wiring, g = self.sides.wiring, np.asarray(self.conductances(params))
            size = np.abs(voltages)
            flows, sums = wiring.linear_currents(size, g), wiring.conductance_sums(g)
            ends = zip(self._ohmic_currents(params, voltages), flows, sums, strict=True)
            for (nodes, current), flow, total in ends:
                yield nodes, current, (2.0 * size[:, nodes] + voltage_floor) * total - flow
            return
        currents, slopes = self.law(params).currents_and_slopes(*self.drops(voltages))
        for (one, two), current, row in zip(self.ports, currents, slopes, strict=True):
            bound = np.abs(current) + voltage_floor * _sum(np.abs(slope) for slope in row)
            yield one, current, bound
            yield two, -current, bound

    def own_conductances(
        self, params: Mapping[str, Array], voltages: Float[Array, "batch node"]
    ) -> AtNodes:
        """Yield the group's part of every node's own conductance [S], the Jacobian's diagonal."""
        if self.device.linear:
            layout = self.sides.wiring
            sums = layout.conductance_sums(self.conductances(params))
            for nodes, total in zip((layout.first, layout.second), sums, strict=True):
                yield nodes, total[None, :]
            return
        slopes = self.terminal_slopes(params, voltages)
        nodes = self.layout.terminals()
        for k, row in enumerate(slopes):
            yield nodes[k], row[k]
            # Terminals of one device may share a node, such as a gate tied to its drain.
            for m in range(len(nodes)):
                joined = np.flatnonzero(nodes[k] == nodes[m])
                if m != k and len(joined):
                    yield nodes[k][joined], row[m][:, joined]

    def terminal_slopes(
        self, params: Mapping[str, Array], voltages: Float[Array, "batch node"]
    ) -> list[list[Array]]:
        """Return the derivative of the current into each terminal by the voltage of each [S]."""
        return _with_last(self.law(params).slopes(*self.drops(voltages)))

    def powers(
        self, params: Mapping[str, Array], voltages: Float[Array, "batch node"]
    ) -> Float[Array, " batch"]:
        """Return the power that the group absorbs [W]."""
        if self.device.linear:
            return self._ohmic_powers(self.conductances(params), voltages)
        drops = self.drops(voltages)
        flows = zip(drops, self.law(params).currents(*drops), strict=True)
        return _sum((drop * current).sum(1) for drop, current in flows)

    def co_contents(
        self,
        params: Mapping[str, Array],
        voltages: Float[Array, "batch node"],
        weights: Float[Array, "..."],
    ) -> Float[Array, " batch"]:
        """Return the co-content of the group [W], each instance's times its weight.

        Args:
            params: Conductances [S] by group name.
            voltages: All node voltages [V].
            weights: A weight per instance, shaped as the wiring.
        """
        if self.device.linear:
            # Half the power of weighted resistors, without an array of all their drops.
            return 0.5 * self._ohmic_powers(weights * self.conductances(params), voltages)
        law = self.law(params)
        assert isinstance(law, AbstractTwoTerminal), "other devices have no co-content"
        return (weights.reshape(-1) * law.co_content(*self.drops(voltages))).sum(1)

    def parameter_slopes(
        self,
        mean: Float[Array, "batch node"],
        change: Float[Array, "batch node"],
        weights: Array | float = 1.0,
        still: np.ndarray | None = None,
    ) -> Array:
        r"""Return the batch mean of how the derivative of the co-content by each parameter changes.

        That is $\omega\,\Delta V\,\delta\Delta V$ for a resistor and $\omega\,\delta\Delta V$ for
        a current source.

        Args:
            mean: Voltages of all nodes [V].
            change: How they change [V].
            weights: One number, or one for every instance.
            still: Nodes whose change is known to be zero.
        """
        if not self.device.supplies:
            return self.sides.voltage_drop_product(mean, change, weights, still)
        (drop,) = self.drops(change)
        return drop.mean(0).reshape(self.layout.wiring.shape) * weights

    def _ohmic_currents(self, params: Mapping[str, Array], voltages: Array) -> AtNodes:
        """Yield the currents of resistors [A]; those that share a parameter share its products."""
        trainable = self.device.trainable
        layout = self.sides if trainable else self.sides.wiring
        g = params[self.key] if trainable else self.conductances(params)
        first, second = layout.linear_currents(voltages, g)
        yield layout.first, first
        yield layout.second, second

    def _ohmic_powers(self, conductances: Array, voltages: Array) -> Float[Array, " batch"]:
        layout = self.sides.wiring
        first, second = layout.linear_currents(voltages, conductances)
        power = (voltages[:, layout.first] * first).sum(1)
        return power + (voltages[:, layout.second] * second).sum(1)

    def _at_both_ends(self, currents) -> AtNodes:
        """Yield a current per port at its terminal, and what flows back at the last."""
        for (one, two), current in zip(self.ports, currents, strict=True):
            yield one, current
            yield two, -current


def _sum(parts):
    """Return the sum of one part or more, without a zero to start from."""
    return functools.reduce(lambda one, other: one + other, parts)


def _with_last(slopes):
    """Return the slopes between all terminals: every row and column sums to zero."""
    rows = [[*row, -_sum(row)] for row in slopes]
    return [*rows, [-_sum(column) for column in zip(*rows, strict=True)]]


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

    @functools.cached_property
    def _constants(self) -> Float[np.ndarray, " instance"]:
        """What every source holds without any input [V]."""
        return np.where(self.columns < 0, self.scales, 0.0)

    @functools.cached_property
    def _factors(self) -> Float[np.ndarray, " instance"]:
        """What an input counts with at every source."""
        return np.where(self.columns < 0, 0.0, self.scales)

    def voltages(self, inputs: Float[Array, "batch input"]) -> Float[Array, "batch instance"]:
        """Return the voltage of every source [V]."""
        xp, constants, factors = inputs.__array_namespace__(), self._constants, self._factors
        if not factors.any():
            shape = (inputs.shape[0], len(constants))
            return xp.broadcast_to(xp.asarray(constants)[None, :], shape)
        values = take_columns(inputs, np.maximum(self.columns, 0))
        if not (factors == 1.0).all():
            values = values * xp.asarray(factors)[None, :]
        return values + xp.asarray(constants)[None, :] if constants.any() else values


@dataclasses.dataclass(frozen=True, eq=False)
class Amplifiers:
    r"""Bidirectional amplifiers: a VCVS forwards, a CCCS backwards.

    $v_{out} = A (v_{in} + o)$, and $\kappa I_{out}$ is drawn at the input, where $I_{out}$ is
    the current that the amplifier delivers at its output.

    Attributes:
        name: Group name.
        inputs: Input nodes.
        outputs: Output nodes.
        gains: A.
        reflections: kappa.
        offsets: o [V]; zero for all if one number.
    """

    name: str
    inputs: Int[np.ndarray, " instance"]
    outputs: Int[np.ndarray, " instance"]
    gains: Float[np.ndarray, " instance"]
    reflections: Float[np.ndarray, " instance"]
    offsets: Float[np.ndarray, " instance"] | float = 0.0
