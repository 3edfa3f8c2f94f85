"""Whether a stranger's netlist was understood: solved three times, and compared.

The native engine and plain ngspice solve what was read, the latter from the text that is
regenerated; plain ngspice also solves the original. The three may differ by rounding only.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from eqprop_spice.engines.nodal.checks import check
from eqprop_spice.engines.nodal.circuit import NodalCircuit
from eqprop_spice.engines.nodal.parts import Parts, parts_of
from eqprop_spice.engines.nodal.solve import solved
from eqprop_spice.errors import ConvergenceError, NetlistError
from eqprop_spice.spice.deck import Deck
from eqprop_spice.spice.plain import plain_operating_point, without_commands
from eqprop_spice.spice.portable import portable_netlist
from eqprop_spice.spice.reader import read
from eqprop_spice.spice.source_text import source_text

TOLERANCE = 1e-9
"""Volts, and share of a voltage, that two solutions of one circuit may differ by: ngspice is asked
for 1e-10."""

TRUSTWORTHY, SUSPECT, FAILED = "TRUSTWORTHY", "SUSPECT", "FAILED"
EXIT = {TRUSTWORTHY: 0, SUSPECT: 1, FAILED: 2}

Voltages = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Imported:
    """What is known of a netlist.

    Attributes:
        deck: What was read; None if it was refused.
        solutions: By solver (`native`, `regenerated`, `original`), node voltages [V] by the names
            in the netlist; solvers that found none are missing.
        findings: Why the verdict is not better.
        verdict: `TRUSTWORTHY` if the three agree; `FAILED` if it was refused or has no direct
            solution, or neither the native engine nor ngspice solve what was read; else `SUSPECT`.
    """

    deck: Deck | None
    solutions: Mapping[str, Voltages]
    findings: tuple[str, ...]
    verdict: str

    @property
    def netlist(self) -> str | None:
        """The regenerated netlist."""
        return None if self.deck is None else portable_netlist(self.deck)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        deck = self.deck
        found: dict[str, Any] = {"verdict": self.verdict, "findings": list(self.findings)}
        if deck is None:
            return found
        models = {model.name: model.kind for model in deck.models.values()}
        found["counts"] = dict(
            sorted(Counter(e.name[0].upper() for e in (*deck.elements, *deck.couplings)).items())
        )
        found["temperature"] = deck.temperature
        found["parameters"] = dict(deck.parameters)
        found["notes"] = list(deck.notes)
        originals = {ours: theirs for theirs, ours in deck.nodes.items()} | {"0": "0"}
        found["elements"] = [
            {
                "name": element.original,
                "nodes": [originals[node] for node in element.nodes],
                "value": None if element.model else element.value,
                "model": models[element.model] if element.model else None,
                "parameters": dict(element.parameters),
            }
            for element in deck.elements
        ]
        inductors = {element.name: element.original for element in deck.elements}
        found["elements"] += [
            {
                "name": coupling.original,
                "nodes": [inductors[name] for name in coupling.inductors],
                "value": coupling.coefficient,
                "model": None,
                "parameters": {},
            }
            for coupling in deck.couplings
        ]
        found["voltages"] = {
            node: {solver: values.get(node) for solver, values in self.solutions.items()}
            for node in deck.nodes
        }
        return found


def _original(path: Path, *, include: bool, skip_commands: bool) -> str:
    """Return the text for plain ngspice, of a netlist that was read.

    It is as it was written but for what was asked to be left out. With included files, it is the
    cards of all files, since the child sees no file but this.
    """
    text = source_text(path, include=include, skip_commands=skip_commands)
    # ngspice reads no micro sign, neither of the two.
    return without_commands(text.replace("\u00b5", "u").replace("\u03bc", "u"))


def _native(deck: Deck, parts: Parts) -> Voltages:
    circuit = NodalCircuit.of(parts)
    point = solved(circuit, deck.guesses)
    voltages = dict(zip(circuit.nodes, point.state[0].tolist(), strict=False))
    return {original: voltages[ours] for original, ours in deck.nodes.items() if ours in voltages}


def _regenerated(deck: Deck) -> Voltages:
    voltages = plain_operating_point(portable_netlist(deck))
    return {original: voltages[ours] for original, ours in deck.nodes.items() if ours in voltages}


def _difference(one: Voltages, other: Voltages) -> tuple[float, str] | None:
    """Return the largest difference beyond rounding [V] and its node; None if there is none."""
    worst = None
    for node in {*one} & {*other}:
        gap = abs(one[node] - other[node])
        if gap > TOLERANCE * (1.0 + abs(other[node])) and (worst is None or gap > worst[0]):
            worst = gap, node
    return worst


def _disagreements(deck: Deck, solutions: Mapping[str, Voltages]) -> Iterator[str]:
    """Yield in words what speaks against solutions: missing nodes, and differences."""
    if not deck.nodes:
        yield "the netlist has no nodes but the ground"
    for name, voltages in solutions.items():
        missing = [node for node in deck.nodes if node not in voltages]
        if missing:
            yield f"{name}: has no voltage of node '{missing[0]}'"
    for one, other in combinations(solutions, 2):
        worst = _difference(solutions[one], solutions[other])
        if worst is not None:
            yield (
                f"{one} and {other} differ by {worst[0]:.2g} V at node '{worst[1]}': the netlist "
                "was misread, or has several operating points"
            )


def examine(path: Path, *, include: bool = False, skip_commands: bool = False) -> Imported:
    """Read a netlist, solve what was read, and compare it with plain ngspice on the original.

    Args:
        path: The file.
        include: Whether files in its folder that it includes are read.
        skip_commands: Whether .control sections are left out instead of refused.
    """
    try:
        deck = read(path, include=include, skip_commands=skip_commands)
    except NetlistError as error:
        return Imported(None, {}, (str(error),), FAILED)
    findings: list[str] = []
    solvers: dict[str, Callable[[], Voltages]] = {}
    try:
        parts = parts_of(deck)
    except NetlistError as error:
        findings.append(f"native: {error}")
    else:
        try:
            check(deck, parts)
        except NetlistError as error:
            return Imported(deck, {}, (str(error),), FAILED)
        solvers["native"] = lambda: _native(deck, parts)

    def original() -> Voltages:
        text = _original(path, include=include, skip_commands=skip_commands)
        found = plain_operating_point(text)
        named = {node: node.replace("\u00b5", "u").replace("\u03bc", "u") for node in deck.nodes}
        return {node: found[name] for node, name in named.items() if name in found}

    solvers |= {"regenerated": lambda: _regenerated(deck), "original": original}
    solutions: dict[str, Voltages] = {}
    for name, solver in solvers.items():
        try:
            solutions[name] = solver()
        except (NetlistError, ConvergenceError) as error:
            findings.append(f"{name}: {error}")
    if not {"native", "regenerated"} & {*solutions}:
        return Imported(deck, solutions, tuple(findings), FAILED)
    findings += _disagreements(deck, solutions)
    return Imported(deck, solutions, tuple(findings), SUSPECT if findings else TRUSTWORTHY)
