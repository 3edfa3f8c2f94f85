"""Pooling: fewer pixels, without parameters."""

import dataclasses

import numpy as np

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.devices.resistor import FixedResistor
from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.base import AbstractLayer
from eqprop_spice.layers.images import check_positive, planes, windows


@dataclasses.dataclass(frozen=True)
class AveragePool(AbstractLayer):
    """Equal fixed resistors from all pixels of a window to one new node, in every channel.

    A new node that nothing else is connected to is at the mean of its window. What follows loads
    it: the larger `conductance` is against that load, the closer it stays to the mean.

    Attributes:
        image: Height and width of the images that come in [pixels]; see `convolution`.
        window: Height and width of a window [pixels]; windows do not overlap.
        conductance: Conductance of every resistor [S].
    """

    image: tuple[int, int]
    window: tuple[int, int]
    conductance: float

    def attach(self, builder: CircuitBuilder, nodes: np.ndarray, position: int) -> np.ndarray:
        """Add nodes `n<position>_j` and resistors `pool_<position>`."""
        layer = f"AveragePool layer {position}"
        check_positive(layer, window_height=self.window[0], window_width=self.window[1])
        incoming = planes(nodes, self.image, layer)
        if any(n % k for n, k in zip(self.image, self.window, strict=True)):
            raise NetlistError(
                f"{layer} has windows of {self.window[0]} x {self.window[1]} pixels, which do not "
                f"tile its image of {self.image[0]} x {self.image[1]}. Take divisors of the "
                "image's sides."
            )
        taps = windows(self.image, self.window, stride=self.window)
        # One patch per window of every channel.
        rows = incoming[:, taps].transpose(1, 0, 2).reshape(len(taps), -1)
        new = builder.add_nodes(f"n{position}", rows.shape[1])
        device = FixedResistor(self.conductance)
        builder.add_patches(f"pool_{position}", device, rows, new[None, :])
        return new
