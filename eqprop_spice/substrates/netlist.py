"""Any circuit that a netlist describes, of which some numbers learn."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.engines.nodal import attached, sensitivity
from eqprop_spice.engines.nodal.checks import check
from eqprop_spice.engines.nodal.circuit import NodalCircuit, grounded
from eqprop_spice.engines.nodal.learnable import Learnable, groups_of
from eqprop_spice.engines.nodal.parts import parts_of
from eqprop_spice.engines.nodal.solve import solve
from eqprop_spice.engines.nodal.written import with_values
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Hold
from eqprop_spice.settled import Relaxation, Settled
from eqprop_spice.spice.deck import Deck, Element, frozen
from eqprop_spice.spice.portable import portable_netlist
from eqprop_spice.spice.reader import read_text
from eqprop_spice.spice.scopes import nearest
from eqprop_spice.spice.source_text import source_text
from eqprop_spice.substrates.base import AbstractSubstrate, Params

DEFAULT_STIFFNESS = 1e-3
"""Of outputs that no current moves [S]."""


@dataclasses.dataclass(frozen=True)
class Netlist(AbstractSubstrate):
    r"""A circuit with transistors, floating and controlled sources; it may have no energy.

    With f(x) = 0 the equations of modified nodal analysis, the contrast of two states is

    $\tfrac12 (\partial_\theta f(x_1) + \partial_\theta f(x_2)) \cdot (x_2 - x_1)$,

    which is the difference of the energies' derivatives where the circuit has an energy (resistors,
    diodes, sources): exactly for what is linear in x, to second order else. With transistors or
    controlled sources there is none; rules that nudge or hold the outputs are then biased, which
    the audit measures. The adjoint is exact always.

    What learns are conductances of resistors, values of sources and gains, fields of devices, and
    `.param` cards, each by a *factor*: 1 is the value in the netlist. So one initializer and one
    constraint serve volts and siemens alike: `uniform.Uniform` with lower = upper = 1 starts from
    the netlist as it is, `box.Box` bounds all to so many times their value.

    Attributes:
        path: The netlist's file; in an experiment's file, from its folder.
        inputs: Names of the V or I sources that follow the inputs of the data, in their order.
        output_nodes: Nodes, or pairs of nodes whose difference counts.
        trainable: Patterns of names, each a group: `r*`, `vg1`, `m*:threshold`, `.param:load`.
            Behind a colon stands a field of the device.
        include: Whether files in its folder that it includes are read.
        text: The netlist itself, so that the file is not needed; run folders hold it.
    """

    path: str
    inputs: tuple[str, ...]
    output_nodes: tuple[str | tuple[str, str], ...]
    trainable: tuple[str, ...]
    include: bool = False
    text: str = ""

    @classmethod
    def self_contained(cls, arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Return arguments with the text of the netlist among them."""
        path = arguments.get("path")
        if arguments.get("text") or not isinstance(path, str):
            return arguments
        include = arguments.get("include", False) is True
        return {**arguments, "text": source_text(folder / path, include=include)}

    @functools.cached_property
    def _source(self) -> str:
        return self.text or source_text(Path(self.path), include=self.include)

    def _read(self, parameters: Mapping[str, float]) -> Deck:
        return read_text(self._source, name=Path(self.path).name, parameters=parameters)

    @functools.cached_property
    def deck(self) -> Deck:
        """What the netlist says."""
        return self._read({})

    @functools.cached_property
    def circuit(self) -> NodalCircuit:
        """Its equations."""
        parts = parts_of(self.deck)
        check(self.deck, parts)
        return NodalCircuit.of(parts)

    @functools.cached_property
    def learnable(self) -> Learnable:
        """What learns.

        Raises:
            ConfigError: If a pattern matches nothing, or what it should not.
        """
        taken = dict.fromkeys(map(str.lower, self.inputs), "inputs")
        groups = groups_of(self.deck, self.circuit, self.trainable, taken=taken, source=self.path)
        found = Learnable(self.deck, self.circuit, groups, self._read)
        found.check()
        return found

    @functools.cached_property
    def _sources(self) -> np.ndarray:
        """The numbers of the elements that follow the inputs."""
        if len({*map(str.lower, self.inputs)}) < len(self.inputs):
            raise ConfigError("inputs names a source twice.")
        numbers = [self.circuit.element(name.lower()) for name in self.inputs]
        for name in self.inputs:
            if name.lower().rpartition(".")[2][:1] not in ("v", "i"):
                raise ConfigError(f"The input '{name}' is no V or I source.")
        return np.array(numbers, int)

    @functools.cached_property
    def _pairs(self) -> np.ndarray:
        """The unknowns at the positive and the negative node of every output."""
        found = []
        for nodes in self.output_nodes:
            pair = (nodes, "0") if isinstance(nodes, str) else nodes
            numbers = [self._node(node.lower()) for node in pair]
            if numbers[0] == numbers[1]:
                raise ConfigError(
                    f"The output {nodes!r} is always zero: it is the ground or a node minus itself."
                )
            found.append(numbers)
        return np.array(found, int).reshape(-1, 2)

    @functools.cached_property
    def _weights(self) -> Float[np.ndarray, "output all"]:
        """What each unknown, and last the ground, counts in each output."""
        found = np.zeros((len(self._pairs), self.circuit.size + 1))
        rows = np.arange(len(found))
        found[rows, self._pairs[:, 0]] = 1.0
        found[rows, self._pairs[:, 1]] = -1.0
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
        return {name: (len(members),) for name, members in self.learnable.groups.items()}

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
        """All but an energy, which transistors do not have."""
        return frozenset({"adjoint", "force", "spring", "hold", "response", "netlist"})

    def nudge_scale(self, params: Params) -> float:
        """Return the mean conductance that the outputs have for a small current [S]."""
        circuit = self.programmed(params)
        point = self._solved(circuit, circuit.values[None], None)
        state = np.nan_to_num(point.state)
        currents = attached.load(circuit, self._pairs, np.eye(len(self._pairs)))
        rise = sensitivity.respond(circuit, np.repeat(state, len(currents), axis=0), currents)
        own = np.abs((grounded(rise) @ self._weights.T).diagonal())
        good = np.isfinite(own) & (own > 0.0)
        return float((1.0 / own[good]).mean()) if good.any() else DEFAULT_STIFFNESS

    def check(self) -> None:
        """Refuse names that are none, and what the engine does not solve.

        Raises:
            NetlistError: If the netlist is not read or has no solution.
            ConfigError: If a name is wrong.
        """
        _ = self._sources, self.learnable, self._pairs

    def admissible(self, params: Params) -> dict[str, Bool[Array, "..."]]:
        """Return which factors are finite and positive."""
        return self.all_positive(params)

    def programmed(self, params: Params) -> NodalCircuit:
        """Return the circuit with the values that some factors give."""
        return self.learnable.programmed(self.learnable.joined(params))

    def _solved(self, circuit: NodalCircuit, values: np.ndarray, start: Any, extra: Any = None):
        if start is None:
            start = np.zeros((len(values), circuit.size))
            for node, voltage in self.deck.guesses.items():
                start[:, circuit.node(node)] = voltage
        return solve(circuit, values, np.nan_to_num(np.asarray(start)), extra)

    def settle(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | AbstractNudge],
        *,
        start: Any = None,
        key: Any = None,
    ) -> list[Settled]:
        """Return the operating points of every sample; the free phase comes first."""
        circuit = self.programmed(params)
        values = np.repeat(circuit.values[None], len(inputs), axis=0)
        values[:, self._sources] = np.asarray(inputs)
        found: list[Settled] = []
        for phase in phases:
            phase = self.attached(phase, found)
            begin = found[0].state if found else start
            found.append(self._settled(circuit, values, phase, begin))
        return found

    def _settled(
        self, circuit: NodalCircuit, values: np.ndarray, phase: AbstractPhase, start: Any
    ) -> Settled:
        """Settle in one phase."""
        shape, count = (len(values), len(self._pairs)), circuit.size
        if phase.holds:
            assert isinstance(phase, Hold)
            held = np.nan_to_num(np.asarray(phase.outputs))
            values = np.concatenate([values, held], axis=1)
            circuit = attached.with_sources(circuit, self._pairs)
            if start is not None:
                start = np.pad(np.asarray(start), ((0, 0), (0, len(self._pairs))))
            point = self._solved(circuit, values, start)
        else:
            currents = np.nan_to_num(np.asarray(phase.source_currents(*shape), float))
            extra = attached.load(circuit, self._pairs, currents)
            stiffness = float(phase.conductance)
            if stiffness:
                springs = np.full(shape, stiffness)
                circuit = attached.with_conductances(circuit, self._pairs, stiffness)
                values = np.concatenate([values, springs], axis=1)
            point = self._solved(circuit, values, start, extra)
        return Settled(point.state[:, :count], point.converged, point.residual, point.steps)

    def outputs(self, state: Any) -> Float[np.ndarray, "batch output"]:
        """Return the output voltages [V]."""
        return grounded(np.asarray(state)) @ self._weights.T

    def explain(self, settled: Any, sample: int) -> str:
        """Say by how much the equations are violated."""
        return f"its equations are violated by {settled.residual[sample]:.1e} of what meets there"

    def named_state(self, state: Any) -> tuple[list[str], Float[np.ndarray, "batch node"]]:
        """Return names and voltages [V] of the netlist's nodes."""
        numbers = [self._node(name) for name in self.deck.nodes]
        return list(self.deck.nodes), np.asarray(state)[:, numbers]

    def _mean(
        self, params: Params, state: np.ndarray, weights: np.ndarray, samples: np.ndarray
    ) -> dict[str, Array]:
        """Return the mean over samples of what `Learnable.gradient` returns."""
        factors = self.learnable.joined(params)
        state, weights = (np.where(samples[:, None], array, 0.0) for array in (state, weights))
        found = self.learnable.gradient(factors, state, weights)
        return {**self.learnable.split(found.sum(axis=0) / max(samples.sum(), 1))}

    def contrast(self, params, inputs, first, second, samples) -> dict[str, Array]:
        """Return the contrast of two states; see the class."""
        first, second, samples = np.asarray(first), np.asarray(second), np.asarray(samples)
        change = 0.5 * (first - second)
        ends = [self._mean(params, state, change, samples) for state in (first, second)]
        return {name: ends[0][name] + ends[1][name] for name in ends[0]}

    def respond(self, params, inputs, state, forces) -> tuple[Array, Bool[Array, " batch"]]:
        """Return how all unknowns change with small currents into the outputs."""
        circuit, state = self.programmed(params), np.asarray(state)
        valid = np.array(np.isfinite(state).all(axis=1))
        currents = attached.load(circuit, self._pairs, np.nan_to_num(np.asarray(forces)))
        change = sensitivity.respond(circuit, np.where(valid[:, None], state, 0.0), currents)
        return change, np.logical_and(valid, np.isfinite(change).all(axis=1))

    def contrast_rate(self, params, inputs, state, change, samples) -> dict[str, Array]:
        """Return the contrast with a state a small change away, to first order."""
        return self._mean(params, np.asarray(state), -np.asarray(change), np.asarray(samples))

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
        valid = np.array(chosen & np.isfinite(multipliers).all(axis=1))
        return self._mean(params, state, np.where(valid[:, None], multipliers, 0.0), valid), valid

    def trained_deck(self, params: Params) -> Deck:
        """Return the netlist with the values that some factors give."""
        learnable, factors = self.learnable, self.learnable.joined(params)
        deck = self._read(learnable.values(factors))
        names = [member.name for _, member in learnable.direct]
        return with_values(deck, learnable.programmed(factors), names)

    def netlist(self, params, inputs, phase, title) -> str:
        """Return the netlist of one sample with what is attached to its outputs."""
        deck = self.trained_deck(params)
        follows = dict(
            zip(map(str.lower, self.inputs), np.asarray(inputs)[0].tolist(), strict=True)
        )
        elements = [
            dataclasses.replace(e, value=follows[e.original]) if e.original in follows else e
            for e in deck.elements
        ]
        elements += self._attached(phase)
        guesses = frozen(dict(deck.guesses))
        changed = dataclasses.replace(deck, elements=tuple(elements), guesses=guesses)
        return portable_netlist(changed, title=title)

    def _attached(self, phase: AbstractPhase) -> list[Element]:
        """Return the elements that a phase puts at the outputs."""
        names = [*self.circuit.nodes, *self.circuit.branches, "0"]
        found = []
        for k, (plus, minus) in enumerate(self._pairs.tolist()):
            nodes = names[plus], names[minus]
            if isinstance(phase, Hold):
                value = float(np.asarray(phase.outputs)[0, k])
                found.append(Element(f"v_hold_{k}", nodes, value))
                continue
            current = float(np.asarray(phase.source_currents(1, len(self._pairs)))[0, k])
            if current:
                # A source's current flows through it, from its first node to its second.
                found.append(Element(f"i_nudge_{k}", nodes[::-1], current))
            if float(phase.conductance):
                found.append(Element(f"r_spring_{k}", nodes, 1.0 / float(phase.conductance)))
        return found
