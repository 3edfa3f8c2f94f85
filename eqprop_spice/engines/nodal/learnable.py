r"""What of a netlist learns: values of elements, fields of devices, and `.param`, by patterns.

Each learns by a *factor*: 1 is the value in the netlist. A `.param` may stand in many cards; so the
netlist is read again with its new value, and the derivatives of all that it changes, by central
differences of numbers that were read, go into the chain rule.
"""

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.engines.nodal import sensitivity
from eqprop_spice.engines.nodal.circuit import NodalCircuit, grounded
from eqprop_spice.engines.nodal.parts import parts_of
from eqprop_spice.engines.nodal.sensitivity import Parameter
from eqprop_spice.errors import ConfigError
from eqprop_spice.spice.deck import Deck
from eqprop_spice.spice.scopes import Names, nearest

PREFIX = ".param:"
"""Begins a pattern for names of `.param` cards."""

PARAMETER_STEP = 1e-5
"""Relative step of a `.param`: central differences are then right to 1e-10."""

ReadAgain = Callable[[Mapping[str, float]], Deck]
"""Reads a netlist with other values of `.param` cards."""


@dataclasses.dataclass(frozen=True, eq=False)
class Learnable:
    """The numbers of a netlist that learn.

    Attributes:
        deck: The netlist.
        circuit: Its equations.
        groups: Names by group: of elements, `m1:threshold`, or `.param:name`.
        again: Reads the netlist with other values of `.param` cards.
    """

    deck: Deck
    circuit: NodalCircuit
    groups: Mapping[str, tuple[str, ...]]
    again: ReadAgain

    @functools.cached_property
    def names(self) -> list[str]:
        """All names, group after group."""
        return [name for names in self.groups.values() for name in names]

    @functools.cached_property
    def _cards(self) -> list[tuple[int, str]]:
        """Numbers and names of the `.param` cards that learn."""
        found = enumerate(self.names)
        return [(k, n.removeprefix(PREFIX)) for k, n in found if n.startswith(PREFIX)]

    @functools.cached_property
    def direct(self) -> list[tuple[int, Parameter]]:
        """Numbers and parameters of all others."""
        found = enumerate(self.names)
        return [
            (k, sensitivity.parameter(self.circuit, name))
            for k, name in found
            if not name.startswith(PREFIX)
        ]

    def drawn(self, name: str) -> float:
        """Return the value in the netlist."""
        if name.startswith(PREFIX):
            return self.deck.parameters[name.removeprefix(PREFIX)]
        return sensitivity.value_of(self.circuit, sensitivity.parameter(self.circuit, name))

    def check(self) -> None:
        """Refuse what a factor does not move.

        Raises:
            ConfigError: If a value is zero, or a `.param` changes nothing.
        """
        for name in self.names:
            if self.drawn(name) == 0.0:
                raise ConfigError(
                    f"'{name}' is zero in the netlist, and a factor leaves it there. Give it a "
                    "value to start from."
                )
        for k, name in self._cards:
            if not any(True for _ in self._moved(np.ones(len(self.names)), k)):
                raise ConfigError(f"'{PREFIX}{name}' changes no element; name another.")

    def split(self, values: Float[np.ndarray, "*batch name"]) -> dict[str, np.ndarray]:
        """Return numbers for all names by group."""
        sizes = [len(names) for names in self.groups.values()]
        parts = np.split(values, np.cumsum(sizes)[:-1], axis=-1)
        return dict(zip(self.groups, parts, strict=True))

    def joined(self, params: Mapping[str, Array]) -> Float[np.ndarray, " name"]:
        """Return the factors of all names, from those by group."""
        return np.concatenate([np.asarray(params[name], float) for name in self.groups])

    def values(self, factors: Float[np.ndarray, " name"]) -> dict[str, float]:
        """Return the `.param` values that some factors give."""
        return {name: self.deck.parameters[name] * float(factors[k]) for k, name in self._cards}

    def programmed(self, factors: Float[np.ndarray, " name"]) -> NodalCircuit:
        """Return the circuit with the values that some factors give."""
        circuit = self.circuit
        if self._cards:
            circuit = NodalCircuit.of(parts_of(self.again(self.values(factors))))
        members = [member for _, member in self.direct]
        values = [sensitivity.value_of(circuit, member) * factors[k] for k, member in self.direct]
        return sensitivity.with_parameters(circuit, members, np.array(values, float))

    def gradient(
        self,
        factors: Float[np.ndarray, " name"],
        state: Float[np.ndarray, "batch unknown"],
        weights: Float[np.ndarray, "batch unknown"],
    ) -> Float[np.ndarray, "batch name"]:
        r"""Return $-\mu^T \partial f / \partial \theta$ by all factors; see `sensitivity`."""
        circuit = self.programmed(factors)
        found = np.zeros((len(state), len(self.names)))
        numbers = [k for k, _ in self.direct]
        members = [member for _, member in self.direct]
        if members:
            slopes = sensitivity.gradient(circuit, members, state, weights)
            values = [sensitivity.value_of(circuit, member) for member in members]
            found[:, numbers] = slopes * np.array(values) / factors[numbers]
        for k, _ in self._cards:
            for part, changes in self._moved(factors, k):
                found[:, k] += part(circuit, grounded(state), grounded(weights)) @ changes
        return found

    def _moved(
        self, factors: np.ndarray, k: int
    ) -> Iterator[tuple[Callable[..., np.ndarray], np.ndarray]]:
        """Yield what a `.param`'s factor moves: the gradient by it, and the derivatives of it."""
        step = PARAMETER_STEP * factors[k]
        unit = np.where(np.arange(len(factors)) == k, step, 0.0)
        low, high = self.programmed(factors - unit), self.programmed(factors + unit)
        changes = (high.values - low.values) / (2.0 * step)
        if changes.any():
            yield sensitivity.linear_gradient, changes
        for number, (one, two) in enumerate(zip(low.devices, high.devices, strict=True)):
            for field in dataclasses.fields(one.device):
                before, after = (getattr(g.device, field.name) for g in (one, two))
                if np.ndim(before) and (before != after).any():
                    yield _by_field(number, field.name), (after - before) / (2.0 * step)


def _by_field(number: int, field: str) -> Callable[..., np.ndarray]:
    def gradient(circuit: NodalCircuit, full: np.ndarray, mu: np.ndarray) -> np.ndarray:
        return sensitivity.field_gradient(circuit.devices[number], field, full, mu)

    return gradient


def known_names(deck: Deck, circuit: NodalCircuit, pattern: str) -> list[str]:
    """Return the names of the kind that a pattern asks for."""
    if pattern.startswith(PREFIX):
        return [f"{PREFIX}{name}" for name in deck.parameters]
    known = [name for name in circuit.elements if (":" in name) == (":" in pattern)]
    if ":" in pattern:
        for group in circuit.devices:
            law = group.device
            fields = [f.name for f in dataclasses.fields(law) if np.ndim(getattr(law, f.name))]
            known += [f"{name}:{field}" for name in group.names for field in fields]
    return known


def groups_of(
    deck: Deck,
    circuit: NodalCircuit,
    patterns: Sequence[str],
    *,
    taken: Mapping[str, str],
    source: str,
) -> dict[str, tuple[str, ...]]:
    """Return what some patterns name, by the name of the group: that of its pattern without signs.

    Args:
        deck: The netlist.
        circuit: Its equations.
        patterns: One for each group.
        taken: Names that may not learn, and why.
        source: What errors call the netlist.

    Raises:
        ConfigError: If a pattern matches nothing, or what it should not.
    """
    names, found, taken = Names(), {}, dict(taken)
    if not patterns:
        raise ConfigError("trainable is empty; name what learns, such as r*.")
    for pattern in map(str.lower, patterns):
        known = known_names(deck, circuit, pattern)
        matched = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
        if not matched:
            hint = nearest(pattern, known)
            raise ConfigError(f"trainable '{pattern}' matches nothing in {source}{hint}.")
        for name in matched:
            if name in taken:
                raise ConfigError(f"'{name}' is in {taken[name]} and matches '{pattern}' too.")
            taken[name] = f"'{pattern}'"
        stem = re.sub(r"[*?]", "", pattern.removeprefix(".")).strip(":[]") or "all"
        found[names.new(stem)] = tuple(matched)
    return found
