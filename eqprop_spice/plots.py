"""Figures of a run, as PNG and SVG."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

MAX_LEGEND = 12
SMALL_NUM_NODES = 24


def save_figures(history: xr.Dataset, final: xr.Dataset, folder: Path) -> list[Path]:
    """Draw all figures of a run into a folder; return the PNG files.

    Args:
        history: Figures and conductances by epoch (`Run.history`).
        final: Outputs, targets and voltages at the end (`Run.final`).
        folder: Where to put them.
    """
    folder.mkdir(exist_ok=True)
    draw: dict[str, Callable[[], Figure]] = {
        "loss": lambda: loss_figure(history),
        "conductances": lambda: conductance_figure(history),
        "voltages": lambda: voltage_figure(final),
        "predictions": lambda: prediction_figure(final),
    }
    paths = []
    for name, make in draw.items():
        figure = make()
        for suffix in ("png", "svg"):
            figure.savefig(folder / f"{name}.{suffix}", dpi=150)
        paths.append(folder / f"{name}.png")
    return paths


def _figure() -> Figure:
    return Figure(figsize=(6.4, 4.0), layout="constrained")


def loss_figure(history: xr.Dataset) -> Figure:
    """Draw the loss in dB over epochs, and the accuracy where there is one."""
    figure = _figure()
    axes = figure.subplots()
    epochs = history["epoch"].values
    for name, label in (("loss", "training"), ("test_loss", "test")):
        if name in history:
            with np.errstate(divide="ignore"):
                decibels = 10.0 * np.log10(history[name].values)
            axes.plot(epochs, decibels, label=f"{label} loss")
    axes.set(xlabel="Epoch", ylabel=r"Loss [dB re 1 V$^2$]")
    axes.grid(alpha=0.3)
    lines = axes.get_lines()
    if "accuracy" in history:
        right = axes.twinx()
        for name, label in (("accuracy", "training"), ("test_accuracy", "test")):
            if name in history:
                percent = 100.0 * history[name].values
                right.plot(epochs, percent, linestyle="--", alpha=0.7, label=f"{label} accuracy")
        right.set(ylabel="Accuracy [%]", ylim=(0, 104))
        for line, color in zip(right.get_lines(), ("tab:green", "tab:red"), strict=False):
            line.set_color(color)
        lines = [*lines, *right.get_lines()]
    axes.legend(handles=lines, loc="center right")
    return figure


def conductance_figure(history: xr.Dataset) -> Figure:
    """Draw the recorded conductances over epochs, one color per group."""
    figure = _figure()
    axes = figure.subplots()
    labels = [str(label) for label in history["conductance_label"].values]
    groups = list(dict.fromkeys(label.split("[")[0] for label in labels))
    for i, label in enumerate(labels):
        group = label.split("[")[0]
        first = labels.index(label) == next(
            k for k, other in enumerate(labels) if other.split("[")[0] == group
        )
        axes.plot(
            history["epoch"].values,
            history["conductance"].values[:, i],
            color=f"C{groups.index(group)}",
            alpha=0.6,
            linewidth=1.0,
            label=group if first else None,
        )
    axes.set(xlabel="Epoch", ylabel="Conductance [S]", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def voltage_figure(final: xr.Dataset) -> Figure:
    """Draw the voltages of the free nodes over the training samples."""
    figure = _figure()
    axes = figure.subplots()
    voltages = final["voltage"].values
    names = [str(name) for name in final["node"].values]
    if len(names) <= SMALL_NUM_NODES:
        positions = np.arange(len(names))
        for sample in range(min(len(voltages), 50)):
            label = f"sample {sample}" if len(voltages) <= MAX_LEGEND else None
            axes.plot(positions, voltages[sample], "o", alpha=0.7, markersize=5, label=label)
        axes.set_xticks(positions, names, rotation=60, fontsize=8)
        axes.set(xlabel="Node", ylabel="Voltage in the free phase [V]")
        if len(voltages) <= MAX_LEGEND:
            axes.legend(fontsize=8)
    else:
        layers = list(dict.fromkeys(name.split("_")[0] for name in names))
        for layer in layers:
            picked = [i for i, name in enumerate(names) if name.split("_")[0] == layer]
            axes.hist(voltages[:, picked].ravel(), bins=80, alpha=0.6, label=f"nodes {layer}")
        axes.set(xlabel="Voltage in the free phase [V]", ylabel="Samples x nodes", yscale="log")
        axes.legend()
    axes.grid(alpha=0.3)
    return figure


def prediction_figure(final: xr.Dataset) -> Figure:
    """Draw predictions against targets: a confusion table for classes, points otherwise."""
    figure = _figure()
    axes = figure.subplots()
    outputs, targets = final["output"].values, final["target"].values
    if final.attrs["task"] == "classes":
        num_classes = outputs.shape[1]
        table = np.zeros((num_classes, num_classes), int)
        valid = np.isfinite(outputs).all(1)
        np.add.at(table, (targets[valid].argmax(1), outputs[valid].argmax(1)), 1)
        axes.imshow(table, cmap="Blues")
        for i in range(num_classes):
            for j in range(num_classes):
                if table[i, j]:
                    dark = table[i, j] > table.max() / 2
                    color = "white" if dark else "black"
                    axes.text(j, i, str(table[i, j]), ha="center", va="center", color=color)
        ticks = range(num_classes)
        axes.set(xlabel="Predicted class", ylabel="True class", xticks=ticks, yticks=ticks)
        axes.set_title(f"{valid.sum()} training samples")
        return figure
    low = float(min(targets.min(), np.nanmin(outputs)))
    high = float(max(targets.max(), np.nanmax(outputs)))
    axes.plot([low, high], [low, high], color="gray", linewidth=1, label="prediction = target")
    for k in range(outputs.shape[1]):
        axes.plot(targets[:, k], outputs[:, k], "o", alpha=0.7, label=f"output {k}")
    axes.set(xlabel="Target [V]", ylabel="Output in the free phase [V]")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
