"""The capacitance of a junction's depletion layer: a capacitor whose charge is no straight line."""

import dataclasses

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.devices.base import check_model_name
from eqprop_spice.devices.capacitor import AbstractCapacitance
from eqprop_spice.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class DepletionCapacitance(AbstractCapacitance):
    r"""What charges a junction, as ngspice has it; put it beside a diode, anode first.

    $q = C_0 V_J (1 - (1 - v/V_J)^{1-M}) / (1 - M)$ for $v < V_J / 2$, and from there on
    the parabola that goes on from its slope and curvature.

    Attributes:
        model: Name of the SPICE model.
        farads: $C_0$ (CJO), its capacitance at 0 V [F].
        potential: $V_J$, the built-in potential [V].
        grading: M, below 1.

    References:
        Vogt et al., ngspice manual, section 7.2, and dioload.c.
    """

    model: str
    farads: float | Array
    potential: float | Array = 1.0
    grading: float | Array = 0.5

    def __post_init__(self) -> None:
        """Refuse values that are no junction, and names that ngspice would execute."""
        check_model_name(self.model, "model")
        for name, largest in (("farads", np.inf), ("potential", np.inf), ("grading", 1.0)):
            values = np.ravel(getattr(self, name))
            good = (values > 0.0) & (values < largest)
            if not good.all():
                rule = "positive" if largest == np.inf else "between 0 and 1"
                raise ConfigError(
                    f"Depletion capacitance '{self.model}' has {name} {values[np.argmin(good)]}; "
                    f"it must be finite and {rule}."
                )

    @property
    def terminals(self) -> tuple[str, ...]:
        """Those of the junction."""
        return ("anode", "cathode")

    def _knee(self):
        """Return the charge [C], the capacitance [F] and its slope [F/V] at half the potential."""
        charge = self._below(0.5)
        capacitance = self.farads * 0.5**-self.grading
        return charge, capacitance, 2.0 * self.grading * capacitance / self.potential

    def _below(self, share):
        """Return the charge at a share of the potential [C]."""
        rest = 1.0 - self.grading
        return self.farads * self.potential * (1.0 - (1.0 - share) ** rest) / rest

    def charge(self, voltage):
        """Return q [C]."""
        xp = voltage.__array_namespace__()
        charge, capacitance, bend = self._knee()
        over = voltage - 0.5 * self.potential
        below = self._below(xp.minimum(voltage / self.potential, 0.5))
        return xp.where(over < 0.0, below, charge + over * (capacitance + 0.5 * bend * over))

    def capacitance(self, voltage):
        """Return its derivative [F]."""
        xp = voltage.__array_namespace__()
        _, capacitance, bend = self._knee()
        over = voltage - 0.5 * self.potential
        below = self.farads * (1.0 - xp.minimum(voltage / self.potential, 0.5)) ** -self.grading
        return xp.where(over < 0.0, below, capacitance + bend * over)

    def card(self, name, nodes):
        """Return a D card: ngspice's capacitors with a charge of their own fail at picofarads."""
        return f"d{name} {nodes[0]} {nodes[1]} {self.model}"

    def model_card(self):
        """Return the .model card of a diode that carries no current but that of gmin."""
        return (
            f".model {self.model} d(is=1e-30 n=100 cjo={float(self.farads)!r} "
            f"vj={float(self.potential)!r} m={float(self.grading)!r})"
        )
