"""What the command `compare` does, without the printing: the sweep layer does the work."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqprop_spice.compare.plan import comparison_of, is_comparison
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.files import write_atomically
from eqprop_spice.sweeps import commands

if TYPE_CHECKING:
    from eqprop_spice.sweeps.store import Store


def new_store(
    experiment: Experiment, out: Path | None, *, rules: Iterable[str] | None, seeds: int | None
) -> Store:
    """Make the folder of a comparison; see `comparison_of` and `Store.create`."""
    commands.check_extra()
    return commands.new_store(
        comparison_of(experiment, rules=rules, seeds=seeds), out, suffix="comparison"
    )


def open_store(path: Path) -> Store:
    """Open the folder of a comparison; see `Store.open`.

    Raises:
        ConfigError: If it is that of another sweep.
    """
    store = commands.open_store(path)
    if not is_comparison(store.sweep):
        raise ConfigError(
            f"{path} is the folder of a sweep, and no comparison of rules. Continue it with: "
            f"eqprop-spice sweep --resume {path}"
        )
    return store


def result(store: Store) -> dict[str, Any]:
    """Return the result as plain values, and leave it in the folder as `compare.json`."""
    from eqprop_spice.compare.summary import summary

    goal = store.sweep.experiment.table.goal
    found = {
        "folder": str(store.path),
        **summary(store.dataset(), has_goal=goal.has_bounds),
    }
    content = json.dumps(found, indent=2, allow_nan=False) + "\n"
    write_atomically(store.path / "compare.json", content.encode())
    return found


def save_figures(store: Store) -> list[Path]:
    """Draw the figure of a comparison; see `compare.figure`."""
    from eqprop_spice.compare.figure import save_figures

    return save_figures(store.dataset(), store.path / "figures")
