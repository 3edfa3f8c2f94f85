"""The run folders below a folder, with their figures."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST = 1000
"""Run folders that are listed at most."""

SHOWN = ("learned", "loss", "train_accuracy", "test_accuracy", "epochs", "seconds")
"""Figures of a run that are listed."""


def runs(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield name, experiment, state and figures of every run folder in a folder.

    What is damaged is listed without figures; `eqprop-spice show` says what is wrong with it.
    """
    paths = sorted(folder.glob("*/experiment.toml")) if folder.is_dir() else []
    for path in paths[:MOST]:
        yield {"run": path.parent, **_about(path)}


def _about(path: Path) -> dict[str, Any]:
    try:
        name = str(tomllib.loads(path.read_text())["name"])
        results = path.with_name("results.json")
        if not results.is_file():
            return {"experiment": name, "state": "not finished"}
        found = json.loads(results.read_text())
        figures = {key: found[key] for key in SHOWN if found.get(key) is not None}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {"experiment": "-", "state": "damaged"}
    return {"experiment": name, "state": "finished", **figures}
