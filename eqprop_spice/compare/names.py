"""The learning rules by the names of the literature, as data."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.kinds import suggestion

ALL = "all"
"""Stands for every rule but those that are left out of it."""

REFERENCE = "bp"
"""The rule that the others are compared with: the exact gradient."""


@dataclasses.dataclass(frozen=True)
class NamedRule:
    """A learning rule under its name in the literature.

    Attributes:
        label: What tables and figures call it.
        table: The [rule] table that makes it.
        in_all: Whether "all" includes it.
    """

    label: str
    table: Mapping[str, Any]
    in_all: bool = True

    @property
    def kind(self) -> str:
        """Its component."""
        return self.table["kind"]


ADJOINT = "adjoint.Adjoint"
CONTRASTIVE = "contrastive_learning.ContrastiveLearning"
EQUILIBRIUM = "equilibrium_propagation.EquilibriumPropagation"
COUPLED = "coupled_learning.CoupledLearning"
RECURRENT = "recurrent_backpropagation.RecurrentBackpropagation"
SMALL_SIGNAL = "small_signal.SmallSignal"
TRUNCATED = "truncated_backpropagation.TruncatedBackpropagation"

RULES: Mapping[str, NamedRule] = {
    "bp": NamedRule("BP", {"kind": ADJOINT}),
    "tbp": NamedRule("TBP", {"kind": TRUNCATED}),
    "rbp": NamedRule("RBP", {"kind": RECURRENT}),
    "cl": NamedRule("CL", {"kind": CONTRASTIVE}),
    "p_ep": NamedRule("P-EP", {"kind": EQUILIBRIUM, "variant": "positive"}),
    "n_ep": NamedRule("N-EP", {"kind": EQUILIBRIUM, "variant": "negative"}),
    "c_ep": NamedRule("C-EP", {"kind": EQUILIBRIUM, "variant": "centered"}),
    "p_cpl": NamedRule("P-CpL", {"kind": COUPLED, "variant": "positive"}),
    "n_cpl": NamedRule("N-CpL", {"kind": COUPLED, "variant": "negative"}),
    "c_cpl": NamedRule("C-CpL", {"kind": COUPLED, "variant": "centered"}),
    "small_signal": NamedRule("small signal", {"kind": SMALL_SIGNAL}, in_all=False),
}
"""A new rule is one line here. The order is that of tables and figures: the references, then the
rules of Scellier et al. (2023), arXiv:2312.15103, in their order."""


def chosen(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Return the names of rules, "all" put in full, in the order of `RULES`.

    Args:
        names: Names of rules, or "all".
        where: The place they come from, for messages.

    Raises:
        ConfigError: If there is none, or one that is unknown: with the nearest name.
    """
    picked = set()
    for name in names:
        if name not in (*RULES, ALL):
            raise ConfigError(
                f"{where}: there is no rule '{name}'. {suggestion(name, (*RULES, ALL))}"
            )
        picked |= {n for n, rule in RULES.items() if rule.in_all} if name == ALL else {name}
    if not picked:
        raise ConfigError(f"{where}: there is no rule to compare. Valid: {', '.join(RULES)}, all.")
    return tuple(name for name in RULES if name in picked)
