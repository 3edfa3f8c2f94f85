"""What a sweep found: how often training succeeds, with the uncertainty of few starts."""

from typing import Any

import numpy as np
import xarray as xr

from eqprop_spice.files import for_json
from eqprop_spice.sweeps.cell import STATUSES

START = "start"
"""The dimension that rates are taken over."""

CONFIDENCE_Z = 1.959963984540054
"""Standard deviations of a normal distribution that enclose 95 %."""

MAX_ROWS = 200
"""Combinations of the other axes that a summary lists."""


def success(dataset: xr.Dataset) -> xr.Dataset:
    r"""Return the share of cells that learned over the starts, with its 95 % interval.

    With k of n, Wilson's interval has the center $(k + z^2/2)/(n + z^2)$; it stays within
    0 and 1, and does not vanish where all or none learn.

    Args:
        dataset: The results of a sweep; cells without a verdict do not count.

    Returns:
        `rate`, `low`, `high`, `learned` and `cells` over all axes but the starts.

    References:
        Wilson (1927), J. Am. Stat. Assoc. 22, 209-212.
    """
    ended = ~dataset["status"].isin(["", "crashed"])
    learned = dataset["status"] == "learned"
    over = [START] if START in dataset.dims else []
    n = ended.sum(over).astype(float)
    k = learned.sum(over).astype(float)
    z = CONFIDENCE_Z
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = k / n
        center = (k + z**2 / 2) / (n + z**2)
        half = z * np.sqrt(rate * (1 - rate) * n + z**2 / 4) / (n + z**2)
    some = n > 0
    return xr.Dataset(
        {
            "rate": rate,
            "low": (center - half).clip(0.0, 1.0).where(some),
            "high": (center + half).clip(0.0, 1.0).where(some),
            "learned": k.astype(int),
            "cells": n.astype(int),
        }
    )


def epochs_needed(dataset: xr.Dataset) -> xr.DataArray:
    """Return the number of epochs of the cells that learned; NaN for the others.

    It means something where training stops at the goal.
    """
    count = dataset["loss"].notnull().sum("epoch") - 1.0
    return count.where(dataset["status"] == "learned")


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Return the result of a sweep as plain values, for people and for scripts."""
    status = dataset["status"].values
    counts = {name: int((status == name).sum()) for name in STATUSES}
    table = success(dataset)
    needed = epochs_needed(dataset)
    rows = []
    dims = list(table["rate"].dims)
    for index in np.ndindex(*table["rate"].shape):
        if len(rows) == MAX_ROWS:
            break
        at = dict(zip(dims, index, strict=True))
        here = table.isel(at)
        epochs = needed.isel(at).values
        known = epochs[np.isfinite(epochs)]
        rows.append(
            {str(dim): here[dim].item() for dim in dims}
            | {
                "learned": int(here["learned"]),
                "cells": int(here["cells"]),
                "rate": float(here["rate"]),
                "low": float(here["low"]),
                "high": float(here["high"]),
                "median_epochs": float(np.median(known)) if len(known) else None,
            }
        )
    return {
        "name": dataset.attrs["name"],
        "cells": status.size,
        "missing": status.size - sum(counts.values()),
        **counts,
        "cpu_seconds": float(np.nansum(dataset["seconds"].values)),
        "rates": for_json(rows),
    }
