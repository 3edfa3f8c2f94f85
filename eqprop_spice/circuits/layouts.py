"""Where the instances of a group of devices sit, and how their currents are summed.

A layout says which nodes each instance of a device connects, and which parameter it has. In all but
`Shared` every instance has a parameter of its own; there several have the same one, so that its
derivative is the sum over them.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from eqprop_spice.arrays import Array

GROUND = 0
"""Index of the ground node."""


def add_at(array: Array, indices: np.ndarray, values: Array) -> Array:
    """Return the array with values added at indices of its last axis (repeats accumulate)."""
    if isinstance(array, np.ndarray):
        where: Any = (..., indices)  # numpy's stub leaves out tuples
        np.add.at(array, where, values)
        return array
    return array.at[..., indices].add(values)


def take_columns(matrix: Array, columns: np.ndarray) -> Array:
    """Return columns of a matrix; of JAX's, slices where they run in a few stretches."""
    if isinstance(matrix, np.ndarray):
        return matrix[:, columns]
    breaks = np.flatnonzero(np.diff(columns) != 1) + 1
    if len(breaks) > len(columns) // 8:
        return matrix[:, columns]
    stretches = np.split(columns, breaks)
    parts = [matrix[:, int(s[0]) : int(s[-1]) + 1] for s in stretches if len(s)]
    return parts[0] if len(parts) == 1 else matrix.__array_namespace__().concatenate(parts, axis=1)


FEW_PRODUCTS = 8
"""Up to so many outer products are written out for XLA, which fuses them with what becomes of their
sum; the general matrix product of a minibatch of 4 takes more time than the fused loop."""


@dataclasses.dataclass(frozen=True, eq=False)
class AbstractLayout:
    """Which nodes the instances of a device connect, and which parameter each has.

    Unless a layout says otherwise, every instance has a parameter of its own.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameters."""
        raise NotImplementedError

    @property
    def wiring(self) -> "AbstractLayout":
        """The same instances with a parameter each; its shape is that of all instances."""
        return self

    def terminals(self) -> tuple[Int[np.ndarray, " instance"], ...]:
        """Return every terminal's node of each instance, as `wiring`'s raveled parameters go."""
        raise NotImplementedError

    def pairs(self) -> tuple[Int[np.ndarray, " instance"], Int[np.ndarray, " instance"]]:
        """Return both nodes of every instance of a device with two terminals."""
        first, second = self.terminals()
        return first, second

    def instance_names(self) -> list[str]:
        """Return the suffix of every instance's name."""
        return ["_".join(map(str, place)) for place in np.ndindex(self.wiring.shape)]

    def instance_values(self, parameters: Array) -> Array:
        """Return the parameter of every instance, in the shape of `wiring`."""
        return parameters

    def parameter_means(self, values: Array) -> Array:
        """Return the mean over the instances of each parameter."""
        return values

    def instances_of(self, position: int) -> list[int]:
        """Return which instances have a parameter, given its position in the raveled array."""
        return [position]


@dataclasses.dataclass(frozen=True, eq=False)
class AbstractTwoSided(AbstractLayout):
    """A layout of devices with two terminals, whose currents are summed on either side.

    Attributes:
        first: Nodes of the instances' first terminals, each as often as currents are summed for it.
        second: Nodes of their second terminals.
    """

    first: Int[np.ndarray, " first"]
    second: Int[np.ndarray, " second"]

    @property
    def wiring(self) -> "AbstractTwoSided":
        """The same instances with a parameter each; its shape is that of all instances."""
        return self

    def linear_currents(self, v: Float[Array, "batch node"], g: Array) -> tuple[Array, Array]:
        """Return `(current out of first, current out of second)` of conductances g, by GEMM."""
        raise NotImplementedError

    def conductance_sums(self, g: Array) -> tuple[Array, Array]:
        """Return the sum of conductances g at every node of `first` and of `second`."""
        raise NotImplementedError

    def voltage_drop_product(
        self,
        mean: Float[Array, "batch node"],
        change: Float[Array, "batch node"],
        weights: Array | float = 1.0,
        still: Bool[np.ndarray, " node"] | None = None,
    ) -> Array:
        """Return the batch mean of weight x (drop of `mean`) x (drop of `change`), by parameter.

        Args:
            mean: Voltages of all nodes [V].
            change: Other voltages, or changes, of all nodes [V].
            weights: One number, or one for every instance.
            still: Nodes whose change is known to be zero, which saves work; None if none is.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, eq=False)
class Product(AbstractTwoSided):
    """All pairs of two lists of nodes: a dense block, instances `[first, second]`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of instances along each axis."""
        return (len(self.first), len(self.second))

    def terminals(self) -> tuple[Int[np.ndarray, " instance"], Int[np.ndarray, " instance"]]:
        """Return both nodes of every instance, in the order of the raveled parameters."""
        return (
            np.repeat(self.first, len(self.second)),
            np.tile(self.second, len(self.first)),
        )

    def linear_currents(self, v, g):
        """Return `(current out of first, current out of second)` of conductances g, by GEMM."""
        a, b = v[..., self.first], v[..., self.second]
        return a * g.sum(1) - b @ g.T, b * g.sum(0) - a @ g

    def conductance_sums(self, g):
        """Return the sum of conductances g at every node of `first` and of `second`."""
        return g.sum(1), g.sum(0)

    def voltage_drop_product(self, mean, change, weights=1.0, still=None):
        """Return the batch mean of weight x (drop of `mean`) x (drop of `change`).

        The four terms of $(a - b)(a' - b')$ are a sum of outer products: for small batches,
        reading and writing the result is what takes the time.
        """
        xp = mean.__array_namespace__()
        a, b = take_columns(mean, self.first), take_columns(mean, self.second)
        da, db = take_columns(change, self.first), take_columns(change, self.second)
        left = [a, xp.ones((1, a.shape[1]))]
        right = [-db, (b * db).sum(0)[None, :]]
        if still is None or not still[self.first].all():
            left += [da, (a * da).sum(0)[None, :]]
            right += [-b, xp.ones((1, b.shape[1]))]
        rows, columns = xp.concatenate(left), xp.concatenate(right) / mean.shape[0]
        if xp is not np and len(rows) <= FEW_PRODUCTS:
            return sum(a[:, None] * b for a, b in zip(rows, columns, strict=True)) * weights
        return rows.T @ columns * weights


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs(AbstractTwoSided):
    """One pair of nodes per instance, instances `[instance]`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of instances."""
        return (len(self.first),)

    def terminals(self) -> tuple[Int[np.ndarray, " instance"], Int[np.ndarray, " instance"]]:
        """Return both nodes of every instance."""
        return self.first, self.second

    def linear_currents(self, v, g):
        """Return `(current out of first, current out of second)` of conductances g."""
        current = g * (v[..., self.first] - v[..., self.second])
        return current, -current

    def conductance_sums(self, g):
        """Return the conductances g at every node of `first` and of `second`."""
        return g, g

    def voltage_drop_product(self, mean, change, weights=1.0, still=None):
        """Return the batch mean of weight x (drop of `mean`) x (drop of `change`)."""
        drop = mean[..., self.first] - mean[..., self.second]
        drop_change = change[..., self.first] - change[..., self.second]
        return (drop * drop_change).mean(0) * weights


@dataclasses.dataclass(frozen=True, eq=False)
class Patches(AbstractTwoSided):
    """Dense blocks side by side, instances `[row, column, patch]`.

    In each patch every row connects to every column. `first` holds the nodes `[row, patch]`,
    raveled, and `second` the nodes `[column, patch]`.

    Attributes:
        num_patches: Number of blocks.
    """

    num_patches: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of instances along each axis."""
        sizes = (len(nodes) // self.num_patches for nodes in (self.first, self.second))
        return (*sizes, self.num_patches)

    def terminals(self) -> tuple[Int[np.ndarray, " instance"], Int[np.ndarray, " instance"]]:
        """Return both nodes of every instance, in the order of the raveled parameters."""
        first = self.first.reshape(-1, 1, self.num_patches)
        second = self.second.reshape(1, -1, self.num_patches)
        return (
            np.broadcast_to(first, self.shape).ravel(),
            np.broadcast_to(second, self.shape).ravel(),
        )

    def _by_patch(self, v, nodes: np.ndarray):
        """Return the voltages at `[row, patch]` nodes, `patch batch row`."""
        voltages = v[:, nodes].reshape(len(v), -1, self.num_patches)
        return voltages.__array_namespace__().moveaxis(voltages, -1, 0)

    def linear_currents(self, v, g):
        """Return `(current out of first, current out of second)` of conductances g, by GEMM.

        The last axis of g may have length 1: the same conductances in every patch.
        """
        xp = v.__array_namespace__()
        g = xp.moveaxis(g, -1, 0)
        a, b = self._by_patch(v, self.first), self._by_patch(v, self.second)
        currents = (
            a * g.sum(2)[:, None, :] - b @ xp.swapaxes(g, 1, 2),
            b * g.sum(1)[:, None, :] - a @ g,
        )
        one, two = (xp.moveaxis(c, 0, -1).reshape(len(v), -1) for c in currents)
        return one, two

    def conductance_sums(self, g):
        """Return the sum of conductances g at every node of `first` and of `second`."""
        return g.sum(1).ravel(), g.sum(0).ravel()

    def voltage_drop_product(self, mean, change, weights=1.0, still=None):
        """Return the batch mean of weight x (drop of `mean`) x (drop of `change`)."""
        xp = mean.__array_namespace__()
        a, b = self._by_patch(mean, self.first), self._by_patch(mean, self.second)
        da, db = self._by_patch(change, self.first), self._by_patch(change, self.second)
        product = (a * da).sum(1)[:, :, None] + (b * db).sum(1)[:, None, :]
        product = product - xp.swapaxes(a, 1, 2) @ db - xp.swapaxes(da, 1, 2) @ b
        return xp.moveaxis(product, 0, -1) / mean.shape[0] * weights


@dataclasses.dataclass(frozen=True, eq=False)
class Shared(AbstractTwoSided):
    """Patches that all have the same parameters, `[row, column]`: the kernel of a convolution.

    Attributes:
        num_patches: Number of blocks; see `Patches`.
    """

    num_patches: int

    @functools.cached_property
    def wiring(self) -> Patches:
        """The same instances with a parameter each."""
        return Patches(self.first, self.second, self.num_patches)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of parameters along each axis."""
        return self.wiring.shape[:2]

    def terminals(self) -> tuple[Int[np.ndarray, " instance"], Int[np.ndarray, " instance"]]:
        """Return both nodes of every instance, patch by patch of the first parameter first."""
        return self.wiring.terminals()

    def instance_values(self, parameters):
        """Return the parameter of every instance, `[row, column, patch]`."""
        xp = parameters.__array_namespace__()
        return xp.broadcast_to(parameters[:, :, None], self.wiring.shape)

    def parameter_means(self, values):
        """Return the mean over the instances of each parameter, `[row, column]`."""
        return values.mean(2)

    def instances_of(self, position: int) -> list[int]:
        """Return which instances have a parameter, given its position in the raveled array."""
        return list(range(position * self.num_patches, (position + 1) * self.num_patches))

    def linear_currents(self, v, g):
        """Return `(current out of first, current out of second)` of conductances g, by GEMM."""
        return self.wiring.linear_currents(v, g[:, :, None])

    def conductance_sums(self, g):
        """Return the sum of conductances g at every node of `first` and of `second`."""
        return self.wiring.conductance_sums(self.instance_values(g))

    def voltage_drop_product(self, mean, change, weights=1.0, still=None):
        """Return the batch mean of weight x (drop of `mean`) x (drop of `change`), `[row, column]`.

        A parameter acts through all its instances: each is weighted, then they are summed.
        """
        return self.wiring.voltage_drop_product(mean, change, weights, still).sum(2)


@dataclasses.dataclass(frozen=True, eq=False)
class Tuples(AbstractLayout):
    """One node per terminal and instance, for devices with any number of terminals.

    Attributes:
        nodes: The nodes.
    """

    nodes: Int[np.ndarray, "terminal instance"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of instances."""
        return self.nodes.shape[1:]

    def terminals(self) -> tuple[Int[np.ndarray, " instance"], ...]:
        """Return every terminal's node of each instance."""
        return tuple(self.nodes)
