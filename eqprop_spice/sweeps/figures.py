"""Figures of a sweep: error against epoch, success rates, and maps of alpha and beta."""

import functools
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from eqprop_spice.results.plots import write_figures
from eqprop_spice.sweeps.summary import START, success

COURSE_DIMS = ("beta", "alpha")
"""Axes that get a line each in the figure of the error, in order of preference."""

FLOOR_DECIBELS = -400.0
"""An error of exactly zero is drawn here."""

MAX_TICKS = 6
"""Labelled powers of ten at an axis; more overlap in a row of panels."""

MAX_LINES = 12
MAX_PANELS = 12


def save_figures(
    dataset: xr.Dataset, folder: Path, regions: Sequence[xr.Dataset] = ()
) -> list[Path]:
    """Draw all figures of a sweep into a folder; return the PNG files.

    Args:
        dataset: The results.
        folder: Where to put them.
        regions: The predicted region of `sweeps.prediction` for each of `map_panels`, if known.
    """
    figures = {
        "errors": functools.partial(error_figure, dataset),
        "success": functools.partial(success_figure, dataset),
    }
    if map_panels(dataset):
        figures["map"] = functools.partial(map_figure, dataset, regions)
    return write_figures(figures, folder, name=folder.absolute().parent.name)


def map_panels(dataset: xr.Dataset) -> list[tuple[str, dict[str, int]]]:
    """Return title and position of each map of alpha and beta; none without these axes."""
    both = all(dataset.sizes.get(name, 1) > 1 for name in ("alpha", "beta"))
    return _panels(dataset, ("alpha", "beta")) if both else []


def _panels(dataset: xr.Dataset, used: tuple[str, ...]) -> list[tuple[str, dict[str, int]]]:
    """Return a title and a position for each combination of the axes that are not drawn."""
    others = [str(d) for d in dataset["status"].dims if d not in (*used, START)]
    panels = []
    for index in np.ndindex(*(dataset.sizes[d] for d in others)):
        at = dict(zip(others, index, strict=True))
        title = ", ".join(f"{d} {_shown(dataset[d].values[i])}" for d, i in at.items())
        panels.append((title, at))
    return panels[:MAX_PANELS]


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def _canvas(count: int) -> tuple[Figure, Iterator[Axes]]:
    """Return a figure with a number of panels side by side, at most three in a row."""
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.2 + 4.4 * columns, 0.9 + 3.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for unused in grid.ravel()[count:]:
        unused.set_axis_off()
    for axes in grid.ravel()[max(count - columns, 0) : count]:
        axes.tick_params(labelbottom=True)
    return figure, iter(grid.ravel())


def decibels(error: np.ndarray | float) -> np.ndarray:
    """Return the square of an error in decibel relative to 1 V^2, as the paper's Fig. 2 does."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.maximum(20.0 * np.log10(np.abs(error)), FLOOR_DECIBELS))


def error_figure(dataset: xr.Dataset) -> Figure:
    """Draw the error against the epoch: the median over starts, and where half of them lie.

    Trainings that stop at their goal are drawn to there: a line that went on flat would look like
    one that is stuck.
    """
    goal, stops, step = _goal(dataset)
    line_dim = next((d for d in COURSE_DIMS if dataset.sizes.get(d, 1) > 1), None)
    panels = _panels(dataset, (line_dim,) if line_dim else ())
    figure, canvas = _canvas(len(panels))
    handles: list[Any] = []
    for (title, at), axes in zip(panels, canvas, strict=False):
        handles = _courses(axes, dataset["max_error"].isel(at), line_dim, goal if stops else None)
        if goal is not None:
            label = "goal: the training ends" if stops else "goal"
            handles += [
                axes.axhline(goal, color="tab:red", linestyle="--", linewidth=1, label=label)
            ]
        handles += [Patch(color="gray", alpha=0.25, label="band: middle half of the starts")]
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.3)
        axes.set(xlabel=step, ylabel=r"Error [dB re 1 V$^2$]")
        axes.label_outer(remove_inner_ticks=False)
    unit = f" [{dataset[line_dim].attrs.get('units', '1')}]" if line_dim else ""
    title = f"{line_dim}{unit}" if line_dim else None
    figure.legend(handles=handles, title=title, loc="outside right upper", fontsize=8)
    return figure


def _goal(dataset: xr.Dataset) -> tuple[float | None, bool, str]:
    """Return the goal of the trainings [dB], whether they stop there, and what an epoch is."""
    table = tomllib.loads(dataset.attrs.get("experiment", ""))
    goal = table.get("goal", {})
    bound = goal.get("max_error")
    step = "Epoch" if table.get("training", {}).get("batch_size", 1) else "Update"
    return bound and float(decibels(np.array(bound))), bool(goal.get("stop")), step


def _courses(
    axes: Axes, error: xr.DataArray, line_dim: str | None, end: float | None = None
) -> list[Any]:
    """Draw one line per position of an axis; a cell that has ended keeps its last error.

    Args:
        axes: Where to draw.
        error: Errors [V] by position, start and epoch.
        line_dim: The axis; None for a single line.
        end: Error [dB] at which a line ends with a dot, and its band.
    """
    positions = np.arange(error.sizes[line_dim]) if line_dim else np.zeros(1, int)
    if len(positions) > MAX_LINES:
        positions = np.unique(np.linspace(0, len(positions) - 1, MAX_LINES).astype(int))
    colors = colormaps["viridis"](np.linspace(0.0, 0.92, len(positions)))
    handles = []
    for position, color in zip(positions.tolist(), colors, strict=True):
        chosen = error.isel({line_dim: position}) if line_dim else error
        values = decibels(held(chosen.values.reshape(-1, chosen.sizes["epoch"])))
        with np.errstate(invalid="ignore"):
            low, middle, high = _quartiles(values)
        epochs = error["epoch"].values
        if end is not None:
            arrived = np.flatnonzero(middle <= end)[:1]
            axes.plot(epochs[arrived], middle[arrived], "o", color=color, markersize=4)
            middle = np.where(_until(middle, end), middle, np.nan)
            high = np.where(_until(high, end), high, np.nan)
        label = _shown(error[line_dim].values[position]) if line_dim else ""
        handles += axes.plot(epochs, middle, color=color, label=label, linewidth=1.4)
        axes.fill_between(epochs, low, high, color=color, alpha=0.1, linewidth=0)
    return handles


def _until(values: np.ndarray, end: float) -> np.ndarray:
    """Return which values come before the first that is at an end or below, and that itself."""
    below = np.concatenate([[False], values[:-1] <= end])
    return ~np.logical_or.accumulate(below)


def held(rows: np.ndarray) -> np.ndarray:
    """Return rows in which NaN has been replaced by the last number before it."""
    known = np.isfinite(rows)
    last = np.maximum.accumulate(np.where(known, np.arange(rows.shape[1]), 0), axis=1)
    return np.take_along_axis(rows, last, axis=1)


def _quartiles(values: np.ndarray) -> np.ndarray:
    """Return the quartiles of each column, NaN where nothing is known."""
    known = np.isfinite(values).any(0)
    quartiles = np.full((3, values.shape[1]), np.nan)
    if known.any():
        quartiles[:, known] = np.nanpercentile(values[:, known], [25, 50, 75], axis=0)
    return quartiles


def success_figure(dataset: xr.Dataset) -> Figure:
    """Draw the success rate over starts against the first axis, with its 95 % interval."""
    table = success(dataset)
    dims = [str(d) for d in table["rate"].dims]
    axis = next((d for d in (*COURSE_DIMS, *dims) if d in dims), None)
    panels = _panels(dataset, (axis,) if axis else ())
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    positions = np.arange(dataset.sizes[axis]) if axis else np.zeros(1)
    colors = colormaps["viridis"](np.linspace(0.0, 0.92, len(panels)))
    for number, ((title, at), color) in enumerate(zip(panels, colors, strict=True)):
        here = table.isel(at)
        rate, low, high = (100.0 * np.atleast_1d(here[n].values) for n in ("rate", "low", "high"))
        spread = 0.12 * (number - (len(panels) - 1) / 2) if len(panels) > 1 else 0.0
        axes.errorbar(
            positions + spread,
            rate,
            yerr=[rate - low, high - rate],
            fmt="o",
            capsize=3,
            color=color,
            label=title or None,
        )
    if axis:
        unit = dataset[axis].attrs.get("units", "1")
        labels = [_shown(v) for v in dataset[axis].values]
        axes.set_xticks(positions, labels, rotation=30 if max(map(len, labels)) > 8 else 0)
        axes.set_xlabel(axis if unit == "1" else f"{axis} [{unit}]")
    axes.set(ylabel="Starts that learn [%] (95 % interval)", ylim=(-4, 104))
    if len(panels) > 1:
        figure.legend(loc="outside upper center", ncols=min(len(panels), 2), fontsize=7)
    return figure


def map_figure(dataset: xr.Dataset, regions: Sequence[xr.Dataset] = ()) -> Figure:
    """Draw the success rate over alpha and beta, with the predicted region on top."""
    rate = success(dataset)["rate"]
    panels = map_panels(dataset)
    figure, canvas = _canvas(len(panels))
    image = None
    for number, ((title, at), axes) in enumerate(zip(panels, canvas, strict=False)):
        values = 100.0 * rate.isel(at).transpose("beta", "alpha").values
        alpha, beta = dataset["alpha"].values, dataset["beta"].values
        image = axes.pcolormesh(
            _edges(alpha), _edges(beta), values, norm=Normalize(0, 100), cmap="viridis"
        )
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(numticks=MAX_TICKS))
            axis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=r"alpha [S$^2$/V$^2$]", ylabel="beta [S]")
        axes.set_title(title, fontsize=9)
        axes.label_outer(remove_inner_ticks=False)
        if number < len(regions):
            _draw_region(axes, regions[number])
        axes.set(xlim=_edges(alpha)[[0, -1]], ylim=_edges(beta)[[0, -1]])
    if image is not None:
        figure.colorbar(image, ax=figure.axes, label="Starts that learn [%]")
    return figure


def _edges(values: np.ndarray) -> np.ndarray:
    """Return the borders of cells around values on a logarithmic scale."""
    order = np.log10(values.astype(float))
    inner = 0.5 * (order[1:] + order[:-1])
    ends = [order[0] - (inner[0] - order[0]), order[-1] + (order[-1] - inner[-1])]
    return 10.0 ** np.concatenate([ends[:1], inner, ends[1:]])


def _draw_region(axes: Axes, region: xr.Dataset) -> None:
    """Draw the predicted borders, and thin lines where they lie for other starts.

    A translucent band would change the colors of the map, which are its numbers.
    """
    styles = {
        "beta_low": ("white", "--", "solver noise"),
        "beta_high": ("white", "-", "finite nudge"),
        "alpha_high": ("tab:red", "-", "curvature"),
    }
    for name, (color, line, label) in styles.items():
        low, middle, high = (float(v) for v in region[name].values)
        draw = axes.axvline if name == "alpha_high" else axes.axhline
        if np.isfinite(middle):
            draw(middle, color=color, linestyle=line, linewidth=1.6, label=label)
            for end in (low, high):
                draw(end, color=color, linestyle=":", linewidth=0.8)
    axes.legend(loc="lower right", fontsize=7, facecolor="gray", labelcolor="white")
