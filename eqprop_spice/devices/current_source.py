"""Current sources that learn."""

import dataclasses
import math

from eqprop_spice.arrays import Array
from eqprop_spice.devices.base import AbstractTwoTerminal


@dataclasses.dataclass(frozen=True)
class BiasCurrent(AbstractTwoTerminal):
    r"""An ideal current source that learns; co-content $I v$, so $dP/dI$ is its voltage.

    Attributes:
        amperes: The current I from its first to its second terminal [A], of either sign; in a
            circuit, that of the parameters.
    """

    amperes: float | Array = math.nan

    @property
    def paths(self) -> tuple[tuple[int, int], ...]:
        """None: it holds no node at a voltage."""
        return ()

    @property
    def kind(self) -> str:
        """Its power counts to the bias currents'."""
        return "bias currents"

    @property
    def parameter(self) -> str:
        """It learns its current."""
        return "amperes"

    @property
    def supplies(self) -> bool:
        """Its current is what it is."""
        return True

    def current(self, voltage):
        """Return I [A]."""
        return self.amperes + 0.0 * voltage

    def conductance(self, voltage):
        """Return 0 S."""
        return 0.0 * voltage

    def co_content(self, voltage):
        """Return $I v$ [W]."""
        return self.amperes * voltage

    def card(self, name, nodes):
        """Return the I card; SPICE counts its current from the first node to the second too."""
        return f"i{name} {nodes[0]} {nodes[1]} {float(self.amperes)!r}"
