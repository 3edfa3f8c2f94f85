"""Ideal diodes: switches that close by themselves."""

import dataclasses
import math
from typing import TypeAlias

from eqprop_spice.devices.diode import AbstractDiode, Shockley

FORWARD_CONDUCTANCE = 1e10
"""Conductance of what stands for a conducting diode in SPICE [S]: it drops 1 nV at 10 A."""

FORWARD_RATIO = 1e11
"""Conductance of a conducting diode in SPICE relative to all resistors at its nodes, where these
are below 0.1 S. At 1e16 the rounding of its voltage alone carries as much current as the circuit,
and ngspice finds no operating point."""


@dataclasses.dataclass(frozen=True)
class Ideal(AbstractDiode):
    """An ideal diode, anode first: no current below 0 V, no voltage above, whatever the current.

    Its law is a condition on its nodes, not a current that follows from its voltage: as a branch it
    contributes nothing to Kirchhoff's equations, and what it carries is what they leave over.
    SPICE gets a source in its place whose current is 0 A below 0 V and `forward_conductance` times
    the voltage above: unlike a junction with a very sharp knee, Newton's method solves it at once.

    Attributes:
        forward_conductance: The conductance of that source [S]; it matters to SPICE alone.
    """

    forward_conductance: float = FORWARD_CONDUCTANCE

    @property
    def is_switch(self) -> bool:
        """It is closed or open."""
        return True

    def current(self, voltage):
        """Return 0 A: what a conducting diode carries follows from the other branches."""
        return 0.0 * voltage

    def conductance(self, voltage):
        """Return 0 S, the conductance of a diode that blocks."""
        return 0.0 * voltage

    def co_content(self, voltage):
        """Return 0 W: it blocks current or voltage."""
        return 0.0 * voltage

    def fitted(self, conductance: float) -> "Ideal":
        """Return it as SPICE solves it between resistors.

        Args:
            conductance: Sum of the conductances of all resistors at a node [S], the largest.
        """
        scale = FORWARD_RATIO * 10.0 ** math.ceil(math.log10(conductance))
        return dataclasses.replace(self, forward_conductance=min(FORWARD_CONDUCTANCE, scale))

    def card(self, name, nodes):
        """Return the B card of the source that stands for it."""
        v = f"v({nodes[0]},{nodes[1]})"
        return f"b{name} {nodes[0]} {nodes[1]} i={v} > 0 ? {self.forward_conductance!r}*{v} : 0"

    def behavioral_cards(self, name, nodes):
        """Return its card, which is behavioral."""
        return [self.card(name, nodes)]


Diode: TypeAlias = Shockley | Ideal
"""Either kind of diode."""
