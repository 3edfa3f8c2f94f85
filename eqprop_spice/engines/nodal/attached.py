"""What is attached to pairs of nodes of a circuit from outside: resistors, or sources that hold."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from eqprop_spice.engines.nodal.circuit import CONSTANT, NodalCircuit, Terms

Pairs = Int[np.ndarray, "pair two"]
"""Numbers of the positive and the negative node of every pair; the ground's is `circuit.size`."""


def load(
    circuit: NodalCircuit, pairs: Pairs, currents: Float[np.ndarray, "batch pair"]
) -> Float[np.ndarray, "batch unknown"]:
    """Return what currents into the positive nodes, out of the negative, add to the right side."""
    found = np.zeros((len(currents), circuit.size + 1))
    for (plus, minus), column in zip(pairs, currents.T, strict=True):
        found[:, plus] += column
        found[:, minus] -= column
    return found[:, :-1]


def with_conductances(circuit: NodalCircuit, pairs: Pairs, value: float) -> NodalCircuit:
    """Return the circuit with a conductance across each pair [S], which may be negative."""
    first = len(circuit.values)
    terms = []
    for k, (plus, minus) in enumerate(pairs.tolist(), first):
        for row, side in ((plus, 1.0), (minus, -1.0)):
            terms += [(row, plus, side, k), (row, minus, -side, k)]
    values = np.append(circuit.values, np.full(len(pairs), value))
    return _extended(circuit, terms, [], values, "_spring", len(pairs))


def with_sources(circuit: NodalCircuit, pairs: Pairs) -> NodalCircuit:
    """Return the circuit with a voltage source across each pair.

    Their values are the last among those of the elements, their currents the last unknowns.
    """
    size, first = circuit.size, len(circuit.values)
    count = len(pairs)
    moved = _moved(circuit, count)
    terms, sources = [], []
    for k, (plus, minus) in enumerate(np.where(pairs == size, size + count, pairs).tolist()):
        own = size + k
        for node, sign in ((plus, 1.0), (minus, -1.0)):
            terms += [(node, own, sign, CONSTANT), (own, node, sign, CONSTANT)]
        sources.append((own, CONSTANT, 1.0, first + k))
    values = np.append(circuit.values, np.zeros(count))
    return _extended(moved, terms, sources, values, "_hold", count)


def _moved(circuit: NodalCircuit, count: int) -> NodalCircuit:
    """Return the circuit with room for more branches before the ground's number."""
    size = circuit.size
    devices = tuple(
        dataclasses.replace(
            group, terminals=np.where(group.terminals == size, size + count, group.terminals)
        )
        for group in circuit.devices
    )
    names = tuple(f"_hold_{k}" for k in range(count))
    return dataclasses.replace(circuit, devices=devices, branches=(*circuit.branches, *names))


def _extended(
    circuit: NodalCircuit,
    terms: Sequence[tuple[int, int, float, int]],
    sources: Sequence[tuple[int, int, float, int]],
    values: np.ndarray,
    name: str,
    count: int,
) -> NodalCircuit:
    """Return the circuit with more elements and their terms."""
    ground = circuit.size
    return dataclasses.replace(
        circuit,
        elements=(*circuit.elements, *(f"{name}_{k}" for k in range(count))),
        values=values,
        # Terms without an element point behind the last value, wherever that is.
        matrix=_joined(circuit.matrix, Terms.of(terms, ground)),
        sources=_joined(circuit.sources, Terms.of(sources, ground)),
    )


def _joined(one: Terms, other: Terms) -> Terms:
    parts = zip(dataclasses.astuple(one), dataclasses.astuple(other), strict=True)
    return Terms(*(np.concatenate(pair) for pair in parts))
