"""A comparison as a sweep: one axis of rules, one of seeds.

[compare]
rules = ["bp", "c_ep", "cl"]                # or "all"
seeds = 5                                   # seeds 0 to 4 for every rule

[compare.settings.cl]                       # what this rule needs to be treated fairly
"optimizer.learning_rate" = 30.0
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from eqprop_spice.compare.names import RULES, chosen
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.experiment.kinds import build, resolve
from eqprop_spice.experiment.overrides import assign
from eqprop_spice.experiment.tables import CompareTable
from eqprop_spice.sweeps.axes import Sweep, flattened_case, sweep_of
from eqprop_spice.sweeps.summary import START

AXIS = "rule"
"""The dimension of the rules."""


def comparison_of(
    experiment: Experiment, *, rules: Iterable[str] | None = None, seeds: int | None = None
) -> Sweep:
    """Return the sweep that compares learning rules on an experiment.

    Its [sweep] table is replaced by one of rules and seeds. No [goal] is needed.

    Args:
        experiment: What to train; of its own rule, the fields stay that another rule has too.
        rules: Names of rules, or "all", which are those that the system can follow; those of the
            [compare] table by default.
        seeds: How many seeds, from 0; as the [compare] table says by default.

    Raises:
        ConfigError: If a rule or setting is unknown, or the experiment refuses it.
    """
    where = f"{experiment.source}, compare"
    table = experiment.table.compare or CompareTable()
    for name in table.settings:
        # A mistyped one would be left out in silence.
        chosen([name], f"{where}.settings")
    asked = table.rules if rules is None else tuple(rules)
    names = chosen(asked, f"{where}.rules" if rules is None else "--rules")
    abilities = experiment.substrate.abilities
    names = tuple(
        name
        for name in names
        if name in asked or build("rules", _rule(experiment, name)).needs <= abilities
    )
    count = table.seeds if seeds is None else seeds
    axes = {
        AXIS: {"cases": {name: _case(experiment, name, table) for name in names}},
        START: {"seeds": count},
        "time_limit": table.time_limit,
    }
    changes = {
        "sweep": axes,
        "compare": table.model_copy(update={"rules": names, "seeds": count}),
    }
    varied = dataclasses.replace(experiment, table=experiment.table.model_copy(update=changes))
    return sweep_of(varied, needs_goal=False, table_name="compare")


def is_comparison(sweep: Sweep) -> bool:
    """Whether a sweep is one over named rules and seeds."""
    dimensions = {axis.name: axis.labels for axis in sweep.axes}
    return set(dimensions) == {AXIS, START} and set(dimensions[AXIS]) <= set(RULES)


def _rule(experiment: Experiment, name: str) -> dict[str, Any]:
    """Return the table of a rule, with the fields that it shares with the experiment's."""
    rule = RULES[name]
    fields = {field.name for field in dataclasses.fields(resolve("rules", rule.kind))}
    carried = {k: v for k, v in experiment.table.rule.items() if k in fields}
    return carried | dict(rule.table)


def _case(experiment: Experiment, name: str, table: CompareTable) -> dict[str, Any]:
    """Return what a rule puts into the experiment, by key."""
    values: dict[str, Any] = {AXIS: _rule(experiment, name)}
    for key, value in flattened_case(table.settings.get(name, {})):
        _check_key(key, f"{experiment.source}, compare.settings.{name}")
        if key.startswith(f"{AXIS}."):
            assign(values, key.split("."), value, key)
        else:
            values[key] = value
    return values


def _check_key(key: str, where: str) -> None:
    """Refuse what would make a rule another one, or its seeds others than those of the rest."""
    if key in (AXIS, "seed", f"{AXIS}.kind", f"{AXIS}.variant"):
        raise ConfigError(
            f"{where}: '{key}' is not for a comparison to set: every rule is what its name says, "
            "and has the seeds of all others."
        )
