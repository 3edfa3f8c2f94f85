"""The logs that the [logging] table of an experiment names."""

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eqprop_spice.errors import ConfigError
from eqprop_spice.logs.base import AbstractLog
from eqprop_spice.logs.mlflow import MlflowLog
from eqprop_spice.logs.tensorboard import TensorBoardLog

KNOWN = {"tensorboard": TensorBoardLog, "mlflow": MlflowLog}


def check_installed(names: Iterable[str]) -> None:
    """Refuse logs whose packages are not installed, before anything is computed.

    Raises:
        ConfigError: With the command that installs what is missing.
    """
    for name in names:
        kind = KNOWN[name]
        if importlib.util.find_spec(kind.module) is None:
            raise ConfigError(
                f"[logging] asks for {kind.name}, which needs {kind.module}. Install it: "
                f"pip install 'eqprop_spice[{kind.extra}]'"
            )


def chosen_logs(
    names: Iterable[str], folder: Path, experiment: str, params: Mapping[str, Any]
) -> list[AbstractLog]:
    """Return the logs by their names.

    Args:
        names: Keys of `KNOWN`.
        folder: The run folder.
        experiment: The experiment's name.
        params: What is said of the training, by dotted key.
    """
    made = {
        "tensorboard": lambda: TensorBoardLog(folder),
        "mlflow": lambda: MlflowLog(folder, experiment, params),
    }
    return [made[name]() for name in names]


def flattened(table: Any, key: str = "") -> dict[str, Any]:
    """Return the values of nested tables and lists by dotted key."""
    if isinstance(table, Mapping):
        parts = [(str(name), value) for name, value in table.items()]
    elif isinstance(table, list | tuple):
        parts = [(str(number), value) for number, value in enumerate(table)]
    else:
        return {key: table}
    below = [flattened(value, f"{key}.{name}" if key else name) for name, value in parts]
    return {name: value for part in below for name, value in part.items()}
