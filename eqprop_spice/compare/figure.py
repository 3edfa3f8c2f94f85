"""The figure of a comparison: final errors of every seed, and learning curves."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eqprop_spice.compare.names import REFERENCE, RULES
from eqprop_spice.compare.plan import AXIS
from eqprop_spice.compare.summary import final_figures, measure, statistics
from eqprop_spice.results.plots import write_figures
from eqprop_spice.sweeps.figures import held
from eqprop_spice.sweeps.summary import START

COLORS = ("#000000", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
"""One per kind of rule while there are enough: the colors of Okabe and Ito, which the color-blind
tell apart."""

LINES = ("-", "--", ":", "-.")
"""One per rule of a kind."""

MARKERS = ("o", "s", "^", "D")
"""The same; with the lines, they tell apart what a printer makes gray."""

NUM_MARKERS = 8
"""Markers on a learning curve, at other epochs than those of the other rules."""

REFERENCE_LINE = {"linewidth": 5.0, "alpha": 0.3}
"""The exact gradient lies below the curves that follow it."""

FEWEST_POINTS = 3
"""Epochs from which on a curve is drawn."""

MEAN_WIDTH = 0.3
"""Half the length of the line that marks a mean."""

SPREAD = 0.16
"""How far the dots of the first and the last seed lie from their rule's position."""


def save_figures(dataset: xr.Dataset, folder: Path) -> list[Path]:
    """Draw the figure of a comparison into a folder, as PNG and SVG; return the PNG files.

    Args:
        dataset: The cells of a comparison.
        folder: Where to put it.
    """
    figures = {"compare": functools.partial(comparison_figure, dataset)}
    return write_figures(figures, folder, name=folder.absolute().parent.name)


def comparison_figure(dataset: xr.Dataset) -> Figure:
    """Draw the final errors beside the learning curves."""
    figure = Figure(figsize=(11.0, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    final = final_figures(dataset)
    name, unit = measure(dataset)
    _errors(left, dataset, final["error"], f"{name[0].upper()}{name[1:]} [{unit}]")
    if dataset.sizes["epoch"] >= FEWEST_POINTS:
        _courses(right, dataset)
        lines = right.get_lines()
        figure.legend(handles=lines, loc="outside right upper", fontsize=9, handlelength=3)
    else:
        # Two points are no curve.
        _errors(right, dataset, final["loss"], r"Training loss [V$^2$]")
    figure.suptitle(str(dataset.attrs.get("name", "")), fontsize=10)
    return figure


def _style(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return color, line and marker by rule, whichever others are compared."""
    kinds: dict[str, list[str]] = {}
    for name, rule in RULES.items():
        kinds.setdefault(rule.kind, []).append(name)
    styles = {
        name: {
            "color": COLORS[k % len(COLORS)],
            "linestyle": LINES[(i + k // len(COLORS)) % len(LINES)],
            "marker": MARKERS[(i + k // len(COLORS)) % len(MARKERS)],
        }
        for k, names in enumerate(kinds.values())
        for i, name in enumerate(names)
    }
    return {str(name): styles[str(name)] for name in dataset[AXIS].values}


def _errors(axes: Axes, dataset: xr.Dataset, final: xr.DataArray, label: str) -> None:
    """Draw a final figure of every seed as a dot, and mean and standard error as a bar."""
    styles = _style(dataset)
    spread = np.linspace(-SPREAD, SPREAD, dataset.sizes[START]) if dataset.sizes[START] > 1 else 0.0
    for position, (rule, style) in enumerate(styles.items()):
        values = final.sel({AXIS: rule}).values
        look = {"color": style["color"], "marker": style["marker"], "linestyle": ""}
        axes.plot(position + spread, values, markersize=5, alpha=0.5, markeredgewidth=0, **look)
        found = statistics(values)
        if found["mean"] is None:
            continue
        ends = position - MEAN_WIDTH, position + MEAN_WIDTH
        axes.hlines(found["mean"], *ends, color=style["color"], linewidth=1.6)
        if found["standard_error"] is not None:
            bar = {"yerr": found["standard_error"], "color": style["color"], "capsize": 5}
            axes.errorbar(position, found["mean"], **bar)
    axes.set_xticks(
        range(len(styles)), [RULES[rule].label for rule in styles], rotation=45, ha="right"
    )
    axes.set(ylabel=label, xlabel="Rule")
    axes.set_title("At the end: every seed, mean and standard error", fontsize=10)
    low, high = axes.get_ylim()
    if low < 0.0:
        # No error is negative; where all are zero, any scale will do.
        high = high if (final > 0.0).any() else 1.0
        axes.set_ylim(-0.03 * high, high)
    axes.grid(axis="y", alpha=0.3)


def _courses(axes: Axes, dataset: xr.Dataset) -> None:
    """Draw the median over seeds of the training loss; a run that has ended keeps its last."""
    epochs = dataset["epoch"].values
    styles = _style(dataset)
    step = max(len(epochs) // NUM_MARKERS, 1)
    for number, (rule, style) in enumerate(styles.items()):
        losses = held(dataset["loss"].sel({AXIS: rule}).transpose(START, "epoch").values)
        known = np.isfinite(losses).any(0)
        middle = np.nanmedian(losses[:, known], axis=0)
        look: dict[str, Any] = {"linewidth": 1.4, "markersize": 5, **style}
        if rule == REFERENCE:
            look |= {**REFERENCE_LINE, "marker": ""}
        first = number * step // len(styles)
        label = RULES[rule].label
        axes.plot(epochs[known], middle, label=label, markevery=(first, step), **look)
    axes.set(xlabel="Epoch", ylabel=r"Training loss [V$^2$]", yscale="log")
    axes.set_title("Learning curves, median over seeds", fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
