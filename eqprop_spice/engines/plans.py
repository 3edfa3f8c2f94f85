"""What a plan is: the way in which the native engine solves one circuit."""

import dataclasses
from collections.abc import Mapping, Sequence

from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.phases import AbstractNudge, AbstractPhase
from eqprop_spice.settled import OperatingPoint


@dataclasses.dataclass(frozen=True, eq=False)
class AbstractPlan:
    """Settles one circuit; what it has compiled lives as long as it does."""

    @property
    def vectorizable(self) -> bool:
        """Whether it runs under `jax.vmap` over conductances."""
        return False

    def settle(
        self,
        params: Mapping[str, Array],
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | AbstractNudge],
    ) -> list[OperatingPoint]:
        """Find the operating point of every sample in every phase; see `AbstractEngine`."""
        raise NotImplementedError

    def respond(
        self,
        params: Mapping[str, Array],
        voltages: Float[Array, "batch node"],
        currents: Float[Array, "batch output"],
    ) -> Float[Array, "batch node"]:
        """Return the small-signal change of all node voltages [V]; see `AbstractEngine`."""
        raise NotImplementedError

    def adjoint(
        self,
        params: Mapping[str, Array],
        voltages: Float[Array, "batch node"],
        gradient: Float[Array, "batch output"],
    ) -> Float[Array, "batch node"]:
        """Return the multipliers of all nodes; see `AbstractEngine`."""
        raise NotImplementedError
