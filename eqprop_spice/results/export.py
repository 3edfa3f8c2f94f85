"""A trained circuit for others: netlists, and its conductances as a table."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.files import write_atomically
from eqprop_spice.results.netlists import trained_netlists


def export(
    experiment: Experiment, params: Mapping[str, Array], folder: str | Path, *, sample: int = 0
) -> list[Path]:
    """Write a trained circuit into a folder.

    Args:
        experiment: What was trained.
        params: Its conductances [S].
        folder: Where to put `free.cir` and `nudged.cir`, which `ngspice -b` runs, and
            `conductances.csv`, a row per resistor; it is made if it is missing.
        sample: Number of the training sample whose voltages the netlists have.

    Returns:
        The files.

    Raises:
        ConfigError: If the system is none that SPICE knows.
    """
    folder = Path(folder)
    netlists = trained_netlists(experiment, dict(params), sample=sample)
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{name}.cir": text for name, text in netlists.items()}
    files["conductances.csv"] = conductance_table(params)
    for name, text in files.items():
        write_atomically(folder / name, text.encode())
    return [folder / name for name in files]


def conductance_table(params: Mapping[str, Array]) -> str:
    """Return a row per conductance [S]: its group, its place, its value in full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["group", "place", "conductance_S"])
    for name, values in params.items():
        for place, value in np.ndenumerate(np.asarray(values)):
            writer.writerow([name, " ".join(map(str, place)), repr(float(value))])
    return buffer.getvalue()
