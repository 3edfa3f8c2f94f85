"""What a comparison found: mean and spread over seeds of every rule, and how far from the exact."""

import math
from typing import Any

import numpy as np
import xarray as xr

from eqprop_spice.compare.names import REFERENCE, RULES
from eqprop_spice.compare.plan import AXIS
from eqprop_spice.sweeps.summary import START

MEASURES = ("test_accuracy", "accuracy", "test_max_error", "max_error")
"""What a rule is judged by: the first of these that was recorded."""

MEASURE_NAMES = {
    "test_accuracy": ("test error", "%"),
    "accuracy": ("training error", "%"),
    "test_max_error": ("largest test error", "V"),
    "max_error": ("largest training error", "V"),
}
"""Name and unit of a measure; of an accuracy, the share that is wrong."""


def measure(dataset: xr.Dataset) -> tuple[str, str]:
    """Return name and unit of what the rules are judged by."""
    return MEASURE_NAMES[_measured(dataset)]


def _measured(dataset: xr.Dataset) -> str:
    return next(name for name in MEASURES if name in dataset)


def final_figures(dataset: xr.Dataset) -> xr.Dataset:
    """Return what is known of every run at its end.

    Args:
        dataset: The cells of a comparison.

    Returns:
        Over rule and seed: `loss` [V^2] and `error` [% or V, see `measure`] of the network at the
        end, `num_unconverged` samples on the way, `seconds`, and `ended`, whether the run came to
        its end. Those that did not have no loss and no error.
    """
    ended = (dataset["status"] != "") & (dataset["error"] == "")
    known = dataset["loss"].notnull()
    ended &= known.any("epoch")
    # Training may stop at its goal: the last epoch that has a loss.
    last = known.cumsum("epoch").argmax("epoch")
    name = _measured(dataset)
    error = dataset[name].isel(epoch=last)
    if "accuracy" in name:
        error = 100.0 * (1.0 - error)
    return (
        xr.Dataset(
            {
                "loss": dataset["loss"].isel(epoch=last).where(ended),
                "error": error.where(ended),
                "num_unconverged": dataset["num_unconverged"].sum("epoch"),
                "seconds": dataset["seconds"].where(dataset["status"] != ""),
                "ended": ended,
            }
        )
        .drop_vars("epoch", errors="ignore")
        .transpose(AXIS, START)
    )


def statistics(values: np.ndarray) -> dict[str, float | None]:
    r"""Return mean, standard deviation and standard error of the values that are known.

    The deviation is that of a sample, $s^2 = \sum (x - \bar x)^2 / (n - 1)$, and the error that of
    the mean, $s / \sqrt n$; of a single value there is neither.
    """
    known = values[np.isfinite(values)]
    count = len(known)
    deviation = float(known.std(ddof=1)) if count > 1 else None
    return {
        "mean": float(known.mean()) if count else None,
        "standard_deviation": deviation,
        "standard_error": None if deviation is None else deviation / math.sqrt(count),
    }


def summary(dataset: xr.Dataset, *, has_goal: bool) -> dict[str, Any]:
    """Return the result of a comparison as plain values, for people and for scripts.

    Args:
        dataset: The cells of a comparison.
        has_goal: Whether there is a [goal] that a seed reaches or not.
    """
    final = final_figures(dataset)
    name, unit = measure(dataset)
    names = [str(n) for n in final[AXIS].values]
    rows = []
    for number, rule in enumerate(names):
        here = final.isel({AXIS: number})
        status = dataset["status"].sel({AXIS: rule}).values
        rows.append(
            {
                "rule": rule,
                "label": RULES[rule].label,
                "seeds": int(here["ended"].sum()),
                "failed": int(((status != "") & ~here["ended"].values).sum()),
                "train_loss": statistics(here["loss"].values),
                "error": statistics(here["error"].values),
                "learned": _share(status) if has_goal else None,
                "num_unconverged": int(here["num_unconverged"].sum()),
                "seconds": statistics(here["seconds"].values)["mean"],
                "difference": (
                    difference(final, rule) if REFERENCE in names and rule != REFERENCE else None
                ),
            }
        )
    return {
        "name": dataset.attrs["name"],
        "cells": dataset["status"].size,
        "missing": int((dataset["status"] == "").sum()),
        "measure": name,
        "units": {"train_loss": "V^2", "error": unit, "difference": unit, "seconds": "s"},
        "reference": REFERENCE if REFERENCE in names else None,
        "rules": rows,
    }


def _share(status: np.ndarray) -> float | None:
    """Return the share of runs that learned, of those that have a status."""
    known = status[status != ""]
    return float((known == "learned").mean()) if len(known) else None


def difference(final: xr.Dataset, rule: str) -> dict[str, Any]:
    """Return how far the error of a rule is from that of the exact gradient, seed by seed.

    Args:
        final: What `final_figures` returned.
        rule: Name of the rule.

    Returns:
        Mean, standard deviation and standard error of the paired difference over the seeds that
        ended with both, their number, and `within`: whether the mean of the rule is at most one
        standard error of the reference's mean away from that.
    """
    own, exact = (final["error"].sel({AXIS: name}).values for name in (rule, REFERENCE))
    both = np.isfinite(own) & np.isfinite(exact)
    found = statistics((own - exact)[both])
    mean, margin = found["mean"], statistics(exact[both])["standard_error"]
    within = None if mean is None or margin is None else abs(mean) <= margin
    return {"seeds": int(both.sum()), **found, "within": within}
