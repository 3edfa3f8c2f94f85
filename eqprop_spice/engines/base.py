"""What an engine is: it finds the operating points of a circuit."""

import dataclasses
from collections.abc import Mapping, Sequence

from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.phases import AbstractPhase, Nudge
from eqprop_spice.settled import OperatingPoint


@dataclasses.dataclass(frozen=True)
class AbstractEngine:
    """Finds operating points and small-signal responses for batches of inputs."""

    @property
    def traceable(self) -> bool:
        """Whether `settle` and `respond` run under JAX transformations."""
        return False

    def check_circuit(self, circuit: Circuit) -> None:
        """Refuse a circuit that this engine cannot solve; most engines solve any.

        Raises:
            NetlistError: If so, with what to use instead.
        """

    def settle(
        self,
        circuit: Circuit,
        params: Mapping[str, Array],
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | Nudge],
    ) -> list[OperatingPoint]:
        """Find the operating point of every sample in every phase.

        Args:
            circuit: The circuit.
            params: Conductances [S] by group name.
            inputs: Source voltages [V], `batch input`.
            phases: What is attached to the outputs. A nudge is asked for its currents
                with the outputs of the first phase, which is the free one.

        Returns:
            One operating point per phase. A sample that did not converge is marked in it, never
            returned as if it had.
        """
        raise NotImplementedError

    def respond(
        self,
        circuit: Circuit,
        params: Mapping[str, Array],
        inputs: Float[Array, "batch input"],
        point: OperatingPoint,
        currents: Float[Array, "batch output"],
    ) -> Float[Array, "batch node"]:
        r"""Return the small-signal change of all node voltages [V].

        Solves $J\,\delta u = \delta I$ at the given free operating point: the derivative of the
        voltages along a current injected into the outputs.
        """
        raise NotImplementedError
