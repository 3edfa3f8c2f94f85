"""What the command `sweep` does, without the printing.

dask.distributed and zarr are an extra, so what needs them is imported where it is called.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.sweeps.axes import Sweep, sweep_of

if TYPE_CHECKING:
    from eqprop_spice.sweeps.store import Store

MAX_PREDICTIONS = 4
"""Maps that get their predicted region; each costs some compilations."""

MANY_CELLS = 100_000
"""A sweep of more cells is started only when asked twice."""


def check_extra(*names: str) -> None:
    """Refuse to go on without packages of the extra.

    Raises:
        ConfigError: If one is missing, with the command that installs it.
    """
    for name in ("zarr", *names):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"A sweep needs {name}, which belongs to an extra. Install it: "
                "pip install 'eqprop_spice[sweep]'"
            )


def plan(experiment: Experiment) -> Sweep:
    """Return the sweep of an experiment, checked; see `sweep_of`."""
    check_extra()
    return sweep_of(experiment)


def is_very_large(sweep: Sweep) -> bool:
    """Whether a sweep has so many cells that it may be a mistake."""
    return sweep.num_cells > MANY_CELLS


def large_question(sweep: Sweep, num_workers: int | None) -> str:
    """Return what a very large sweep would cost, measured on its first cells."""
    from eqprop_spice.arrays import available_cores
    from eqprop_spice.sweeps.execute import estimate_seconds

    workers = num_workers or available_cores()
    sizes = " x ".join(f"{axis.name} {len(axis)}" for axis in sweep.axes)
    return (
        f"This sweep has {sweep.num_cells:,} cells ({sizes}) and would take about "
        f"{duration(estimate_seconds(sweep, workers))} with {workers} processes."
    )


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for size, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def new_store(sweep: Sweep, out: Path | None, *, suffix: str = "sweep") -> Store:
    """Make the folder of a sweep; see `Store.create`."""
    from eqprop_spice.sweeps.store import Store

    return Store.create(sweep, out, suffix=suffix)


def open_store(path: Path) -> Store:
    """Open the folder of a sweep; see `Store.open`."""
    check_extra()
    from eqprop_spice.sweeps.store import Store

    return Store.open(path)


def run(
    store: Store,
    *,
    scheduler: str | None = None,
    num_workers: int | None = None,
    progress: Callable[[int, Mapping[str, int]], None] | None = None,
) -> None:
    """Compute what is missing; see `execute`."""
    from eqprop_spice.arrays import available_cores
    from eqprop_spice.sweeps.execute import execute

    if scheduler is not None:
        check_extra("distributed")
    workers = num_workers or available_cores()
    execute(store, scheduler=scheduler, num_workers=workers, progress=progress)


def summary(store: Store) -> dict[str, Any]:
    """Return the result as plain values; see `sweeps.summary`."""
    from eqprop_spice.sweeps.summary import summary

    return {"folder": str(store.path), **summary(store.dataset())}


def save_figures(store: Store) -> list[Path]:
    """Draw the figures of a sweep, the predicted region on its maps; see `sweeps.figures`."""
    from eqprop_spice.sweeps.figures import map_panels, save_figures
    from eqprop_spice.sweeps.prediction import can_predict, predicted_region

    dataset = store.dataset()
    axes = {axis.name: axis for axis in store.sweep.axes}
    regions = []
    for _, at in map_panels(dataset)[:MAX_PREDICTIONS]:
        values = {k: v for name, i in at.items() for k, v in axes[name].values[i].items()}
        experiment = store.sweep.experiment
        chosen = Experiment.parse(store.sweep.text, source=experiment.source, values=values)
        if can_predict(chosen):
            regions.append(predicted_region(chosen))
    return save_figures(dataset, store.path / "figures", regions)
