"""Figures with their units; tables for notebooks, which `_repr_html_` of runs and others shows."""

import html
from collections.abc import Mapping
from typing import Any

from eqprop_spice.errors import printable


def html_table(title: str, rows: Mapping[str, Any]) -> str:
    """Return a titled table of names and values; whatever they hold is shown as text."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{html.escape(str(name))}</th>"
        f"<td style='text-align:left'>{shown(str(name), value)}</td></tr>"
        for name, value in rows.items()
    )
    return f"<div><b>{html.escape(title)}</b><table>{cells}</table></div>"


RESULT_UNITS = {
    "loss": "V^2",
    "test_loss": "V^2",
    "max_error": "V",
    "train_max_error": "V",
    "test_max_error": "V",
    "largest_difference": "V",
    "seconds": "s",
    "samples_per_second": "1/s",
}
"""Units of the figures of a run."""


def with_unit(name: str, value: Any, digits: int = 6) -> str:
    """Return a figure as a reader wants it: shares in percent, others with their unit."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, float):
        return printable(str(value))
    if name.endswith("accuracy"):
        return f"{100 * value:.4g} %"
    return f"{value:.{digits}g} {RESULT_UNITS.get(name, '')}".rstrip()


def shown(name: str, value: Any, digits: int = 6) -> str:
    """Return a figure with its unit as HTML."""
    return html.escape(with_unit(name, value, digits)).replace("V^2", "V²")
