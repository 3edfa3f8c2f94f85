"""A user's own arrays as samples: features and targets in, voltages out."""

import dataclasses
import math
import typing
from typing import Any

import numpy as np
from jaxtyping import Float

from eqprop_spice.datasets.base import Data, one_hot
from eqprop_spice.datasets.encoding import Encoding, Standardize, fitted, numbers
from eqprop_spice.errors import ConfigError

TASKS = ("auto", "classes", "regression")

MOST_CLASSES = 1000
"""Classes that a circuit may have; more are numbers that somebody forgot to call a regression."""


@dataclasses.dataclass(frozen=True)
class Volts:
    """Which voltages features and targets become.

    Attributes:
        scale: Voltage of one deviation of a feature [V].
        standardize: Whether every feature gets mean 0 and deviation 1 on the training samples, or
            the table as a whole, or nothing changes.
        target_on: Target of the right class [V].
        target_off: Target of the other classes [V].
        target_scale: Voltage of one deviation of a number to be predicted [V]; 0 to take targets
            for volts as they are.
    """

    scale: float = 10.0
    standardize: Standardize = "feature"
    target_on: float = 1.0
    target_off: float = 0.0
    target_scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a way to standardize that is none, and voltages that are no numbers."""
        known = typing.get_args(Standardize)
        if self.standardize not in known:
            raise ConfigError(
                f"standardize is {self.standardize!r}; it must be one of {', '.join(known)}."
            )
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ConfigError(f"scale is {self.scale} V; it must be positive and finite.")
        if not (math.isfinite(self.target_scale) and self.target_scale >= 0):
            raise ConfigError(
                f"target_scale is {self.target_scale} V; it must be finite, and positive or 0."
            )
        on, off = self.target_on, self.target_off
        if not (math.isfinite(on) and math.isfinite(off) and on > off):
            raise ConfigError(
                f"target_on is {on} V and target_off {off} V; both must be finite, and the right "
                "class is the output with the highest voltage."
            )


def samples(
    features: Any,
    targets: Any,
    *,
    task: str = "auto",
    test_size: float = 0.0,
    split: int = 0,
    volts: Volts | None = None,
) -> Data:
    """Return a user's arrays as samples of a circuit.

    Args:
        features: Numbers, `(samples, features)`: an array, a list of lists or a pandas frame.
        targets: Labels, `(samples,)`: texts or whole numbers; or numbers to be predicted,
            `(samples,)` or `(samples, outputs)`.
        task: "classes", "regression", or "auto": floats that are not whole are a regression.
        test_size: Share of the samples kept for testing, from 0 on and below 1.
        split: Seed of the choice of test samples; of classes, as large a share of each.
        volts: Which voltages they become.

    Raises:
        ConfigError: If shapes do not fit, values are not finite, or there is only one class.
    """
    if task not in TASKS:
        raise ConfigError(f"task is {task!r}; it must be one of {', '.join(TASKS)}.")
    table = numbers(features, "the features")
    wanted = _targets(targets)
    if table.ndim != 2:
        raise ConfigError(
            f"The features have the shape {table.shape}; (samples, features) is expected."
        )
    if len(table) != len(wanted) or not len(table):
        raise ConfigError(
            f"There are {len(table)} samples of features and {len(wanted)} of targets; there must "
            "be as many, and at least one."
        )
    if task == "auto":
        task = "classes" if _are_labels(wanted) else "regression"
    if task == "classes" and wanted.ndim != 1:
        raise ConfigError(f"Labels have the shape {wanted.shape}; (samples,) is expected.")
    labels = wanted if task == "classes" else None
    rows, test = _split(len(table), labels, test_size, split)
    volts = volts or Volts()
    labels = np.unique(wanted) if task == "classes" else None
    encoding = encoding_of(table[rows], wanted[rows], task=task, volts=volts, classes=labels)
    return Data(
        *encoded(encoding, table[rows], wanted[rows], volts),
        *encoded(encoding, table[test], wanted[test], volts),
        task="classes" if task == "classes" else "regression",
        encoding=encoding,
    )


def _targets(targets: Any) -> np.ndarray:
    """Return targets as an array of texts, whole numbers, truth values or floats."""
    try:
        wanted = np.asarray(targets)
    except ValueError as error:
        raise ConfigError(f"The targets are ragged: {error}.") from error
    if wanted.dtype.kind in "OUST":
        if any(value is None or value != value for value in wanted.ravel().tolist()):
            raise ConfigError("The targets have gaps. Drop those samples, or fill the gaps in.")
        if all(isinstance(value, (int, float)) for value in wanted.ravel().tolist()):
            return wanted.astype(float)
        # Objects could only be stored as a pickle.
        return wanted.astype(str)
    if wanted.dtype.kind not in "biu":
        wanted = numbers(wanted, "the targets")
    return wanted


def _are_labels(targets: np.ndarray) -> bool:
    """Whether targets are labels: texts, truth values, or few whole numbers."""
    if targets.dtype.kind in "Ub":
        return True
    whole = targets.ndim == 1 and bool((targets == np.round(targets)).all())
    return whole and len(np.unique(targets)) <= max(2, min(MOST_CLASSES, len(targets) // 3))


def _split(
    count: int, labels: np.ndarray | None, test_size: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the training and the test samples."""
    everything = np.arange(count)
    if test_size == 0.0:
        return everything, everything[:0]
    if not 0 < test_size < 1:
        raise ConfigError(f"test_size is {test_size}; it must be at least 0 and below 1.")
    from sklearn.model_selection import train_test_split

    try:
        rows, test = train_test_split(
            everything, test_size=test_size, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise ConfigError(f"test_size is {test_size}: {error}") from error
    return np.asarray(rows), np.asarray(test)


def encoding_of(
    features: Float[np.ndarray, "sample feature"],
    targets: np.ndarray,
    *,
    task: str,
    volts: Volts,
    classes: np.ndarray | None = None,
) -> Encoding:
    """Return how features and targets become voltages, fitted to training samples.

    Args:
        features: Finite numbers.
        targets: Labels, or finite numbers.
        task: "classes" or "regression".
        volts: Which voltages they become.
        classes: The labels in ascending order; those that occur if None.

    Raises:
        ConfigError: If there are fewer than two classes, or very many.
    """
    mean, deviation = fitted(features, volts.standardize)
    none = np.zeros(0)
    if task == "classes":
        known = np.unique(targets) if classes is None else classes
        _check_classes(known)
        return Encoding(mean, deviation, volts.scale, known, none, none)
    numeric = numbers(targets, "the targets")
    flat = numeric.ndim == 1
    numeric = numeric.reshape(len(numeric), -1)
    center, spread = fitted(numeric, "feature" if volts.target_scale else "none")
    unit = spread / (volts.target_scale or 1.0)
    return Encoding(mean, deviation, volts.scale, none, center, unit, flat)


def _check_classes(classes: np.ndarray) -> None:
    if len(classes) < 2:
        raise ConfigError(
            f"There is {len(classes)} class, {classes.tolist()}; a circuit that tells classes "
            "apart needs two."
        )
    if len(classes) > MOST_CLASSES:
        raise ConfigError(
            f"There are {len(classes)} classes, more than {MOST_CLASSES}. Are the targets numbers "
            'to be predicted? Then set task = "regression".'
        )


def encoded(
    encoding: Encoding, features: np.ndarray, targets: np.ndarray, volts: Volts
) -> tuple[Float[np.ndarray, "sample input"], Float[np.ndarray, "sample output"]]:
    """Return features and targets as voltages [V].

    Raises:
        ConfigError: If a label is none of the encoding's classes.
    """
    inputs, classes = encoding.inputs(features), encoding.classes
    if len(classes) == 0:
        numeric = numbers(targets, "the targets").reshape(len(inputs), len(encoding.target_mean))
        return inputs, (numeric - encoding.target_mean) / encoding.target_deviation
    positions = np.minimum(np.searchsorted(classes, targets), len(classes) - 1)
    strange = np.flatnonzero(classes[positions] != targets)
    if len(strange):
        raise ConfigError(
            f"The label {targets[strange[0]]} is none of the classes {classes.tolist()}."
        )
    return inputs, one_hot(positions, len(classes), volts.target_on, volts.target_off)
