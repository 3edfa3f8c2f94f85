"""Figures as PNG and SVG, and those of a run."""

import functools
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eqprop_spice.errors import ConfigError, Remark
from eqprop_spice.files import write_inside, write_named

FEW_EPOCHS = 30
"""Up to here every epoch gets a marker, so that a run of one epoch shows too."""

FEW_SAMPLES = 12
"""Up to here every sample is drawn on its own."""

FEW_NODES = 24
"""Up to here every node has its own position; above, layers are drawn as histograms."""

FEW_INPUTS = 4
"""Up to here a sample is called by its inputs."""

RUN_NAME = "run"
"""Attribute of a dataset: the run that figures of it name."""

MAX_DRAWN_SAMPLES = 150
"""Samples of the voltage figure, an even choice of a larger set."""


def save_figures(
    history: xr.Dataset, final: xr.Dataset, folder: Path, *, description: str = ""
) -> list[Path]:
    """Draw all figures of a run into a folder; return the PNG files.

    Args:
        history: Figures and conductances by epoch (`Run.history`).
        final: Outputs, targets and voltages at the end (`Run.final`).
        folder: Where to put them.
        description: What the files say of themselves.
    """
    return write_figures(_figures(history, final), folder, description=description)


def _figures(history: xr.Dataset, final: xr.Dataset) -> dict[str, Callable[[], Figure]]:
    """Return what draws each figure of a run."""
    return {
        "loss": functools.partial(loss_figure, history),
        "conductances": functools.partial(conductance_figure, history),
        "voltages": functools.partial(voltage_figure, final),
        "predictions": functools.partial(prediction_figure, final),
    }


def draw(
    name: str, history: xr.Dataset, final: xr.Dataset, path: str | Path | None = None
) -> Figure:
    """Return a figure of a run by its name, and write it into a file if a path is given.

    Raises:
        ConfigError: If there is none of that name, or the file's name ends with no format.
    """
    known = _figures(history, final)
    if name not in known:
        raise ConfigError(f"There is no figure '{name}'. Valid: {', '.join(known)}.")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = known[name]()
        if path is not None:
            form = Path(path).suffix[1:].lower()
            if form not in figure.canvas.get_supported_filetypes():
                raise ConfigError(f"{path} names no format of figures, such as .png or .svg.")
            buffer = io.BytesIO()
            figure.savefig(buffer, format=form, dpi=150)
            write_named(Path(path), buffer.getvalue())
    return figure


def write_figures(
    figures: Mapping[str, Callable[[], Figure]],
    folder: Path,
    *,
    description: str = "",
    name: str = "",
) -> list[Path]:
    """Draw figures by name into a folder, as PNG and SVG; return the PNG files.

    They look the same wherever they are drawn: matplotlib takes its settings from a matplotlibrc
    in the working folder, and those are left aside. A figure that cannot be drawn costs a remark:
    what it shows is in the other files.

    Args:
        figures: What draws each of them.
        folder: Where to put them; it is made if it is missing.
        description: What the files say of themselves.
        name: Written into a corner: what the figures are of.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    paths = []
    for stem, draw in figures.items():
        try:
            drawn = _drawn(draw, description, name)
        except Exception as error:
            message = " ".join(str(error).split())[:200]
            warnings.warn(f"{folder / stem}.png was not drawn: {message}", Remark, stacklevel=2)
            continue
        for suffix, content in drawn.items():
            write_inside(folder.parent, f"{folder.name}/{stem}.{suffix}", content)
        paths.append(folder / f"{stem}.png")
    return paths


def _drawn(draw: Callable[[], Figure], description: str, name: str) -> dict[str, bytes]:
    """Draw a figure with matplotlib's own settings; return the files by their suffix."""
    files = {}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = arranged(_named(draw(), name))
        for suffix in ("png", "svg"):
            buffer = io.BytesIO()
            metadata = {"Description": description} if description else None
            figure.savefig(buffer, format=suffix, dpi=150, metadata=metadata)
            files[suffix] = buffer.getvalue()
    return files


def arranged(figure: Figure) -> Figure:
    """Give everything in a figure its place, once: else each file of it takes a draw to do so."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)
    return figure


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes


def _legend(figure: Figure, handles: list, num_columns: int = 4) -> None:
    """Put the legend above the axes, where it hides no curve."""
    if handles:
        labels = [str(handle.get_label()) for handle in handles]
        figure.legend(handles, labels, loc="outside upper center", ncols=num_columns, fontsize=9)


def _curve(axes: Axes, history: xr.Dataset, values: np.ndarray, **style) -> None:
    """Draw a column over the epochs that have a value: tests are not made in every epoch."""
    known = np.isfinite(values)
    marker = "." if known.sum() <= FEW_EPOCHS else None
    axes.plot(history["epoch"].values[known], values[known], marker=marker, **style)


def _epochs(axes: Axes, history: xr.Dataset) -> None:
    """Let the axis of epochs count, a single one too."""
    axes.set(xlabel="Epoch")
    if history.sizes["epoch"] == 1:
        axes.set(xlim=(0.0, 2.0), xticks=[1])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def loss_figure(history: xr.Dataset) -> Figure:
    """Draw the loss over epochs, and the share of wrong decisions where there are any."""
    figure, axes = _figure()
    for name, label, color in (("loss", "training", "tab:blue"), ("test_loss", "test", "tab:cyan")):
        if name in history:
            # No loss at all has no place on a logarithmic axis.
            values = np.where(history[name].values > 0.0, history[name].values, np.nan)
            _curve(axes, history, values, label=f"{label} loss", color=color)
    axes.set(ylabel=r"Loss [V$^2$]", yscale="log")
    _epochs(axes, history)
    lines = list(axes.get_lines())
    if "accuracy" in history:
        right = axes.twinx()
        for name, label, color in (
            ("accuracy", "training", "tab:green"),
            ("test_accuracy", "test", "tab:red"),
        ):
            if name in history:
                percent = 100.0 * (1.0 - history[name].values)
                label = f"{label} error"
                _curve(right, history, percent, linestyle="--", label=label, color=color)
        right.set(ylabel="Error [%]")
        # From zero, however small the error has become: the axis shows what is left of it.
        right.set_ylim(0.0, max(1.04 * right.get_ylim()[1], 1.0))
        lines += right.get_lines()
    _legend(figure, lines)
    return _of_run(figure, history)


def _named(figure: Figure, name: str) -> Figure:
    """Write into a corner of a figure of what it is."""
    if name:
        figure.text(0.004, 0.004, name, fontsize=6, color="0.4", ha="left", va="bottom")
    return figure


def _of_run(figure: Figure, dataset: xr.Dataset) -> Figure:
    """Name the run that a figure shows, where the dataset says so."""
    return _named(figure, str(dataset.attrs.get(RUN_NAME, "")))


def conductance_figure(history: xr.Dataset) -> Figure:
    """Draw the recorded conductances over epochs, one color per group."""
    figure, axes = _figure()
    groups = [str(label).split("[")[0] for label in history["conductance_label"].values]
    names = list(dict.fromkeys(groups))
    first_lines = []
    for k, name in enumerate(names):
        picked = [i for i, group in enumerate(groups) if group == name]
        lines = axes.plot(
            history["epoch"].values,
            history["conductance"].values[:, picked],
            color=f"C{k}",
            alpha=0.6,
            linewidth=1.0,
            marker="." if len(history["epoch"]) == 1 else None,
        )
        lines[0].set_label(f"{name} ({len(picked)} shown)")
        first_lines.append(lines[0])
    axes.set(ylabel="Conductance [S]", yscale="log")
    _epochs(axes, history)
    _legend(figure, first_lines)
    return _of_run(figure, history)


def _sample_groups(final: xr.Dataset) -> list[tuple[str, np.ndarray]]:
    """Return labelled sets of samples to color: single ones, classes, or all."""
    targets = final["target"].values
    count = len(targets)
    if count <= FEW_SAMPLES:
        return [(f"sample {i}", np.array([i])) for i in range(count)]
    chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_DRAWN_SAMPLES)).astype(int))
    if final.attrs["task"] == "classes":
        classes = targets[chosen].argmax(1)
        return [(f"class {c}", chosen[classes == c]) for c in np.unique(classes)]
    return [("samples", chosen)]


def voltage_figure(final: xr.Dataset) -> Figure:
    """Draw the voltages of the free nodes over the training samples."""
    figure, axes = _figure()
    voltages = final["voltage"].values
    names = [str(name) for name in final["node"].values]
    handles = []
    if len(names) <= FEW_NODES:
        groups = _sample_groups(final)
        offsets = np.linspace(-0.25, 0.25, len(groups)) if len(groups) > 1 else np.zeros(1)
        for k, (label, samples) in enumerate(groups):
            positions = np.broadcast_to(np.arange(len(names)) + offsets[k], voltages[samples].shape)
            handles += axes.plot(
                positions.ravel(),
                voltages[samples].ravel(),
                "o",
                alpha=0.6,
                markersize=4,
                color=colormaps["tab20"](k % 20) if len(groups) > 10 else f"C{k}",
                label=label,
            )
        axes.set_xticks(range(len(names)), names, rotation=60, fontsize=8)
        axes.set(xlabel="Node", ylabel="Voltage in the free phase [V]")
    else:
        for layer in dict.fromkeys(name.split("_")[0] for name in names):
            picked = [i for i, name in enumerate(names) if name.split("_")[0] == layer]
            values = voltages[:, picked].ravel()
            values = values[np.isfinite(values)]
            if len(values):
                label = f"nodes {layer}_* ({len(picked)})"
                bars = axes.hist(values, bins=80, alpha=0.6, log=True)[2]
                bars.set_label(label)  # pyright: ignore[reportAttributeAccessIssue]
                handles.append(bars)
        axes.set(xlabel="Voltage in the free phase [V]", ylabel="Number of samples x nodes")
    _legend(figure, handles, 6)
    return _of_run(figure, final)


def prediction_figure(final: xr.Dataset) -> Figure:
    """Draw predictions against targets: a confusion table, single samples, or points."""
    outputs, targets = final["output"].values, final["target"].values
    figure, axes = _figure()
    if final.attrs["task"] == "classes":
        _confusion(axes, outputs, targets)
    elif len(outputs) <= FEW_SAMPLES:
        _single_samples(figure, axes, final)
    else:
        _points(figure, axes, outputs, targets)
    return _of_run(figure, final)


def _confusion(axes: Axes, outputs: np.ndarray, targets: np.ndarray) -> None:
    """Draw how many samples of each class were taken for which."""
    num_classes = outputs.shape[1]
    table = np.zeros((num_classes, num_classes), int)
    valid = np.isfinite(outputs).all(1)
    truth, predicted = targets[valid].argmax(1), outputs[valid].argmax(1)
    np.add.at(table, (truth, predicted), 1)
    axes.grid(visible=False)
    axes.imshow(table, cmap="Blues")
    for i, j in np.argwhere(table).tolist():
        color = "white" if table[i, j] > table.max() / 2 else "black"
        axes.text(j, i, str(table[i, j]), ha="center", va="center", color=color)
    ticks = range(num_classes)
    axes.set(xlabel="Predicted class", ylabel="True class", xticks=ticks, yticks=ticks)
    right = int(np.trace(table))
    axes.set_title(f"{right} of {len(outputs)} training samples right", fontsize=10)


def _sample_names(final: xr.Dataset) -> list[str]:
    """Return the inputs of each sample where they are few, and its number otherwise."""
    if "input" not in final or final.sizes["input_index"] > FEW_INPUTS:
        return [str(number) for number in range(final.sizes["sample"])]
    return ["\n".join(f"{volts:g} V" for volts in row) for row in final["input"].values]


def _single_samples(figure: Figure, axes: Axes, final: xr.Dataset) -> None:
    """Draw output and target of each sample side by side: points on a line would coincide."""
    outputs, targets, names = final["output"].values, final["target"].values, _sample_names(final)
    samples = np.arange(len(outputs))
    offsets = np.linspace(-0.15, 0.15, outputs.shape[1]) if outputs.shape[1] > 1 else [0.0]
    handles = []
    for k, offset in enumerate(offsets):
        at, color = samples + offset, f"C{k}"
        handles += axes.plot(
            at, targets[:, k], "_", markersize=22, color=color, label=f"target {k}"
        )
        handles += axes.plot(at, outputs[:, k], "o", color=color, label=f"output {k}")
    axes.axhline(0.0, color="gray", linewidth=0.8)
    what = "Inputs of the training sample" if "V" in names[0] else "Training sample"
    axes.set(xlabel=what, ylabel="Target, and output in the free phase [V]")
    axes.set_xticks(samples, names)
    axes.set_xlim(-0.5, len(samples) - 0.5)
    axes.margins(y=0.12)
    _legend(figure, handles, 6)


def _points(figure: Figure, axes: Axes, outputs: np.ndarray, targets: np.ndarray) -> None:
    """Draw outputs over targets."""
    bounds = [float(targets.min()), float(targets.max())]
    handles = axes.plot(bounds, bounds, color="gray", linewidth=1, label="output = target")
    for k in range(outputs.shape[1]):
        label = f"output {k}"
        handles += axes.plot(targets[:, k], outputs[:, k], "o", alpha=0.5, label=label)
    axes.set(xlabel="Target [V]", ylabel="Output in the free phase [V]")
    _legend(figure, handles, 6)
