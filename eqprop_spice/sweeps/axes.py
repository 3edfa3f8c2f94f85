"""The [sweep] table: which keys of an experiment vary, over which values.

    [sweep]
    alpha = { logspace = [1e-5, 1e-2, 7] }       # both ends included
    beta = [1e-6, 1e-5, 1e-4]
    start = { seeds = 1000 }                     # or a list of seeds
    "circuit.layers.2.gain" = { linspace = [2.0, 4.0, 3] }
    remedy = { cases = { none = {}, tight = { "ngspice.reltol" = 1e-9 } } }
    zip = [["alpha", "beta"]]                    # walk these together, not as a product
    time_limit = 600.0                           # seconds for one cell

A cell is one point of the product of all axes: the experiment with one value per axis put in.
"""

import dataclasses
import functools
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tomli_w

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.experiment.kinds import suggestion

ALIASES = {"alpha": "optimizer.learning_rate", "beta": "rule.beta", "start": "seed"}
"""Short names of the axes of the literature."""

UNITS = {
    "rule.beta": "S",
    "ngspice.vntol": "V",
    "ngspice.abstol": "A",
    "optimizer.learning_rate": "S^2/V^2",
}

OPTIONS = ("zip", "time_limit", "attempts")
"""Keys of [sweep] that are no axes."""

SPECIFICATIONS = ("cases", "linspace", "logspace", "seeds", "values")

RESERVED_DIMENSIONS = (
    "epoch",
    "loss",
    "max_error",
    "num_unconverged",
    "accuracy",
    "test_max_error",
    "test_accuracy",
    "seconds",
    "status",
    "error",
)
"""Names of the results, which no axis may have."""

FULLY_CHECKED = 20
"""Of a longer axis, only the first and the last value are built before anything runs."""

MAX_POSITIONS = 1_000_000
"""Positions of one axis. A list of them and its coordinates are held in memory."""

MAX_RESULTS = 100e9
"""Bytes that the losses of a sweep may take; the other figures take several times as much."""

DIGITS = 12
"""Significant digits of computed values, so that a decade of a logspace is 1e-06 and no more."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """A dimension of the sweep.

    Attributes:
        name: Name of the dimension.
        keys: The keys of the experiment that vary along it.
        labels: One number or text per position: the coordinate.
        values: One set of values by key per position.
    """

    name: str
    keys: tuple[str, ...]
    labels: tuple[float | int | str, ...]
    values: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        """Number of positions."""
        return len(self.labels)

    @property
    def unit(self) -> str:
        """Unit of the labels."""
        return UNITS.get(self.keys[0], "1") if len(self.keys) == 1 else "1"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """An experiment and its axes, checked.

    Attributes:
        experiment: The experiment without any value of an axis put in.
        text: Its TOML, the [sweep] table included.
        axes: The dimensions, in the order of the file.
        time_limit: How long one cell may take [s].
        attempts: How often a cell is tried whose process dies.
    """

    experiment: Experiment
    text: str
    axes: tuple[Axis, ...]
    time_limit: float
    attempts: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of positions of every axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    def values(self, cell: int) -> dict[str, Any]:
        """Return what a cell puts into the experiment, by key."""
        merged: dict[str, Any] = {}
        for axis, position in zip(self.axes, np.unravel_index(cell, self.shape), strict=True):
            merged |= axis.values[int(position)]
        return merged

    def cell(self, cell: int) -> Experiment:
        """Return the experiment of a cell."""
        return Experiment.parse(self.text, source=self.experiment.source, values=self.values(cell))

    @functools.cached_property
    def num_epochs(self) -> int:
        """The largest number of epochs of any cell."""
        key = "training.epochs"
        counts = [v[key] for axis in self.axes for v in axis.values if key in v]
        return max([self.experiment.table.training.epochs, *counts])


def sweep_of(
    experiment: Experiment, *, needs_goal: bool = True, table_name: str = "sweep"
) -> Sweep:
    """Return the sweep that an experiment describes.

    Args:
        experiment: The experiment, with its [sweep] table.
        needs_goal: Whether to refuse an experiment without a [goal], of which no cell could learn.
        table_name: The table of the file that says what varies, for messages.

    Raises:
        ConfigError: If it has no [sweep] table or goal, or an axis is empty, names no key, holds a
            value twice or one that the experiment refuses.
    """
    table = experiment.table
    if table.sweep is None:
        raise ConfigError(
            f"{experiment.source} has no [sweep] table, so there is nothing to vary. Add one, such "
            "as: [sweep] beta = [1e-5, 1e-4]."
        )
    if needs_goal and not table.goal.has_bounds:
        raise ConfigError(
            f"{experiment.source} has no [goal], so no cell could learn. Add one, such as: [goal] "
            "max_error = 0.1."
        )
    where = f"{experiment.source}, {table_name}"
    options = {key: table.sweep[key] for key in OPTIONS if key in table.sweep}
    named = {
        name: _axis(name, specification, where)
        for name, specification in _flattened(table.sweep, OPTIONS)
    }
    axes = list(named.values())
    if not axes:
        raise ConfigError(f"{where}: there is no axis. Add one, such as: beta = [1e-5, 1e-4].")
    axes = _zipped(axes, options.get("zip", ()), where)
    _check_names(axes, where)
    time_limit = options.get("time_limit", 600.0)
    attempts = options.get("attempts", 2)
    _check_option(time_limit, "time_limit", where, (int, float), "a number of seconds above zero")
    _check_option(attempts, "attempts", where, (int,), "a whole number above zero")
    sweep = Sweep(experiment, experiment.to_toml(), tuple(axes), float(time_limit), attempts)
    _check_size(sweep, where)
    _check_values(sweep, where)
    # In the order of the sweep's own file, which has tables last, so that it is found again.
    written = tomllib.loads(tomli_w.dumps(table.sweep))
    ordered = [named[name] for name, _ in _flattened(written, OPTIONS)]
    return dataclasses.replace(sweep, axes=tuple(_zipped(ordered, options.get("zip", ()), where)))


def _check_size(sweep: Sweep, where: str) -> None:
    """Refuse a sweep whose results no disk would hold, before any of it is laid out."""
    epochs = sweep.experiment.table.training.epochs
    size = 8.0 * sweep.num_cells * (epochs + 1)
    if size > MAX_RESULTS:
        raise ConfigError(
            f"{where}: {sweep.num_cells:,} cells of {epochs:,} epochs; their losses alone would "
            f"take {size / 1e9:,.0f} GB, more than the {MAX_RESULTS / 1e9:,.0f} GB allowed. Use "
            "fewer positions or epochs, or divide the sweep."
        )


def _check_option(value: Any, key: str, where: str, kinds: tuple, expected: str) -> None:
    if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
        raise ConfigError(f"{where}.{key}: expected {expected}, got {value!r}.")


def _flattened(
    table: Mapping[str, Any], skipped: tuple[str, ...] = (), prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the axes by dotted key: TOML reads an unquoted dotted key as nested tables."""
    for key, value in table.items():
        if key in skipped:
            continue
        nested = isinstance(value, Mapping) and value and not set(value) & set(SPECIFICATIONS)
        if nested:
            yield from _flattened(value, prefix=f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _axis(name: str, specification: Any, where: str) -> Axis:
    """Read one axis."""
    key = ALIASES.get(name, name)
    if isinstance(specification, Mapping) and "cases" in specification:
        return _cases(name, specification, where)
    values = _axis_values(name, specification, where)
    if len(values) == 0:
        raise ConfigError(f"{where}.{name}: the axis is empty; give it at least one value.")
    labels = tuple(_label(value) for value in values)
    repeated = next((v for i, v in enumerate(labels) if v in labels[:i]), None)
    if len(set(labels)) != len(labels):
        raise ConfigError(f"{where}.{name}: the value {repeated} stands there twice.")
    if len({isinstance(label, str) for label in labels}) > 1:
        labels = tuple(str(label) for label in labels)
    return Axis(_dimension(name), (key,), labels, tuple({key: value} for value in values))


def _axis_values(name: str, specification: Any, where: str) -> list[Any]:
    """Return the values that a specification stands for."""
    if isinstance(specification, list | tuple):
        return list(specification)
    if not isinstance(specification, Mapping) or len(specification) != 1:
        raise ConfigError(
            f"{where}.{name}: expected a list, or a table with one of {', '.join(SPECIFICATIONS)}; "
            f"got {specification!r}."
        )
    ((kind, value),) = specification.items()
    read: dict[str, Callable[[Any], list[Any]]] = {
        "linspace": lambda v: _spaced(np.linspace, v),
        "logspace": lambda v: _spaced(np.geomspace, v),
        "seeds": _seeds,
        "values": list,
    }
    if kind not in read:
        raise ConfigError(f"{where}.{name}.{kind}: unknown key. {suggestion(kind, SPECIFICATIONS)}")
    # The last number says how many, whatever comes before it.
    count = value[-1] if isinstance(value, list | tuple) and value else value
    if kind != "values" and isinstance(count, int) and count > MAX_POSITIONS:
        raise ConfigError(
            f"{where}.{name}.{kind}: {count:,} positions; an axis has at most "
            f"{MAX_POSITIONS:,}. Divide it over several sweeps."
        )
    try:
        return read[kind](value)
    except (TypeError, ValueError) as error:
        expected = {
            "linspace": "[first, last, how many]",
            "logspace": "[first, last, how many], both ends above zero",
            "seeds": "how many, a whole number above zero",
            "values": "a list",
        }[kind]
        raise ConfigError(f"{where}.{name}.{kind}: expected {expected}, got {value!r}.") from error


def _spaced(space: Callable[..., np.ndarray], value: Any) -> list[float]:
    first, last, count = value
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError("count")
    if space is np.geomspace and not (first > 0 and last > 0):
        raise ValueError("ends")
    return [float(f"{v:.{DIGITS}g}") for v in space(float(first), float(last), count)]


def _seeds(value: Any) -> list[int]:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("seeds")
    return list(range(value))


def _cases(name: str, specification: Mapping[str, Any], where: str) -> Axis:
    """Read an axis whose positions are named sets of values."""
    cases = specification["cases"]
    if len(specification) != 1 or not isinstance(cases, Mapping) or not cases:
        raise ConfigError(
            f"{where}.{name}: expected cases = {{ label = {{ key = value }} }} with at least one "
            "label, and nothing else."
        )
    values = []
    for label, content in cases.items():
        if not isinstance(content, Mapping):
            raise ConfigError(f"{where}.{name}.cases.{label}: expected a table, got {content!r}.")
        values.append(dict(flattened_case(content)))
    keys = tuple(dict.fromkeys(key for value in values for key in value))
    return Axis(_dimension(name), keys, tuple(cases), tuple(values))


def flattened_case(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a case's values by dotted key of the experiment; a table with a kind is a value."""
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value and "kind" not in value and "model" not in value:
            yield from flattened_case(value, f"{key}.")
        else:
            yield ALIASES.get(key, key), value


def _label(value: Any) -> float | int | str:
    """Return a coordinate: numbers as they are, all else as TOML writes it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return tomli_w.dumps({"v": value}).removeprefix("v = ").strip().replace("\n", " ")
    return value


def _dimension(name: str) -> str:
    """Return the last part of a dotted key that is a word."""
    if name in ALIASES:
        return name
    back = {key: alias for alias, key in ALIASES.items()}
    return back.get(
        name, next(p for p in reversed(name.split(".")) if not p.isdigit() or p == name)
    )


def _zipped(axes: list[Axis], groups: Any, where: str) -> list[Axis]:
    """Merge the axes that are walked together."""
    names = [axis.name for axis in axes]
    lists = (list, tuple)
    if not isinstance(groups, lists) or not all(isinstance(group, lists) for group in groups):
        raise ConfigError(
            f"{where}.zip: expected a list of lists with names of axes, such as "
            f'[["alpha", "beta"]]; got {groups!r}.'
        )
    for group in groups:
        members = [_dimension(str(name)) for name in group]
        for name in members:
            if name not in names:
                raise ConfigError(
                    f"{where}.zip: there is no axis '{name}'. {suggestion(name, names)}"
                )
        chosen = [axis for axis in axes if axis.name in members]
        lengths = {axis.name: len(axis) for axis in chosen}
        if len(set(lengths.values())) > 1 or len(chosen) < 2:
            raise ConfigError(
                f"{where}.zip: axes walked together need the same number of values, and at least "
                f"two axes; got {lengths}."
            )
        merged = Axis(
            "_".join(axis.name for axis in chosen),
            tuple(key for axis in chosen for key in axis.keys),
            tuple(
                ", ".join(str(label) for label in row)
                for row in zip(*(axis.labels for axis in chosen), strict=True)
            ),
            tuple(
                functools.reduce(lambda a, b: {**a, **b}, row)
                for row in zip(*(axis.values for axis in chosen), strict=True)
            ),
        )
        first = axes.index(chosen[0])
        axes = [axis for axis in axes if axis not in chosen]
        axes.insert(first, merged)
        names = [axis.name for axis in axes]
    return axes


def _check_names(axes: list[Axis], where: str) -> None:
    """Refuse two axes of one name or key, and names of results."""
    seen: dict[str, str] = {}
    for axis in axes:
        if axis.name in RESERVED_DIMENSIONS:
            raise ConfigError(f"{where}: an axis cannot be named '{axis.name}', as a result is.")
        for what in (axis.name, *axis.keys):
            if (
                seen.setdefault(what, axis.name) != axis.name
                or [a.name for a in axes].count(axis.name) > 1
            ):
                raise ConfigError(f"{where}: two axes vary or are named '{what}'; remove one.")


def _check_values(sweep: Sweep, where: str) -> None:
    """Build the experiment with every value of each axis, all others at their first."""
    first: dict[str, Any] = {}
    for axis in sweep.axes:
        first |= axis.values[0]
    for axis in sweep.axes:
        every = range(len(axis))
        for position in every if len(axis) <= FULLY_CHECKED else (0, len(axis) - 1):
            values = first | dict(axis.values[position])
            try:
                Experiment.parse(sweep.text, source=sweep.experiment.source, values=values)
            except ConfigError as error:
                raise ConfigError(
                    f"{where}, axis '{axis.name}' at {axis.labels[position]}: {error}"
                ) from error
