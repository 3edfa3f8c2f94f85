"""What ngspice makes of a netlist."""

import numpy as np

from eqprop_spice.spice.session import vectors_of


def solved(text: str, names: list[str]) -> np.ndarray:
    """Return vectors of a netlist, `name point`."""
    return np.array(vectors_of(text, names))
