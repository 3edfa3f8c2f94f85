"""The settings of an estimator in its run folder."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.kinds import build, check_trusted
from eqprop_spice.experiment.objects import table_of
from eqprop_spice.files import read_bounded

FILE = "estimator.json"

MOST_BYTES = 1_000_000

FOLDERS = {"layers": "layers", "rule": "rules", "cost": "costs"}
"""Where the components of a setting live."""

NOT_STORED = {"callbacks"}
"""Settings that are functions."""


def settings_of(estimator: BaseEstimator) -> bytes:
    """Return the settings as JSON."""
    content = {
        name: _said(value)
        for name, value in estimator.get_params(deep=False).items()
        if name not in NOT_STORED
    }
    names = getattr(estimator, "feature_names_in_", None)
    found = {
        "estimator": type(estimator).__name__,
        "settings": content,
        "feature_names": None if names is None else [str(name) for name in names],
    }
    return f"{json.dumps(found, indent=2)}\n".encode()


def _said(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return table_of(value)
    if isinstance(value, list | tuple):
        return [_said(item) for item in value]
    if isinstance(value, np.random.RandomState):
        return None
    return value.item() if isinstance(value, np.generic) else value


def read_settings(path: Path, cls: type) -> tuple[dict[str, Any], list[str] | None]:
    """Return the settings, and the names of the features if they had any.

    Raises:
        ConfigError: If there is no such file, or it is damaged or of another estimator.
    """
    try:
        content = json.loads(read_bounded(path, limit=MOST_BYTES))
        name, settings, names = (content[k] for k in ("estimator", "settings", "feature_names"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is missing or damaged: {error}. A run folder that an estimator has saved has "
            "it; that of another run is opened with `Run.open`."
        ) from error
    if name != cls.__name__:
        raise ConfigError(f"{path.parent} was saved by {name}, not {cls.__name__}.")
    check_trusted(settings, str(path))
    for key, folder in FOLDERS.items():
        value = settings.get(key)
        if isinstance(value, list):
            settings[key] = [build(folder, table) for table in value]
        elif value is not None:
            settings[key] = build(folder, value)
    if isinstance(settings.get("hidden"), list):
        settings["hidden"] = tuple(settings["hidden"])
    return settings, names
