"""The folded netlist of a batch: its text, and the external values of every sample."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.ideal_diodes import fitted
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.engines.ngspice.feed import deck_of
from eqprop_spice.engines.ngspice.folding import branches_of, fold
from eqprop_spice.phases import AbstractNudge, AbstractPhase
from eqprop_spice.spice.writer import number

SPRING_NODE = "_spring"
"""Names here start with an underscore, which no name of a circuit does."""


class FoldedNetlist:
    """A circuit with its conductances, a batch of inputs, and phases, as ngspice reads them.

    Attributes:
        circuit: The circuit.
        params: Conductances [S] by group name.
        inputs: Input voltages [V], `sample input`.
        phases: What happens at the outputs.
        conductances: The spring of every phase [S].
        deck: What depends on neither conductances nor inputs.
        rows: External values of every sample without a nudge, `sample drive`.
    """

    def __init__(
        self,
        circuit: Circuit,
        params: Mapping[str, Array],
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | AbstractNudge],
    ) -> None:
        circuit.check_parameters(params)
        circuit.check_inputs(inputs)
        self.circuit, self.phases = circuit, phases
        self.params = {name: np.asarray(values) for name, values in params.items()}
        self.inputs = np.asarray(inputs, float)
        self.conductances = np.array(
            [p.conductance if isinstance(p, AbstractPhase) else 0.0 for p in phases]
        )
        self.deck = deck_of(fitted(circuit, self.params))
        if self.conductances.any():
            columns = self.deck.columns | {b"v_spring": len(self.deck.columns)}
            self.deck = dataclasses.replace(self.deck, columns=columns)
        held = np.asarray(circuit.fixed_voltages(self.inputs))
        self._folded = fold(circuit, self.params, held)
        self.rows = self._base_rows(held).tolist()

    def _base_rows(
        self, held: Float[np.ndarray, "batch fixed"]
    ) -> Float[np.ndarray, "batch drive"]:
        """Return the external values of every sample without a nudge."""
        rows = np.zeros((len(held), self.deck.width))
        rows[:, : len(self.deck.drives)] = self._folded.currents[:, self.deck.drives]
        for i, node in enumerate(self.circuit.fixed_nodes.tolist()):
            column = self.deck.columns.get(f"v_held_{node}".encode())
            if column is not None:
                rows[:, column] = held[:, i]
        return rows

    @functools.cached_property
    def _cards(self) -> list[str]:
        """The cards between the options and the end."""
        names, conductance = self.circuit.node_names, self._folded.conductance
        folded = [
            f"rfold_{n} {names[n]} 0 {number(1.0 / conductance[n])}"
            for n in np.flatnonzero(conductance)
        ]
        values = (1.0 / self._folded.branches).tolist()
        kept = [f"{s}{v!r}" for s, v in zip(_branch_starts(self.circuit), values, strict=True)]
        springs = self._springs() if b"v_spring" in self.deck.columns else []
        return [*self.deck.static_lines, *folded, *kept, *springs]

    def _springs(self) -> list[str]:
        """Return the cards of a spring at every output, whose conductance is an external value."""
        names, lines = self.circuit.node_names, [f"v_spring {SPRING_NODE} 0 external"]
        for k, (plus, minus) in enumerate(self.circuit.output_nodes):
            p, m = names[plus], names[minus]
            drop = f"v({p})" if minus == GROUND else f"(v({p})-v({m}))"
            lines.append(f"bspring_{k} {p} {m} i=v({SPRING_NODE})*{drop}")
        return lines

    def lines(self, options: str, *extra: str) -> list[str]:
        """Return the netlist, with options of the simulator and further cards."""
        return [
            "* eqprop_spice folded",
            f".options {options} gmin=1e-12",
            "v_index _index 0 0",
            *self._cards,
            *extra,
            ".end",
        ]


@functools.lru_cache(maxsize=16)
def _branch_starts(circuit: Circuit) -> list[str]:
    """Return the card of every resistor that remains, up to its value."""
    names, ends = circuit.node_names, zip(*branches_of(circuit), strict=True)
    return [f"r{i} {names[a]} {names[b]} " for i, (a, b) in enumerate(ends)]
