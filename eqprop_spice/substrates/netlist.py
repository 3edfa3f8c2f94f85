"""Any circuit that a netlist describes, of which some numbers learn."""

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.engines.nodal import sensitivity
from eqprop_spice.engines.nodal.checks import check
from eqprop_spice.engines.nodal.circuit import NodalCircuit, grounded
from eqprop_spice.engines.nodal.parts import parts_of
from eqprop_spice.engines.nodal.sensitivity import Parameter
from eqprop_spice.engines.nodal.solve import solve
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Free
from eqprop_spice.settled import Relaxation, Settled
from eqprop_spice.spice.deck import Deck
from eqprop_spice.spice.reader import read
from eqprop_spice.spice.scopes import Names, nearest
from eqprop_spice.substrates.base import AbstractSubstrate, Params


@dataclasses.dataclass(frozen=True)
class Netlist(AbstractSubstrate):
    r"""A circuit with transistors, floating and controlled sources; it may have no energy.

    So nothing but the exact gradient is offered: the adjoint asks for no reciprocity.

    What learns are conductances of resistors, values of sources and gains, and fields of devices,
    each by a *factor*: 1 is the value in the netlist. So one initializer and one constraint serve
    volts and siemens alike: `uniform.Uniform` with lower = upper = 1 starts from the netlist as it
    is, `box.Box` bounds all to so many times their value.

    Attributes:
        path: The netlist's file.
        inputs: Names of the V or I sources that follow the inputs of the data, in their order.
        outputs: Nodes, or pairs of nodes whose difference counts.
        trainable: Patterns of names, each a group: `r*`, `vg1`, `m*:threshold`. Behind the colon
            stands a field of the device.
        include: Whether files in its folder that it includes are read.
    """

    path: str
    inputs: tuple[str, ...]
    output_nodes: tuple[str | tuple[str, str], ...]
    trainable: tuple[str, ...]
    include: bool = False

    @functools.cached_property
    def deck(self) -> Deck:
        """What the netlist says."""
        return read(Path(self.path), include=self.include)

    @functools.cached_property
    def circuit(self) -> NodalCircuit:
        """Its equations."""
        parts = parts_of(self.deck)
        check(self.deck, parts)
        return NodalCircuit.of(parts)

    @functools.cached_property
    def groups(self) -> Mapping[str, tuple[Parameter, ...]]:
        """What learns, by the name of the group: that of its pattern without signs.

        Raises:
            ConfigError: If a pattern matches nothing, or what it should not.
        """
        names, found = Names(), {}
        taken = dict.fromkeys(self.inputs, "inputs")
        for pattern in self.trainable:
            matched = self._matched(pattern.lower())
            for name in matched:
                if name in taken:
                    raise ConfigError(f"'{name}' is in {taken[name]} and matches '{pattern}' too.")
                taken[name] = f"'{pattern}'"
            stem = re.sub(r"[*?]", "", pattern.lower()).strip(":[]") or "all"
            members = tuple(sensitivity.parameter(self.circuit, name) for name in matched)
            for member in members:
                if sensitivity.value_of(self.circuit, member) == 0.0:
                    raise ConfigError(
                        f"'{member.name}' is zero in the netlist, and a factor leaves it there. "
                        "Give it a value to start from."
                    )
            found[names.new(stem)] = members
        return found

    def _matched(self, pattern: str) -> list[str]:
        circuit = self.circuit
        known = [name for name in circuit.elements if (":" in name) == (":" in pattern)]
        if ":" in pattern:
            for group in circuit.devices:
                law = group.device
                fields = [f.name for f in dataclasses.fields(law) if np.ndim(getattr(law, f.name))]
                known += [f"{name}:{field}" for name in group.names for field in fields]
        matched = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
        if not matched:
            raise ConfigError(
                f"trainable '{pattern}' matches nothing in {self.path}{nearest(pattern, known)}."
            )
        return matched

    @functools.cached_property
    def _sources(self) -> np.ndarray:
        """The numbers of the elements that follow the inputs."""
        numbers = [self.circuit.element(name.lower()) for name in self.inputs]
        for name in self.inputs:
            if name[:1].lower() not in "vi" or ":" in name:
                raise ConfigError(f"The input '{name}' is no V or I source.")
        return np.array(numbers)

    @functools.cached_property
    def _weights(self) -> Float[np.ndarray, "output all"]:
        """What each unknown, and last the ground, counts in each output."""
        found = np.zeros((len(self.output_nodes), self.circuit.size + 1))
        for row, nodes in zip(found, self.output_nodes, strict=True):
            pair = (nodes, "0") if isinstance(nodes, str) else nodes
            numbers = [self._node(node.lower()) for node in pair]
            if numbers[0] == numbers[1]:
                raise ConfigError(
                    f"The output {nodes!r} is always zero: it is the ground or a node minus itself."
                )
            row[numbers[0]], row[numbers[1]] = 1.0, -1.0
        return found

    def _node(self, name: str) -> int:
        if name in ("0", "gnd"):
            return self.circuit.size
        if name not in self.deck.nodes:
            hint = nearest(name, self.deck.nodes)
            raise ConfigError(f"There is no node '{name}' in {self.path}{hint}.")
        return self.circuit.node(self.deck.nodes[name])

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return how many factors each group has."""
        return {name: (len(members),) for name, members in self.groups.items()}

    def sized(self, num_inputs: int, num_outputs: int) -> "Netlist":
        """Return the circuit, if its sources and outputs are as many as the data's.

        Raises:
            ConfigError: If not.
        """
        sizes = (
            ("inputs", self.inputs, num_inputs),
            ("output_nodes", self.output_nodes, num_outputs),
        )
        for name, given, wanted in sizes:
            if len(given) != wanted:
                raise ConfigError(f"{name} names {len(given)}, but the data set has {wanted}.")
        return self

    @property
    def traceable(self) -> bool:
        """The solver is numpy's."""
        return False

    @property
    def abilities(self) -> frozenset[str]:
        """The exact gradient alone."""
        return frozenset({"adjoint"})

    def check(self) -> None:
        """Refuse names that are none, and what the engine does not solve.

        Raises:
            NetlistError: If the netlist is not read or has no solution.
            ConfigError: If a name is wrong.
        """
        _ = self._sources, self.groups, self._weights

    def admissible(self, params: Params) -> dict[str, Bool[Array, "..."]]:
        """Return which factors are finite and positive."""
        finite = super().admissible(params)
        return {name: finite[name] & (values > 0.0) for name, values in params.items()}

    @functools.cached_property
    def _members(self) -> list[Parameter]:
        return [member for members in self.groups.values() for member in members]

    @functools.cached_property
    def _drawn(self) -> np.ndarray:
        """The values in the netlist."""
        return np.array([sensitivity.value_of(self.circuit, m) for m in self._members])

    def programmed(self, params: Params) -> NodalCircuit:
        """Return the circuit with the values that some factors give."""
        factors = np.concatenate([np.asarray(params[name]) for name in self.groups])
        return sensitivity.with_parameters(self.circuit, self._members, self._drawn * factors)

    def settle(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | AbstractNudge],
        *,
        start: Any = None,
        key: Any = None,
    ) -> list[Settled]:
        """Return the free operating point of every sample.

        Raises:
            ConfigError: If another phase is asked for.
        """
        if any(not isinstance(phase, Free) for phase in phases):
            raise ConfigError("A netlist settles freely only; use the rule adjoint.Adjoint.")
        circuit = self.programmed(params)
        values = np.repeat(circuit.values[None], len(inputs), axis=0)
        values[:, self._sources] = np.asarray(inputs)
        if start is None:
            start = np.zeros((len(inputs), circuit.size))
            for node, voltage in self.deck.guesses.items():
                start[:, circuit.node(node)] = voltage
        point = solve(circuit, values, np.nan_to_num(np.asarray(start)))
        return [Settled(point.state, point.converged, point.residual, point.steps) for _ in phases]

    def outputs(self, state: Any) -> Float[np.ndarray, "batch output"]:
        """Return the output voltages [V]."""
        return grounded(np.asarray(state)) @ self._weights.T

    def named_state(self, state: Any) -> tuple[list[str], Float[np.ndarray, "batch node"]]:
        """Return names and voltages [V] of the netlist's nodes."""
        numbers = [self._node(name) for name in self.deck.nodes]
        return list(self.deck.nodes), np.asarray(state)[:, numbers]

    def cost_gradient(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        state: Any,
        output_gradient: Float[Array, "batch output"],
        samples: Bool[Array, " batch"],
        relaxation: Relaxation | None = None,
    ) -> tuple[dict[str, Array], Bool[Array, " batch"]]:
        """Return the exact mean gradient by the factors; see `AbstractSubstrate`."""
        assert relaxation is None, "it has no ability 'relaxation'"
        circuit, chosen = self.programmed(params), np.asarray(samples)
        state = np.where(chosen[:, None], np.asarray(state), 0.0)
        slopes = (np.asarray(output_gradient) @ self._weights)[:, :-1]
        multipliers = sensitivity.multipliers(circuit, state, np.where(chosen[:, None], slopes, 0))
        valid = chosen & np.isfinite(multipliers).all(axis=1)
        multipliers = np.where(valid[:, None], multipliers, 0.0)
        found = sensitivity.gradient(circuit, self._members, state, multipliers)
        mean = self._drawn * found.sum(axis=0) / max(valid.sum(), 1)
        sizes = [len(members) for members in self.groups.values()]
        parts = np.split(mean, np.cumsum(sizes)[:-1])
        return dict(zip(self.groups, parts, strict=True)), valid
