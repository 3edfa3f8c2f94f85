"""The hidden layers of a usual network, in one call."""

from typing import Literal

from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.devices.ideal import Diode
from eqprop_spice.errors import ConfigError
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import AbstractLayer
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes, Rectifier

Nonlinearity = Literal["rectifier", "antiparallel"]


def diode(name: str) -> Diode:
    """Return a diode by the name of its preset.

    Raises:
        ConfigError: If there is none.
    """
    if name not in PRESETS:
        raise ConfigError(f"There is no diode '{name}'. Valid: {', '.join(sorted(PRESETS))}.")
    return PRESETS[name]


def stack(
    *sizes: int,
    bias: float = 10.0,
    nonlinearity: Nonlinearity = "rectifier",
    diode_name: str = "kiraz",
    shift: float = 0.0,
    gain: float = 4.0,
) -> list[AbstractLayer]:
    """Return hidden layers: resistors, diodes at every node, and amplifiers.

    Args:
        *sizes: Number of nodes of every hidden layer, from the inputs on; none for a network of
            resistors alone.
        bias: Constant sources at plus and minus this voltage feed the first layer [V]; 0 for none.
        nonlinearity: One diode at every node ("rectifier") or two ("antiparallel").
        diode_name: The preset of the diodes.
        shift: Voltage of the diodes' sources [V].
        gain: Voltage gain of the amplifiers.

    Raises:
        ConfigError: If a size is below one.
    """
    layers: list[AbstractLayer] = []
    for number, size in enumerate(sizes):
        if size < 1:
            raise ConfigError(f"A hidden layer has {size} nodes; it needs at least 1.")
        sources = (bias, -bias) if bias and number == 0 else ()
        law = diode(diode_name)
        one_way = nonlinearity == "rectifier"
        layers += [
            Dense(size, sources),
            Rectifier(law, shift) if one_way else AntiparallelDiodes(law, shift),
            BidirectionalAmplifier(gain),
        ]
    return layers
