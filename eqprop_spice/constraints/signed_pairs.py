"""Signed coefficients as pairs of conductances, of which one is switched off."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.pairs import Pairs, check_pairs
from eqprop_spice.constraints.base import AbstractConstraint


@dataclasses.dataclass(frozen=True)
class SignedPairs(AbstractConstraint):
    """Of two rows at opposite voltages, at most one conducts, as if the source changed its sign.

    A conductance that an update drives below `floor` is switched off, and its partner takes over
    with what it fell below zero.

    Attributes:
        pairs: By group name, pairs of rows.
        floor: The conductance of a resistor that is switched off [S].
    """

    pairs: Pairs
    floor: float = 1e-12

    def check_shapes(self, shapes) -> None:
        """Refuse pairs of rows that the layers do not have."""
        check_pairs(self.pairs, self.floor, shapes)

    def __call__(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """Return the conductances with every sign resolved."""
        resolved = dict(params)
        for name, pairs in self.pairs.items():
            value = jnp.asarray(params[name])
            for positive, negative in pairs:
                signed = signed_row(value, positive, negative, self.floor)
                value = value.at[positive].set(jnp.maximum(signed, self.floor))
                value = value.at[negative].set(jnp.maximum(-signed, self.floor))
            resolved[name] = value
        return resolved


def signed_row(value: Array, positive: int, negative: int, floor: float) -> Array:
    """Return the signed coefficient of a pair of rows: the active member, with its sign."""
    return jnp.where(value[negative] == floor, value[positive], -value[negative])
