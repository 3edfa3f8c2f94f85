"""Groups of like devices on numbered nodes, and how currents of all their instances are summed."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.devices.base import AbstractTwoTerminal

GROUND = 0
"""Index of the ground node."""


def add_at(array: Array, indices: np.ndarray, values: Array) -> Array:
    """Return the array with values added at indices of its last axis (repeats accumulate)."""
    if isinstance(array, np.ndarray):
        where: Any = (..., indices)  # numpy's stub leaves out tuples
        np.add.at(array, where, values)
        return array
    return array.at[..., indices].add(values)


@dataclasses.dataclass(frozen=True, eq=False)
class Product:
    """All pairs of two lists of nodes: a dense block, instances `[first, second]`."""

    first: Int[np.ndarray, " first"]
    second: Int[np.ndarray, " second"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of instances along each axis."""
        return (len(self.first), len(self.second))

    def pairs(self) -> tuple[Int[np.ndarray, " instance"], Int[np.ndarray, " instance"]]:
        """Return both nodes of every instance, in the order of the raveled parameters."""
        return (
            np.repeat(self.first, len(self.second)),
            np.tile(self.second, len(self.first)),
        )

    def instance_names(self) -> list[str]:
        """Return the suffix of every instance's name."""
        return [f"{i}_{j}" for i in range(len(self.first)) for j in range(len(self.second))]

    def linear_currents(self, v, g):
        """Return `(current out of first, current out of second)` of conductances g, by GEMM."""
        a, b = v[..., self.first], v[..., self.second]
        return a * g.sum(1) - b @ g.T, b * g.sum(0) - a @ g

    def voltage_drop_product(self, mean, change):
        """Return the batch mean of (drop of `mean`) x (drop of `change`), `[first, second]`.

        The four terms of $(a - b)(a' - b')$ are one matrix product: for small batches, reading and
        writing the result is what takes the time.
        """
        xp = mean.__array_namespace__()
        a, b = mean[:, self.first], mean[:, self.second]
        da, db = change[:, self.first], change[:, self.second]
        one_a, one_b = xp.ones((1, a.shape[1])), xp.ones((1, b.shape[1]))
        left = xp.concatenate([a, da, (a * da).sum(0)[None, :], one_a])
        right = xp.concatenate([-db, -b, one_b, (b * db).sum(0)[None, :]])
        return left.T @ (right / mean.shape[0])


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """One pair of nodes per instance, instances `[instance]`."""

    first: Int[np.ndarray, " instance"]
    second: Int[np.ndarray, " instance"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of instances."""
        return (len(self.first),)

    def pairs(self) -> tuple[Int[np.ndarray, " instance"], Int[np.ndarray, " instance"]]:
        """Return both nodes of every instance."""
        return self.first, self.second

    def instance_names(self) -> list[str]:
        """Return the suffix of every instance's name."""
        return [str(i) for i in range(len(self.first))]

    def linear_currents(self, v, g):
        """Return `(current out of first, current out of second)` of conductances g."""
        current = g * (v[..., self.first] - v[..., self.second])
        return current, -current

    def voltage_drop_product(self, mean, change):
        """Return the batch mean of (drop of `mean`) x (drop of `change`), `[instance]`."""
        drop = mean[..., self.first] - mean[..., self.second]
        drop_change = change[..., self.first] - change[..., self.second]
        return (drop * drop_change).mean(0)


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Like two-terminal devices: one device law, many instances."""

    name: str
    device: AbstractTwoTerminal
    layout: Product | Pairs


@dataclasses.dataclass(frozen=True, eq=False)
class Sources:
    """Ideal voltage sources to ground: `scale` times an input, or just `scale` [V].

    Attributes:
        name: Group name.
        nodes: The node each source holds.
        columns: Which input it follows; -1 for a constant source.
        scales: Factor of the input, or the constant voltage [V].
    """

    name: str
    nodes: Int[np.ndarray, " instance"]
    columns: Int[np.ndarray, " instance"]
    scales: Float[np.ndarray, " instance"]


@dataclasses.dataclass(frozen=True, eq=False)
class Amplifiers:
    r"""Bidirectional amplifiers: a VCVS forwards, a CCCS backwards.

    $v_{out} = A (v_{in} + o)$, and $\kappa I_{out}$ is drawn at the input, where $I_{out}$ is
    the current that the amplifier delivers at its output.

    Attributes:
        name: Group name.
        inputs: Input nodes.
        outputs: Output nodes.
        gains: A.
        reflections: kappa.
        offsets: o [V]; zero for all if one number.
    """

    name: str
    inputs: Int[np.ndarray, " instance"]
    outputs: Int[np.ndarray, " instance"]
    gains: Float[np.ndarray, " instance"]
    reflections: Float[np.ndarray, " instance"]
    offsets: Float[np.ndarray, " instance"] | float = 0.0
