"""What a substrate is: a system that settles, and all that a learning rule may know of it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.engines.relaxation import Relaxation
from eqprop_spice.phases import AbstractPhase, Nudge

Params = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class AbstractSubstrate:
    """A system with an energy E(theta, state) whose stationary points it finds."""

    def settle(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | Nudge],
    ) -> list[Any]:
        """Return the state of every sample in every phase; the first phase is the free one."""
        raise NotImplementedError

    def outputs(self, state: Any) -> Float[Array, "batch output"]:
        """Return the outputs of a state [V]."""
        raise NotImplementedError

    def converged(self, state: Any) -> Bool[Array, " batch"]:
        """Return which samples of a state have settled."""
        raise NotImplementedError

    def clamp(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        state: Any,
        displacement: Float[Array, "batch output"],
    ) -> Any:
        """Return where the rest settles while the outputs are held displaced from a state's."""
        raise NotImplementedError

    def contrast(self, first: Any, second: Any, samples: Bool[Array, " batch"]) -> dict[str, Array]:
        r"""Return the mean over samples of $\partial_\theta E(second) - \partial_\theta E(first)$.

        Args:
            first: A state.
            second: Another state.
            samples: Which samples count.
        """
        raise NotImplementedError

    def respond(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        state: Any,
        currents: Float[Array, "batch output"],
    ) -> tuple[Any, Bool[Array, " batch"]]:
        """Return the change of a free state under a small nudge, and where it is valid."""
        raise NotImplementedError

    def contrast_rate(
        self, state: Any, change: Any, samples: Bool[Array, " batch"]
    ) -> dict[str, Array]:
        r"""Return the mean over samples of $d(\partial_\theta E)$ along a change of the state."""
        raise NotImplementedError

    def cost_gradient(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        state: Any,
        output_gradient: Float[Array, "batch output"],
        samples: Bool[Array, " batch"],
        relaxation: Relaxation | None = None,
    ) -> tuple[dict[str, Array], Bool[Array, " batch"]]:
        r"""Return the exact mean of $dC/d\theta$, and which samples it is the mean of.

        This is backpropagation through the settled state, for reference: no physical system does
        it.

        Args:
            params: Parameters by group name.
            inputs: Source voltages [V].
            state: A free state.
            output_gradient: $\partial C/\partial y$.
            samples: Which samples count.
            relaxation: What to backpropagate through instead of the settled state, if anything.
        """
        raise NotImplementedError

    def dissipated_power(self, params: Params, state: Any) -> Float[Array, " batch"]:
        """Return the power that the system dissipates in a state [W]."""
        raise NotImplementedError
