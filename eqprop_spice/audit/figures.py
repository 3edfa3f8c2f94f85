"""Figures of an audit: gradients, bias, error budget and power."""

import functools
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eqprop_spice.audit.report import Audit
from eqprop_spice.audit.variation import PhaseVariation
from eqprop_spice.circuits.power import CLASSES, DISSIPATING
from eqprop_spice.gradients.beta_scan import TARGET_ERROR
from eqprop_spice.results.plots import write_figures

MAX_PANELS = 4
"""Layers that get a panel of their own; deeper circuits show the first and the last ones."""

MAX_POINTS = 2000
"""Points of a scatter plot, an even choice of more."""

SMALLEST_SHARE = 1e-10
"""Where the bars of the error budget begin: below is rounding, and a share of zero has no place on
a logarithmic axis."""

LARGEST_SHARE = 1e3
"""Where they end: a share is infinite where nothing of the gradient is left."""

SMALLEST_POWER = 1e-3
"""Share of the largest power up to which the axis of powers is linear."""

SHOWN = {"as configured": "C3", "C-EP": "C0", "small signal": "C2"}


def save_figures(found: Audit, folder: Path) -> list[Path]:
    """Draw the figures of an audit into a folder; return the PNG files."""
    figures = {
        "gradients": functools.partial(gradient_figure, found),
        "bias": functools.partial(bias_figure, found),
        "budget": functools.partial(budget_figure, found),
        "power": functools.partial(power_figure, found),
    }
    return write_figures(figures, folder)


def _layers(found: Audit) -> list[str]:
    names = list(found.exact)
    half = MAX_PANELS // 2
    return names if len(names) <= MAX_PANELS else [*names[:half], *names[-half:]]


def gradient_figure(found: Audit) -> Figure:
    """Scatter the estimates against the exact gradient, layer by layer."""
    layers = _layers(found)
    figure = Figure(figsize=(3.6 * len(layers), 3.8), layout="constrained")
    visible = found.case.visible
    exact = visible(found.exact)
    for ax, layer in zip(np.ravel(figure.subplots(1, len(layers))), layers, strict=True):
        reference = exact[layer].ravel()
        scale = np.abs(reference).max(initial=0.0) or 1.0
        picked = np.arange(0, len(reference), max(1, len(reference) // MAX_POINTS))
        ax.axline((0, 0), slope=1, color="0.7", zorder=0)
        for (label, color), size in zip(SHOWN.items(), (36, 16, 5), strict=True):
            estimate = visible(found.estimates[label])[layer].ravel()
            ax.scatter(
                reference[picked] / scale,
                estimate[picked] / scale,
                s=size,
                color=color,
                label=f"{label}, cosine {found.comparisons[label][layer].cosine:.3g}",
            )
        _square(ax)
        ax.set(title=layer, xlabel=r"exact $dC/dg$, relative to its largest")
        ax.legend(fontsize="x-small")
        ax.grid(alpha=0.3)
    figure.axes[0].set_ylabel("estimate, same scale")
    figure.suptitle(found.case.name, fontsize="medium")
    return figure


def _square(ax: Axes) -> None:
    """Give both axes one range and one scale, so that the diagonal is what has to be met."""
    low = min(ax.get_xlim()[0], ax.get_ylim()[0])
    high = max(ax.get_xlim()[1], ax.get_ylim()[1])
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")


def bias_figure(found: Audit) -> Figure:
    """Draw the error of the EP variants against beta on log axes; dotted, the solver's noise."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = figure.subplots()
    # P-EP and N-EP often have the same error: the first is drawn wide, below the second.
    looks = zip("o^s", (9, 4, 4), (4.0, 1.2, 1.2), (0.45, 1.0, 1.0), strict=True)
    for (label, curve), (marker, size, width, alpha) in zip(
        found.scans.items(), looks, strict=True
    ):
        slope = "" if curve.slope is None else f", slope {curve.slope:.2f}"
        (line,) = ax.loglog(
            curve.betas,
            curve.errors,
            marker=marker,
            markersize=size,
            linewidth=width,
            alpha=alpha,
            label=f"{label}{slope}",
        )
        if curve.noise is not None:
            floor = curve.noise / curve.betas
            ax.plot(curve.betas, floor, color=line.get_color(), linewidth=0.7, linestyle=":")
    ax.axhline(TARGET_ERROR, color="0.5", linewidth=0.8, linestyle=":")
    window = found.scans["C-EP"].window
    if window is not None:
        label = f"C-EP below {100 * TARGET_ERROR:g} %"
        ax.axvspan(*window, color="C2", alpha=0.12, zorder=0, label=label)
    if (beta := found.case.rule.nudge_strength) is not None:
        ax.axvline(beta, color="C3", linewidth=1, linestyle="--", label=f"this rule: {beta:.3g} S")
    finite = np.concatenate([c.errors[np.isfinite(c.errors)] for c in found.scans.values()])
    if len(finite):
        ax.set_ylim(max(finite.min() / 3, 1e-13), min(finite.max() * 3, 1e3))
    ax.set(xlabel=r"$\beta$ [S]", ylabel="relative error of the worst layer", title=found.case.name)
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
    return figure


def budget_figure(found: Audit) -> Figure:
    """Draw the share of every cause in every layer, and say which causes have none."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    ax = figure.subplots()
    stages, layers = list(found.budget.shares), list(found.exact)
    width = 0.8 / len(layers)
    for i, layer in enumerate(layers):
        shares = np.array([found.budget.shares[stage][layer] for stage in stages])
        heights = np.clip(np.where(np.isnan(shares), 0.0, shares), SMALLEST_SHARE, LARGEST_SHARE)
        ax.bar(np.arange(len(stages)) + i * width, heights, width, label=layer)
    middles = np.arange(len(stages)) + 0.4 - width / 2
    for stage, middle in zip(stages, middles, strict=True):
        if (worst := found.budget.worst(stage)) <= SMALLEST_SHARE:
            text = ax.text(middle, 1.5 * SMALLEST_SHARE, f"below {SMALLEST_SHARE:g}", va="bottom")
        elif worst > LARGEST_SHARE:
            text = ax.text(middle, LARGEST_SHARE, f"above {LARGEST_SHARE:g}", va="top")
        else:
            continue
        text.set(ha="center", color="0.5", fontsize="small")
    ax.axhline(TARGET_ERROR, color="0.5", linewidth=0.8, linestyle=":")
    ax.set_yscale("log")
    ax.set_ylim(SMALLEST_SHARE, None)
    ax.set_xticks(middles, [stage.replace(" ", "\n") for stage in stages])
    ax.set(ylabel="share of what is left without it", title=found.case.name)
    ax.legend(fontsize="small")
    return figure


def power_figure(found: Audit) -> Figure:
    """Draw the power of every class, and its slopes beside the voltage drops."""
    figure = Figure(figsize=(11.0, 3.8), layout="constrained")
    bars, content, power = figure.subplots(1, 3)
    free = found.variation["free"]
    # A class without devices needs no bar.
    classes = [c for c in CLASSES if any(v.powers[c] for v in found.variation.values())]
    positions = np.arange(len(classes))
    for i, (phase, values) in enumerate(found.variation.items()):
        heights = [values.powers[c] for c in classes]
        bars.bar(positions + 0.4 * i, heights, 0.4, label=phase)
    bars.set_xticks(positions + 0.2, classes, rotation=30, ha="right", fontsize="small")
    _signed_log(bars, max(abs(v) for v in free.powers.values()))
    bars.axhline(0.0, color="0.5", linewidth=0.8)
    bars.set(ylabel="absorbed power [W]")
    bars.legend(fontsize="small")
    _slopes(content, free, free.content_slopes, free.explicit)
    content.set(xlabel=r"$\omega\,\Delta V^2/2$ [V²]", ylabel="slope of the co-content [W/S]")
    dissipated = {k: v[:, : len(DISSIPATING)] for k, v in free.power_slopes.items()}
    _slopes(power, free, dissipated, free.squared_drops)
    power.set(xlabel=r"$\Delta V^2$ [V²]", ylabel="slope of the dissipated power [W/S]")
    figure.suptitle(found.case.name, fontsize="medium")
    return figure


def _signed_log(ax: Axes, largest: float) -> None:
    """Let an axis be logarithmic on both sides of zero, without ticks too near to that."""
    around = SMALLEST_POWER * largest
    ax.set_yscale("symlog", linthresh=around)
    low, high = ax.get_ylim()
    decades = 10.0 ** np.arange(np.ceil(np.log10(around)), np.floor(np.log10(largest)) + 1)
    ticks = np.concatenate([-decades[::-1], [0.0], decades])
    ax.minorticks_off()
    ax.set_yticks(ticks[(ticks >= low) & (ticks <= high)])


def _slopes(ax: Axes, values: PhaseVariation, slopes, expected) -> None:
    ax.axline((0, 0), slope=1, color="0.7", zorder=0)
    for layer in values.explicit:
        ax.scatter(expected[layer], slopes[layer].sum(1), s=12, label=layer)
    _square(ax)
    ax.legend(fontsize="small")
    ax.grid(alpha=0.3)
