"""Sweeps: what stays in the netlist, and the external values of every point.

A deck is the part of a folded netlist that depends on neither conductances nor inputs. A feed gives
its external sources their values while ngspice sweeps from point to point.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.phases import AbstractNudge, AbstractPhase
from eqprop_spice.spice.session import Session
from eqprop_spice.spice.writer import (
    amplifier_cards,
    device_cards,
    model_cards,
    number,
    printed,
)


@dataclasses.dataclass(frozen=True)
class Deck:
    """What stays the same while the conductances and the batch change."""

    circuit: Circuit
    drives: np.ndarray
    """Nodes that get an external current source."""
    columns: dict[bytes, int]
    static_lines: list[str]

    @property
    def width(self) -> int:
        """Number of external values per point."""
        return len(self.columns)


@functools.lru_cache(maxsize=16)
def deck_of(circuit: Circuit) -> Deck:
    """Write the cards that depend neither on the conductances nor on the inputs."""
    names = circuit.node_names
    resistor_fed = [
        layout.second[~circuit.is_fixed[layout.second]]
        for layout in (g.sides for g in circuit.linear_groups)
        if circuit.is_fixed[layout.first].any()
    ] + [
        layout.first[~circuit.is_fixed[layout.first]]
        for layout in (g.sides for g in circuit.linear_groups)
        if circuit.is_fixed[layout.second].any()
    ]
    outputs = circuit.clamped_nodes[~circuit.is_fixed[circuit.clamped_nodes]]
    supplied = [nodes for group in circuit.supplying_groups for nodes in group.layout.terminals()]
    supplied = [nodes[~circuit.is_fixed[nodes]] for nodes in supplied]
    drives = np.unique(np.concatenate([outputs, *resistor_fed, *supplied]))
    columns = {f"idrive_{node}".encode(): i for i, node in enumerate(drives.tolist())}
    lines = [f".save {' '.join(f'v({names[n]})' for n in circuit.free_nodes)}"]
    lines += model_cards(circuit)
    lines += [f"idrive_{node} 0 {names[node]} external" for node in drives.tolist()]
    touched = {
        int(node)
        for group in circuit.nonlinear_groups
        for nodes in group.layout.terminals()
        for node in nodes
    }
    for group in circuit.sources:
        for i, node in enumerate(group.nodes.tolist()):
            if node not in touched:
                continue
            if group.columns[i] < 0:
                lines.append(f"v{group.name}_{i} {names[node]} 0 {number(group.scales[i])}")
            else:
                lines.append(f"v_held_{node} {names[node]} 0 external")
                columns[f"v_held_{node}".encode()] = len(columns)
    lines += device_cards(circuit, {}, linear=False)
    lines += amplifier_cards(circuit)
    return Deck(circuit, drives, columns, lines)


class SweepFeed:
    """Walks through the phases of one sample after the other while ngspice sweeps."""

    def __init__(
        self,
        deck: Deck,
        base_rows: list[list[float]],
        samples: Sequence[int],
        phases: Sequence[AbstractPhase | AbstractNudge],
        session: Session,
        *,
        readout_digits: int | None = None,
    ) -> None:
        self.columns = deck.columns
        self._digits = readout_digits
        self._deck, self._session = deck, session
        self._base, self._samples = base_rows, list(samples)
        outputs = deck.circuit.output_nodes
        drive_of = dict(zip(deck.drives.tolist(), range(len(deck.drives)), strict=True))
        # Ground takes no current, and neither does a clamped output.
        self._plus, self._minus = ([drive_of.get(n) for n in nodes] for nodes in outputs.T.tolist())
        size = (len(base_rows), deck.circuit.num_outputs)
        # What static phases inject is known before the sweep.
        self._phases = [
            (p.source_currents(*size).tolist(), float(p.conductance))
            if isinstance(p, AbstractPhase)
            else p
            for p in phases
        ]
        self._spring_column = deck.columns.get(b"v_spring")
        self._position: list[tuple[int, int]] | None = None
        self._free_outputs = np.zeros((1, deck.circuit.num_outputs))
        self.num_points = 0
        self.applied: list[list[float]] = []
        self._set_row()

    def _set_row(self) -> None:
        """Set the external values of the next point."""
        turn, which = divmod(self.num_points, len(self._phases))
        if turn >= len(self._samples):
            return
        sample = self._samples[turn]
        phase = self._phases[which]
        row = self._base[sample].copy()
        if isinstance(phase, tuple):
            currents, conductance = phase[0][sample], phase[1]
        else:
            force = phase(self._free_outputs, slice(sample, sample + 1))
            currents = force.source_currents(1, len(self._plus))[0].tolist()
            conductance = 0.0
        for plus, minus, current in zip(self._plus, self._minus, currents, strict=True):
            if plus is not None:
                row[plus] += current
            if minus is not None:
                row[minus] -= current
        if self._spring_column is not None:
            row[self._spring_column] = conductance
        self.applied.append(currents)
        self.row: list[float] = row

    def advance(self, data) -> None:
        """Note an accepted point of the sweep."""
        if self.num_points % len(self._phases) == 0 and len(self._phases) > 1:
            self.accept(self._read_outputs(data))
        else:
            self.accept(None)

    def accept(self, outputs: Sequence[float] | np.ndarray | None) -> None:
        """Move on to the next point; `outputs` are those of a free point [V]."""
        if outputs is not None:
            self._free_outputs[0] = outputs
        self.num_points += 1
        self._set_row()

    def _read_outputs(self, data) -> list[float]:
        if self._position is None:
            names = self._session.vector_names(data)
            index = {name.removeprefix("V(").rstrip(")").lower(): i for i, name in enumerate(names)}
            circuit = self._deck.circuit
            plus, minus = (
                [index[circuit.node_names[n]] if n != GROUND else -1 for n in nodes]
                for nodes in circuit.output_nodes.T
            )
            self._position = list(zip(plus, minus, strict=True))
        vectors, digits = data.vecsa, self._digits

        def read(position: int) -> float:
            value = vectors[position].creal if position >= 0 else 0.0
            return value if digits is None else printed(value, digits)

        return [read(plus) - read(minus) for plus, minus in self._position]


class HeldFeed:
    """Holds one row of external values."""

    def __init__(self, columns: dict[bytes, int], row: list[float]) -> None:
        self.columns, self.row = columns, row

    def advance(self, data) -> None:
        """Stay."""
