r"""Connections between two layers: a product with a weight, and a pool.

A connection adds $-\langle P(W \cdot s), t\rangle$ to the energy, with the state s of its source,
the state t of its target, and its pool P. This equals $-\langle W \cdot s, u\rangle$ with u the
target spread to where the pool took its values from, which is bilinear: what a layer and a weight
feel of the connection follows from it.

States are `batch unit` or `batch row column channel`, weights `[input, output]` or
`[row, column, input, output]`.
"""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError
from eqprop_spice.hopfield import winograd

WIDE = 64 * 64
"""Pairs of channels from which Winograd's algorithm is faster than the plain convolution: measured,
in both precisions, on processors with AVX2."""

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class AbstractEdge:
    """A connection from one layer to a later one.

    Attributes:
        name: Name of its weight's group.
        source: Number of the layer it comes from.
        target: Number of the layer it goes to.
        source_shape: Shape of a state there.
    """

    name: str
    source: int
    target: int
    source_shape: Shape

    @property
    def weight_shape(self) -> Shape:
        """Shape of the weight."""
        raise NotImplementedError

    @property
    def target_shape(self) -> Shape:
        """Shape of a state of the target."""
        raise NotImplementedError

    @property
    def num_products(self) -> int:
        """Multiplications of a product, by plain sums."""
        return math.prod(self.weight_shape)

    @property
    def pools_maxima(self) -> bool:
        """Whether its pool is not linear."""
        return False

    def product(self, weight: Array, source: Array) -> Array:
        r"""Return $W \cdot s$, before the pool."""
        raise NotImplementedError

    def pull(self, weight: Array, spread: Array) -> Array:
        r"""Return the derivative of $\langle W \cdot s, u\rangle$ by s, at a spread target u."""
        raise NotImplementedError

    def outer(self, source: Array, spread: Array) -> Array:
        r"""Return the derivative of $\langle W \cdot s, u\rangle$ by W, summed over the batch."""
        raise NotImplementedError

    def pool(self, product: Array) -> tuple[Array, Any]:
        """Return the pooled product, and the switches: where its values come from."""
        return product, ()

    def spread(self, target: Array, switches: Any) -> Array:
        """Return a target with every value where the pool took it from: the pool's transpose."""
        return target

    def prepared(self, weight: Array) -> Array:
        """Return what `forward` and `backward` need of a weight."""
        return weight

    def forward(self, prepared: Array, source: Array) -> tuple[Array, Any]:
        """Return the pooled product with a prepared weight, and the switches."""
        return self.pool(self.product(prepared, source))

    def backward(self, prepared: Array, target: Array, switches: Any) -> Array:
        """Return the pull of a target that is spread by switches."""
        return self.pull(prepared, self.spread(target, switches))


@dataclasses.dataclass(frozen=True)
class DenseEdge(AbstractEdge):
    """Every unit with every unit.

    Attributes:
        size: Units of the target.
    """

    size: int

    @property
    def weight_shape(self) -> Shape:
        """`[input, output]`."""
        return math.prod(self.source_shape), self.size

    @property
    def target_shape(self) -> Shape:
        """Units of the target."""
        return (self.size,)

    def product(self, weight, source):
        """Return the product of matrices."""
        return source.reshape(len(source), -1) @ weight

    def pull(self, weight, spread):
        """Return the product with the transposed matrix."""
        return (spread @ weight.T).reshape(len(spread), *self.source_shape)

    def outer(self, source, spread):
        """Return the sum of outer products."""
        return source.reshape(len(source), -1).T @ spread


@dataclasses.dataclass(frozen=True)
class ConvolutionEdge(AbstractEdge):
    """A convolution and a pool; attributes as of `layers.Convolution`."""

    channels: int
    kernel: int
    stride: int
    padding: int
    pooling: Literal["none", "max", "average"] = "none"
    window: int = 1

    def __post_init__(self) -> None:
        """Refuse windows that cannot be."""
        where = f"The connection from layer {self.source} to layer {self.target}"
        if len(self.source_shape) != 3:
            raise ConfigError(
                f"{where} is a convolution, but layer {self.source} holds no images. Set image to "
                "the channels, height and width of the inputs, or make layers dense from there on."
            )
        for name in ("channels", "kernel", "stride", "window"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{where} has {name} {getattr(self, name)}; it must be positive.")
        if not 0 <= self.padding < self.kernel:
            raise ConfigError(
                f"{where} has padding {self.padding} with a kernel of {self.kernel}; it must be "
                "from 0 to less than the kernel, or windows would cover no pixel."
            )
        height, width, _ = self.target_shape
        if min(height, width) < 1:
            rows, columns, _ = self.source_shape
            raise ConfigError(
                f"{where} leaves nothing of images of {rows} x {columns} pixels: kernel "
                f"{self.kernel}, stride {self.stride}, padding {self.padding}, pool window "
                f"{self.window}. Take smaller windows, more padding, or fewer pools before it."
            )

    @property
    def weight_shape(self) -> Shape:
        """`[row, column, input, output]`."""
        return self.kernel, self.kernel, self.source_shape[-1], self.channels

    @property
    def product_shape(self) -> Shape:
        """Shape of what the convolution makes, before the pool."""
        rows, columns, _ = self.source_shape
        sides = ((n + 2 * self.padding - self.kernel) // self.stride + 1 for n in (rows, columns))
        return *sides, self.channels

    @property
    def num_products(self) -> int:
        """Multiplications of a product, by plain sums."""
        rows, columns, _ = self.product_shape
        return rows * columns * math.prod(self.weight_shape)

    @property
    def target_shape(self) -> Shape:
        """Shape of what the pool makes."""
        rows, columns, channels = self.product_shape
        return rows // self.window, columns // self.window, channels

    @property
    def pools_maxima(self) -> bool:
        """Whether the pool takes the largest value of a window."""
        return self.pooling == "max"

    def product(self, weight, source):
        """Return the convolution."""
        return lax.conv_general_dilated(
            jnp.asarray(source),
            jnp.asarray(weight),
            (self.stride, self.stride),
            [(self.padding, self.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def pull(self, weight, spread):
        """Return the transposed convolution."""
        source = jax.ShapeDtypeStruct((len(spread), *self.source_shape), spread.dtype)
        return jax.linear_transpose(lambda s: self.product(weight, s), source)(spread)[0]

    def outer(self, source, spread):
        """Return the correlation of the two."""
        weight = jax.ShapeDtypeStruct(self.weight_shape, source.dtype)
        return jax.linear_transpose(lambda w: self.product(w, source), weight)(spread)[0]

    def pool(self, product):
        """Return maxima with their places in the windows, means, or the product itself."""
        if self.pooling == "none":
            return product, ()
        p, (rows, columns, _) = self.window, self.target_shape
        cropped = product[:, : rows * p, : columns * p]
        return self._chosen([cropped[:, i::p, j::p] for i in range(p) for j in range(p)])

    def spread(self, target, switches):
        """Return every value at its switch, or in equal parts in its window."""
        if self.pooling == "none":
            return target
        whole = interleaved(self._windows(target, switches))
        rim = [(0, n - m) for n, m in zip(self.product_shape, whole.shape[1:], strict=True)]
        return jnp.pad(whole, [(0, 0), *rim])

    @property
    def tiled(self) -> bool:
        """Whether sweeps take Winograd's algorithm, whose tiles are then the pool's windows."""
        rows, columns, channels = self.source_shape
        shape = (self.kernel, self.stride, self.padding) == (3, 1, 1)
        windows = self.pooling == "none" or self.window == 2
        even = rows % 2 == columns % 2 == 0
        return shape and windows and even and channels * self.channels >= WIDE

    def prepared(self, weight):
        """Return a weight, transformed where sweeps are tiled."""
        return winograd.transformed(weight) if self.tiled else weight

    def forward(self, prepared, source):
        """Return the pooled product, and the switches."""
        if not self.tiled:
            return super().forward(prepared, source)
        windows = winograd.product(prepared, source)
        if self.pooling == "none":
            return interleaved(windows), ()
        return self._chosen([part for row in windows for part in row])

    def backward(self, prepared, target, switches):
        """Return the pull of a target that is spread."""
        if not self.tiled:
            return super().backward(prepared, target, switches)
        if self.pooling == "none":
            windows = [[target[:, i::2, j::2] for j in range(2)] for i in range(2)]
        else:
            windows = self._windows(target, switches)
        return winograd.pull(prepared, windows)

    def _windows(self, target, switches) -> winograd.Grid:
        """Return what the pool's transpose puts at each place of its windows."""
        p = self.window
        if self.pooling == "average":
            return [[target / p**2] * p] * p
        places = np.arange(p**2, dtype=np.int8).reshape(p, p)
        return [[jnp.where(switches == place, target, 0) for place in row] for row in places]

    def _chosen(self, parts):
        """Return what the pool makes of windows, place by place, and where it comes from."""
        if self.pooling == "average":
            return sum(parts) / len(parts), ()
        value, switches = parts[0], jnp.zeros(parts[0].shape, np.int8)
        for place, part in enumerate(parts):
            larger = part > value
            value = jnp.where(larger, part, value)
            switches = jnp.where(larger, np.int8(place), switches)
        return value, switches


def interleaved(grid: winograd.Grid) -> Array:
    """Return images of one pixel of every window as the whole images."""
    whole = jnp.stack([jnp.stack(row, axis=3) for row in grid], axis=2)
    batch, height, rows, width, columns, channels = whole.shape
    return whole.reshape(batch, rows * height, columns * width, channels)
