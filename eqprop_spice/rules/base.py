"""What a learning rule is: an estimate of the gradient of the loss from settled states."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.core import Tracer
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Force, Free
from eqprop_spice.substrates.base import ABILITIES, AbstractSubstrate, Params

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
        state: The state in the free phase.
    """

    gradient: dict[str, Array]
    outputs: Float[Array, "batch output"]
    converged: Bool[Array, " batch"]
    state: Any = None


@dataclasses.dataclass(frozen=True)
class FreeState:
    """The free state of a batch, and what the cost says of it.

    Attributes:
        state: The state.
        outputs: Its outputs [V].
        converged: Where it settled.
        slopes: The slope of the cost by the outputs; zero where it did not settle.
    """

    state: Any
    outputs: Float[Array, "batch output"]
    converged: Bool[Array, " batch"]
    slopes: Float[Array, "batch output"]


def settle_free(
    substrate: AbstractSubstrate,
    params: Params,
    inputs: Float[Array, "batch ..."],
    targets: Float[Array, "batch output"],
    *,
    cost: AbstractCost,
    start: Any,
) -> FreeState:
    """Return the free state and the slope of the cost there; see `AbstractRule`."""
    (free,) = substrate.settle(params, inputs, [Free()], start=start)
    outputs, converged = substrate.outputs(free.state), free.converged
    xp = outputs.__array_namespace__()
    slopes = xp.where(converged[:, None], cost.gradient(outputs, targets), 0.0)
    return FreeState(free.state, outputs, converged, slopes)


def is_positive(value: Any) -> bool:
    """Whether a number is finite and positive; one that JAX traces has no value yet to refuse."""
    return isinstance(value, Tracer) or (math.isfinite(value) and value > 0)


@dataclasses.dataclass(frozen=True)
class AbstractRule:
    """Estimates the gradient of the loss."""

    def __call__(
        self,
        substrate: AbstractSubstrate,
        params: Params,
        inputs: Float[Array, "batch ..."],
        targets: Float[Array, "batch output"],
        cost: AbstractCost,
        *,
        start: Any = None,
        key: Any = None,
    ) -> Estimate:
        """Settle the substrate as the rule demands, and return the gradient estimate.

        Args:
            substrate: The system that learns.
            params: Its parameters by group name.
            inputs: Inputs; source voltages [V] of a circuit.
            targets: Target of every output [V].
            cost: The cost of one output vector.
            start: The state that the free phase starts from; the substrate's own if None.
            key: Random key of the states, where the substrate is random.
        """
        raise NotImplementedError

    @property
    def nudge_strength(self) -> Any:
        """The strength beta of its nudge [S]; None of a rule that has none to choose."""
        return None

    def nudged_by(self, beta: Any) -> "AbstractRule":
        """Return this rule with another strength of its nudge [S], where it has one."""
        return self

    @property
    def needs(self) -> frozenset[str]:
        """What a substrate must be able to do for this rule, as names of `ABILITIES`."""
        raise NotImplementedError

    @property
    def allows_read_noise(self) -> bool:
        """Whether the rule reads every phase it compares, so that readings may be noisy."""
        return True

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse parameters that this rule has no gradient of; most take any.

        Raises:
            ConfigError: If so.
        """

    def check_cost(self, cost: AbstractCost) -> None:
        """Refuse a cost that this rule cannot nudge along; most rules take any.

        Raises:
            ConfigError: If so, with what to use instead.
        """

    def check_substrate(self, substrate: AbstractSubstrate) -> None:
        """Refuse a substrate that cannot do what this rule needs.

        Raises:
            ConfigError: If so, naming what is missing.
        """
        missing = sorted(self.needs - substrate.abilities)
        if missing:
            raise ConfigError(
                f"{type(self).__name__} needs a system that can {ABILITIES[missing[0]]}, and "
                f"{type(substrate).__name__} cannot. Choose a rule that does not need it, such as "
                "equilibrium_propagation.EquilibriumPropagation."
            )
        if substrate.random and not self.allows_read_noise:
            raise ConfigError(
                f"{type(self).__name__} does not compare readings that could be noisy. Use "
                "equilibrium_propagation.EquilibriumPropagation with read noise."
            )

    def phases(
        self, targets: Float[Array, "batch output"], cost: AbstractCost
    ) -> list[AbstractPhase | AbstractNudge]:
        """Return the phases that this rule settles a substrate in after the free one."""
        return []

    def shown_phase(
        self,
        outputs: Float[Array, "batch output"],
        targets: Float[Array, "batch output"],
        cost: AbstractCost,
    ) -> AbstractPhase:
        """Return a phase of this rule at given free outputs, to write as a netlist."""
        *_, last = self.phases(targets, cost) or [
            Force(-SHOWN_BETA * cost.gradient(outputs, targets))
        ]
        return last if isinstance(last, AbstractPhase) else last(outputs, slice(None))
