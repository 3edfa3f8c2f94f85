"""What a training run recorded, epoch by epoch."""

from typing import Any

import numpy as np
import xarray as xr

MAX_CURVES = 60
"""Conductances recorded per run: all of a small circuit, an even choice of a large one."""

UNITS = {
    "loss": "V^2",
    "max_error": "V",
    "test_loss": "V^2",
    "test_max_error": "V",
    "seconds": "s",
    "conductance": "S",
}


def recorded_conductances(
    shapes: dict[str, tuple[int, ...]],
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Choose which conductances to record: labels, and flat indices by group."""
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    small = sum(sizes.values()) <= MAX_CURVES
    per_group = MAX_CURVES if small else max(MAX_CURVES // len(shapes), 1)
    labels: list[str] = []
    chosen: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        size = sizes[name]
        chosen[name] = np.unique(np.linspace(0, size - 1, min(size, per_group)).astype(int))
        for flat in chosen[name].tolist():
            index = ",".join(str(int(i)) for i in np.unravel_index(flat, shape))
            labels.append(f"{name}[{index}]")
    return labels, chosen


class History:
    """Columns of figures by epoch, and the course of the recorded conductances."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Start an empty history for parameters of these shapes."""
        self.labels, self._chosen = recorded_conductances(shapes)
        self.columns: dict[str, list[float]] = {}
        self.conductances: list[np.ndarray] = []

    def append(self, figures: dict[str, float], params: dict[str, np.ndarray]) -> None:
        """Add one epoch: its figures, and the conductances at its end."""
        for name, value in figures.items():
            self.columns.setdefault(name, [float("nan")] * len(self.conductances))
            self.columns[name].append(float(value))
        picked = [np.ravel(params[name])[index] for name, index in self._chosen.items()]
        self.conductances.append(np.concatenate(picked))
        for column in self.columns.values():
            column += [float("nan")] * (len(self.conductances) - len(column))

    def truncate(self, num_epochs: int) -> None:
        """Forget what was added after an epoch, even if adding it was interrupted."""
        self.columns = {name: values[:num_epochs] for name, values in self.columns.items()}
        self.conductances = self.conductances[:num_epochs]

    def rows(self) -> list[dict[str, float]]:
        """Return the figures epoch by epoch; what was not measured is not a number."""
        columns = self.columns.values()
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*columns, strict=True)]

    def __len__(self) -> int:
        """Number of epochs recorded."""
        return len(self.conductances)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the content as arrays, for a checkpoint."""
        arrays = {f"column.{name}": np.array(values) for name, values in self.columns.items()}
        shape = (len(self), len(self.labels))
        return {**arrays, "conductances": np.array(self.conductances).reshape(shape)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take the content from what `arrays` returned."""
        prefix = "column."
        self.columns = {
            name.removeprefix(prefix): values.tolist()
            for name, values in arrays.items()
            if name.startswith(prefix)
        }
        self.conductances = list(arrays["conductances"])

    def to_csv(self) -> str:
        """Return the figures as a table, a line per epoch; what was not measured is empty."""
        lines = [",".join(["epoch", *self.columns])]
        for epoch, values in enumerate(zip(*self.columns.values(), strict=True), start=1):
            lines.append(",".join([str(epoch), *("" if v != v else repr(v) for v in values)]))
        return "\n".join(lines) + "\n"

    def to_xarray(self, attributes: dict[str, str]) -> xr.Dataset:
        """Return a labelled dataset with dimensions `epoch` and `conductance_label`."""
        variables: dict[str, Any] = {
            name: ("epoch", np.array(values), {"units": UNITS.get(name, "1")})
            for name, values in self.columns.items()
        }
        table = np.array(self.conductances).reshape(len(self), len(self.labels))
        variables["conductance"] = (
            ("epoch", "conductance_label"),
            table,
            {"units": "S", "long_name": "Conductance at the end of the epoch"},
        )
        return xr.Dataset(
            variables,
            coords={
                "epoch": np.arange(1, len(self) + 1, dtype=np.int32),
                "conductance_label": self.labels,
            },
            attrs=attributes,
        )
