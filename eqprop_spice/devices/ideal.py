"""Ideal diodes: switches that close by themselves."""

import dataclasses
from typing import TypeAlias

from eqprop_spice.devices.base import AbstractTwoTerminal
from eqprop_spice.devices.diode import Shockley

NEAR_IDEAL = Shockley("near_ideal", 1e-9, 1e-5)
"""What stands for an ideal diode in SPICE: $N v_T$ = 2.6 uV, so that it drops 0.06 mV at 10 A."""


@dataclasses.dataclass(frozen=True)
class Ideal(AbstractTwoTerminal):
    """An ideal diode, anode first: no current below 0 V, no voltage above, whatever the current.

    Its law is a condition on its nodes, not a current that follows from its voltage: as a branch it
    contributes nothing to Kirchhoff's equations, and what it carries is what they leave over.
    SPICE gets the junction `NEAR_IDEAL` in its place.
    """

    def current(self, voltage, value=None):
        """Return 0 A: what a conducting diode carries follows from the other branches."""
        return 0.0 * voltage

    def conductance(self, voltage, value=None):
        """Return 0 S, the conductance of a diode that blocks."""
        return 0.0 * voltage

    def co_content(self, voltage, value=None):
        """Return 0 W: it blocks current or voltage."""
        return 0.0 * voltage

    def card(self, name, first, second, value=None):
        """Return the D card of the junction that stands for it."""
        return NEAR_IDEAL.card(name, first, second)

    def behavioral_cards(self, name, first, second):
        """Return the B card of the junction that stands for it."""
        return NEAR_IDEAL.behavioral_cards(name, first, second)

    def model_card(self):
        """Return the .model card of the junction that stands for it."""
        return NEAR_IDEAL.model_card()


Diode: TypeAlias = Shockley | Ideal
"""Either kind of diode."""
