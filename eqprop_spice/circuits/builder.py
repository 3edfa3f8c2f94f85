"""Circuits under construction: nodes and devices are collected by name, then checked as a whole."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int

from eqprop_spice.circuits.circuit import Circuit, components
from eqprop_spice.circuits.groups import Amplifiers, Group, Sources
from eqprop_spice.circuits.layouts import GROUND, Pairs, Patches, Product, Shared, Tuples
from eqprop_spice.devices.base import AbstractDevice, AbstractTwoTerminal
from eqprop_spice.errors import NetlistError

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


MAX_NODES = 3_000_000
"""Nodes of one layer; each has a name."""


def _stems(name: str) -> list[str]:
    """Return what is left of a name without its last number, its last two, and so on."""
    stems = []
    while match := re.fullmatch(r"(.+)_\d+", name):
        name = match[1]
        stems.append(name)
    return stems


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
        self._numbered: dict[str, str] = {}

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
        if count > MAX_NODES:
            raise NetlistError(
                f"'{prefix}' would have {count:,} nodes; a circuit has at most {MAX_NODES:,}."
            )
        return np.array([self.add_node(f"{prefix}_{i}") for i in range(count)])

    def _claim(self, name: str) -> str:
        check_name(name, "group")
        if name in self._names:
            raise NetlistError(f"Group '{name}' exists already; group names are unique.")
        stems = _stems(name)
        clash = next(((stem, name) for stem in stems if stem in self._names), None)
        if name in self._numbered:
            clash = name, self._numbered[name]
        if clash is not None:
            short, long = clash
            raise NetlistError(
                f"Groups '{short}' and '{long}' could give two devices one name, since a "
                f"device is named by its group and its number; rename '{long}'."
            )
        self._names.add(name)
        self._numbered.update(dict.fromkeys(stems, name))
        return name

    def add_inputs(
        self,
        name: str,
        nodes: Sequence[SupportsIndex] | np.ndarray,
        columns: np.ndarray,
        scale: float = 1.0,
    ) -> None:
        """Hold nodes at `scale` times the given columns of the input vector."""
        nodes = np.asarray(nodes, int)
        scales = np.full(len(nodes), float(scale))
        self._sources.append(Sources(self._claim(name), nodes, np.asarray(columns, int), scales))

    def add_constants(
        self, name: str, nodes: Sequence[SupportsIndex] | np.ndarray, voltages: Iterable[float]
    ) -> None:
        """Hold nodes at constant voltages [V]."""
        nodes = np.asarray(nodes, int)
        scales = np.asarray(list(voltages), float)
        if not np.isfinite(scales).all():
            raise NetlistError(f"Source group '{name}' has a voltage that is not finite.")
        self._sources.append(Sources(self._claim(name), nodes, np.full(len(nodes), -1), scales))

    def add_amplifiers(
        self,
        name: str,
        inputs: np.ndarray,
        outputs: np.ndarray,
        gain: float,
        reflection: float,
        *,
        offset: float = 0.0,
    ) -> None:
        """Drive each output node at gain times (its input + offset [V]).

        Reflection times the current of the output is drawn at the input.
        """
        for what, value in (("gain", gain), ("reflection", reflection)):
            if not np.isfinite(value) or value == 0:
                raise NetlistError(
                    f"Amplifier group '{name}' has {what} {value}; it must be finite, not zero."
                )
        if not np.isfinite(offset):
            raise NetlistError(f"Amplifier group '{name}' has offset {offset}; it must be finite.")
        count = len(inputs)
        self._amplifiers.append(
            Amplifiers(
                self._claim(name),
                np.asarray(inputs, int),
                np.asarray(outputs, int),
                np.full(count, float(gain)),
                np.full(count, float(reflection)),
                float(offset),
            )
        )

    def add_dense(
        self,
        name: str,
        device: AbstractTwoTerminal,
        first: np.ndarray,
        second: np.ndarray,
        *,
        shared: str = "",
    ) -> None:
        """Connect every node of `first` to every node of `second`.

        Args:
            name: Name of the group.
            device: The device law.
            first: Nodes of the first terminals.
            second: Nodes of the second ones.
            shared: Name of parameters that other groups have too; none if empty.
        """
        layout = Product(np.asarray(first, int), np.asarray(second, int))
        group = Group(self._claim(name), device, layout, shared=_checked_shared(shared))
        self._groups.append(group)

    def add_pairs(
        self,
        name: str,
        device: AbstractTwoTerminal,
        first: np.ndarray | Sequence[SupportsIndex],
        second: np.ndarray | Sequence[SupportsIndex],
        *,
        shared: str = "",
    ) -> None:
        """Connect `first[i]` to `second[i]`; parameters are `shared` as those of `add_dense`."""
        self.add_devices(name, device, [first, second], shared=shared)

    def add_devices(
        self,
        name: str,
        device: AbstractDevice,
        nodes: Sequence[np.ndarray | Sequence[SupportsIndex]],
        *,
        values: Mapping[str, Sequence[float] | np.ndarray] | None = None,
        shared: str = "",
    ) -> None:
        """Add like devices with any number of terminals.

        Args:
            name: Name of the group.
            device: The device law.
            nodes: For every terminal of the device, its node in each instance.
            values: By field of the device, what differs: one number per instance.
            shared: Name of parameters that other groups have too; none if empty.
        """
        terminals = [np.asarray(ends, int) for ends in nodes]
        if len(terminals) != len(device.terminals):
            raise NetlistError(
                f"Group '{name}' has {len(terminals)} lists of nodes, but a {type(device).__name__}"
                f" has the terminals {', '.join(device.terminals)}."
            )
        if len({len(ends) for ends in terminals}) != 1:
            raise NetlistError(f"Group '{name}' has lists of nodes of different lengths.")
        arrays = {field: np.asarray(row, float) for field, row in (values or {}).items()}
        fields = {field.name for field in dataclasses.fields(device)}
        for field, row in arrays.items():
            if field not in fields:
                raise NetlistError(
                    f"Group '{name}' has values for '{field}', which a {type(device).__name__} "
                    f"does not have; its fields are {', '.join(sorted(fields))}."
                )
            if row.shape != terminals[0].shape:
                raise NetlistError(
                    f"Group '{name}' has {row.shape} values of {field} for "
                    f"{len(terminals[0])} devices; give one number for each."
                )
        layout = Pairs(*terminals) if len(terminals) == 2 else Tuples(np.stack(terminals))
        group = Group(self._claim(name), device, layout, arrays, _checked_shared(shared))
        self._groups.append(group)

    def add_patches(
        self,
        name: str,
        device: AbstractTwoTerminal,
        first: Int[np.ndarray, "row patch"],
        second: Int[np.ndarray, "column patch"],
        *,
        shared: bool = False,
    ) -> None:
        """Connect every row of a patch to every column of it, in every patch.

        Args:
            name: Name of the group.
            device: The device law.
            first: The rows of every patch.
            second: The columns of every patch.
            shared: Whether the patches have the same parameters.
        """
        if first.shape[1] != second.shape[1]:
            raise NetlistError(
                f"Group '{name}' has {first.shape[1]} patches of first nodes and "
                f"{second.shape[1]} of second ones; give both the same number."
            )
        kind = Shared if shared else Patches
        layout = kind(first.ravel().astype(int), second.ravel().astype(int), first.shape[1])
        self._groups.append(Group(self._claim(name), device, layout))

    def build(
        self,
        output_nodes: Sequence[tuple[SupportsIndex, SupportsIndex]] | np.ndarray,
        *,
        num_inputs: int,
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


def _checked_shared(name: str) -> str:
    """Return the name of shared parameters if it is one, or empty."""
    return check_name(name, "shared group") if name else name


def _check_shared(circuit: Circuit) -> None:
    """Refuse groups that share parameters of different kinds or shapes."""
    named = {group.name: group for group in circuit.groups}
    first: dict[str, Group] = {}
    for group in circuit.groups:
        if not group.shared:
            continue
        if group.shared in named:
            raise NetlistError(
                f"Group '{group.name}' shares parameters by the name '{group.shared}', which is "
                "that of a group; choose another."
            )
        other = first.setdefault(group.shared, group)
        if other.layout.shape != group.layout.shape or other.device != group.device:
            raise NetlistError(
                f"Groups '{other.name}' and '{group.name}' share the parameters '{group.shared}', "
                f"but have shapes {other.layout.shape} and {group.layout.shape} and devices "
                f"{type(other.device).__name__} and {type(group.device).__name__}; make them equal."
            )


def _check_circuit(circuit: Circuit) -> None:
    """Refuse circuits whose operating point is not defined."""
    names = circuit.node_names
    held = np.concatenate([circuit.fixed_nodes, circuit.follower_nodes])
    nodes, counts = np.unique(held, return_counts=True)
    if (counts > 1).any():
        raise NetlistError(f"Node '{names[nodes[counts > 1][0]]}' is held by two sources.")
    _check_shared(circuit)
    if not any(group.device.linear for group in circuit.trainable_groups):
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
    for group in (*circuit.nonlinear_groups, *circuit.blocking_groups):
        for card in filter(None, {device.model_card() for device in group.instances({})}):
            name = card.split()[1]
            if models.setdefault(name, card) != card:
                raise NetlistError(
                    f"Two different devices have the model name '{name}', and ngspice would take "
                    "one for both; give them different names."
                )
    label = components(circuit, through_fixed=True)
    anchored = set(label[held].tolist())
    for node in sorted(free):
        if int(label[node]) not in anchored:
            raise NetlistError(
                f"Node '{names[node]}' floats: no path of devices leads from it to a source, an "
                "amplifier output or ground. Connect it or remove it."
            )
