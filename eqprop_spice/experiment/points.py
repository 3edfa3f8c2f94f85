"""Files of measured devices that an experiment names: their points are copied into its tables."""

from pathlib import Path
from typing import Any

from eqprop_spice.devices.measured import read_points
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.lines import Origin

FILE = "file"
"""Key of a diode's table that names a file of points."""


def with_points(content: dict[str, Any], folder: Path, origin: Origin) -> None:
    """Put the points of measured devices in the place of their files, so that no file is needed.

    Args:
        content: The tables of the experiment.
        folder: Where the files are.
        origin: Where the tables come from, for messages.

    Raises:
        ConfigError: If a file cannot be read or lies elsewhere.
    """
    circuit = content.get("circuit")
    layers = circuit.get("layers") if isinstance(circuit, dict) else None
    if not isinstance(layers, list | tuple):
        return
    for number, layer in enumerate(layers):
        diode = layer.get("diode") if isinstance(layer, dict) else None
        if not isinstance(diode, dict) or FILE not in diode:
            continue
        place = origin.place(("circuit", "layers", number, "diode"))
        name, *others = diode[FILE], *(key for key in diode if key != FILE)
        if not isinstance(name, str) or others:
            raise ConfigError(
                f"{place}: {FILE} must be the name of a file of points, and the only key here."
            )
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ConfigError(
                f"{place}: the file {name} is not in the folder of the experiment. Copy it there."
            )
        try:
            voltages, currents = read_points(path)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from error
        layer["diode"] = {"voltages": list(voltages), "currents": list(currents)}
