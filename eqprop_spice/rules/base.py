"""What a learning rule is: an estimate of the gradient of the loss from settled states."""

import dataclasses
from typing import Any

import jax
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.phases import AbstractPhase, Force, Free
from eqprop_spice.substrates.base import AbstractSubstrate, Params

SHOWN_BETA = 1e-4
"""Strength [S] of the nudge in the netlists of rules that have no beta of their own."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Estimate:
    """The estimated gradient of the mean cost over the samples that settled.

    Attributes:
        gradient: dC/dg by group name; it points uphill.
        outputs: Outputs in the free phase [V]; NaN where it did not converge.
        converged: Which samples converged in every phase; only they enter the gradient.
    """

    gradient: dict[str, Array]
    outputs: Float[Array, "batch output"]
    converged: Bool[Array, " batch"]


def free_slopes(
    substrate: AbstractSubstrate,
    params: Params,
    inputs: Float[Array, "batch input"],
    targets: Float[Array, "batch output"],
    cost: AbstractCost,
) -> tuple[Any, Float[Array, "batch output"], Bool[Array, " batch"], Float[Array, "batch output"]]:
    """Return the free state, its outputs, where it settled, and the slope of the cost there."""
    (free,) = substrate.settle(params, inputs, [Free()])
    outputs = substrate.outputs(free)
    converged = substrate.converged(free)
    xp = outputs.__array_namespace__()
    slopes = xp.where(converged[:, None], cost.gradient(outputs, targets), 0.0)
    return free, outputs, converged, slopes


@dataclasses.dataclass(frozen=True)
class AbstractRule:
    """Estimates the gradient of the loss."""

    def __call__(
        self,
        substrate: AbstractSubstrate,
        params: Params,
        inputs: Float[Array, "batch input"],
        targets: Float[Array, "batch output"],
        cost: AbstractCost,
    ) -> Estimate:
        """Settle the substrate as the rule demands, and return the gradient estimate.

        Args:
            substrate: The system that learns.
            params: Its parameters by group name.
            inputs: Source voltages [V].
            targets: Target of every output [V].
            cost: The cost of one output vector.
        """
        raise NotImplementedError

    @property
    def bears_read_noise(self) -> bool:
        """Whether the rule reads every phase it compares, so that readings may be noisy."""
        return True

    def check_cost(self, cost: AbstractCost) -> None:
        """Refuse a cost that this rule cannot nudge along; most rules take any.

        Raises:
            ConfigError: If so, with what to use instead.
        """

    def displacement(
        self,
        outputs: Float[Array, "batch output"],
        targets: Float[Array, "batch output"],
        cost: AbstractCost,
    ) -> Float[Array, "batch output"] | None:
        """Return by how much this rule displaces the outputs and holds them [V]; None if not."""
        return None

    def nudged_phase(
        self,
        outputs: Float[Array, "batch output"],
        targets: Float[Array, "batch output"],
        cost: AbstractCost,
    ) -> AbstractPhase:
        """Return a nudged phase of this rule at given free outputs, to write as a netlist."""
        return Force(-SHOWN_BETA * cost.gradient(outputs, targets))
