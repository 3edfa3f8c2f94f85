"""Groups of resistors as matrices from nodes to nodes, which the layered plan multiplies."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.groups import Group
from eqprop_spice.circuits.layouts import Pairs, Product


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """A group as the dense block that has zeros where the group has no resistor.

    Attributes:
        group: The group.
        layout: Every node of the group's first terminals once, and every one of its second.
        places: Where in the raveled block each instance stands; None if the group is dense.
    """

    group: Group
    layout: Product
    places: Int[np.ndarray, " instance"] | None

    def matrix(self, params: Mapping[str, Array]) -> Float[Array, "first second"]:
        """Return the conductances between all nodes [S]; parallel resistors are summed."""
        values = jnp.asarray(self.group.conductances(params))
        if self.places is None:
            return values
        rows, columns = self.layout.shape
        return jnp.zeros(rows * columns).at[self.places].add(values.ravel()).reshape(rows, columns)


def block_of(group: Group) -> Block | None:
    """Return a group as a block; None for single pairs, which need not lead from layer to layer."""
    layout = group.layout
    if isinstance(layout, Product):
        return Block(group, layout, None)
    if isinstance(layout, Pairs):
        return None
    first, second = layout.pairs()
    one, rows = np.unique(first, return_inverse=True)
    two, columns = np.unique(second, return_inverse=True)
    return Block(group, Product(one, two), rows * len(two) + columns)
