"""Convolutions of conductances, with and without shared conductances."""

import dataclasses
from typing import ClassVar

import numpy as np

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.base import AbstractLayer
from eqprop_spice.layers.images import check_positive, planes, windows


@dataclasses.dataclass(frozen=True)
class AbstractConvolution(AbstractLayer):
    r"""Resistors from every window of the previous layer's images to one new node per channel.

    What comes in counts channel by channel, row by row; doubled inputs and inverted amplifiers
    double the channels. So does what goes out, with
    $\lfloor (H + 2\,padding - h)/stride \rfloor + 1$ rows for a kernel of h rows.

    With $v_t$ the voltages under the taps and the biases, a node that nothing else is connected to
    is at $\sum_t g_t v_t / \sum_t g_t$: a convolution that is divided by the sum of its
    conductances. A tap outside the image is a resistor to ground: it delivers nothing, but counts
    in that sum, so that nodes at the rim stay comparable with the others.

    Attributes:
        image: Height and width of the images that come in [pixels].
        channels: Number of new nodes per window.
        kernel: Height and width of a window [pixels].
        stride: Distance between windows [pixels].
        padding: Width of the frame of zeros around the image [pixels].
        bias: Voltages [V] of constant sources that join every window.
    """

    image: tuple[int, int]
    channels: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: int = 0
    bias: tuple[float, ...] = ()

    group: ClassVar[str]
    """How the names of the resistors begin."""
    shared: ClassVar[bool]
    """Whether all windows have the same conductances."""

    def attach(self, builder: CircuitBuilder, nodes: np.ndarray, position: int) -> np.ndarray:
        """Add nodes `n<position>_j` and resistors named after `group` and the position.

        Their names end with tap, channel and window. Taps count by incoming channel, row and
        column, then the biases.
        """
        layer = f"{type(self).__name__} layer {position}"
        incoming = planes(nodes, self.image, layer)
        self._check(layer)
        taps = windows(
            self.image, self.kernel, stride=(self.stride, self.stride), padding=self.padding
        )
        count = taps.shape[1]
        # The last pixel of every plane, which OUTSIDE stands for, is ground.
        framed = np.pad(incoming, ((0, 0), (0, 1)), constant_values=GROUND)
        rows = framed[:, taps].reshape(-1, count)
        if self.bias:
            sources = builder.add_nodes(f"b{position}", len(self.bias))
            builder.add_constants(f"bias_{position}", sources, self.bias)
            rows = np.concatenate([rows, np.repeat(sources[:, None], count, axis=1)])
        new = builder.add_nodes(f"n{position}", self.channels * count)
        columns = new.reshape(self.channels, count)
        name = f"{self.group}_{position}"
        builder.add_patches(name, Resistor(), rows, columns, shared=self.shared)
        return new

    def _check(self, layer: str) -> None:
        """Refuse windows that cannot be.

        Raises:
            NetlistError: If so.
        """
        height, width = self.kernel
        check_positive(
            layer,
            channels=self.channels,
            kernel_height=height,
            kernel_width=width,
            stride=self.stride,
        )
        if not 0 <= self.padding < min(self.kernel):
            raise NetlistError(
                f"{layer} has padding {self.padding} with a kernel of {height} x {width}; it must "
                "be from 0 to less than the kernel's sides, or windows would cover no pixel."
            )
        if any(k > n + 2 * self.padding for k, n in zip(self.kernel, self.image, strict=True)):
            raise NetlistError(
                f"{layer} has a kernel of {height} x {width} pixels, larger than its image of "
                f"{self.image[0]} x {self.image[1]} with padding {self.padding}. Take a smaller "
                "kernel, or set image to what the layer before it ends with."
            )


@dataclasses.dataclass(frozen=True)
class Convolution(AbstractConvolution):
    """A convolution: all windows share their conductances, `[tap, channel]`."""

    group = "conv"
    shared = True


@dataclasses.dataclass(frozen=True)
class LocallyConnected(AbstractConvolution):
    """The wiring of a convolution, each resistor by itself: conductances `[tap, channel, window]`.

    This is what is built where no two devices can be told to be equal.
    """

    group = "local"
    shared = False
