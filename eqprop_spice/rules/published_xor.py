"""The update of the public XOR code that accompanies the seed paper, with its conventions.

Use it to reproduce that code and to take its conventions away one by one; train with
`equilibrium_propagation.EquilibriumPropagation`.
"""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.pairs import Pairs, check_pairs
from eqprop_spice.rules.base import AbstractRule, Estimate
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.power_computation import PowerComputation


@dataclasses.dataclass(frozen=True)
class PublishedXor(AbstractRule):
    r"""N-EP on signed coefficients, with the updates of the first layer in another order.

    The code's nudge `I y 0 {beta (t - y)}` pulls its current out of the output, so it nudges away
    from the target, and the sign of its update makes it N-EP. The drops of the first layer are
    collected per hidden node (R1, R3, R5, R2, R4, R6) and added to G1 to G6.

    Attributes:
        pairs: By group name, pairs of rows of which one is switched off.
        floor: The conductance of a resistor that is switched off [S].
        beta: Strength of the nudge [S].
        permuted: Whether the updates of `dense_0` keep the code's order.
        method: The code's VDM, or its PCM, whose updates are in their place.

    References:
        Kiraz, Pham and Desgreys; repository eqprop-non-sum-separable-energy-consideration.
    """

    pairs: Pairs
    floor: float = 1e-12
    beta: float | Array = 1e-6
    permuted: bool = True
    method: Literal["voltage_drops", "power"] = "voltage_drops"

    @property
    def _rule(self) -> AbstractRule:
        if self.method == "power":
            return PowerComputation(self.beta)
        return EquilibriumPropagation("negative", self.beta)

    @property
    def nudge_strength(self) -> Any:
        """Beta [S]."""
        return self.beta

    def nudged_by(self, beta: Any) -> "PublishedXor":
        """Return this rule with another beta [S]."""
        return dataclasses.replace(self, beta=beta)

    @property
    def needs(self) -> frozenset[str]:
        """What its method needs."""
        return self._rule.needs

    def phases(self, targets, cost):
        """Return the phases of its method."""
        return self._rule.phases(targets, cost)

    def check_shapes(self, shapes):
        """Refuse pairs of rows that the layers do not have."""
        check_pairs(self.pairs, self.floor, shapes)

    def __call__(
        self, substrate, params, inputs, targets, cost, *, start=None, key=None
    ) -> Estimate:
        """Return the gradient on the active member of every pair; see `AbstractRule`."""
        estimate = self._rule(substrate, params, inputs, targets, cost, start=start, key=key)
        gradient = {}
        for name, pairs in self.pairs.items():
            value, slope = jnp.asarray(params[name]), jnp.asarray(estimate.gradient[name])
            plus, minus = (jnp.array(rows) for rows in zip(*pairs, strict=True))
            positive = value[minus] == self.floor
            active = jnp.where(positive, slope[plus], slope[minus])
            if self.permuted and self.method == "voltage_drops" and name == "dense_0":
                active = active.T.reshape(active.shape)
            placed = jnp.zeros_like(slope).at[plus].set(jnp.where(positive, active, 0.0))
            gradient[name] = placed.at[minus].set(jnp.where(positive, 0.0, active))
        return dataclasses.replace(estimate, gradient=gradient)
