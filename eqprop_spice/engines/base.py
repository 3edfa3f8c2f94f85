"""What an engine is: it finds the operating points of a circuit."""

import dataclasses
from collections.abc import Mapping, Sequence

from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.phases import AbstractNudge, AbstractPhase
from eqprop_spice.settled import OperatingPoint


@dataclasses.dataclass(frozen=True)
class AbstractEngine:
    """Finds operating points and small-signal responses for batches of inputs."""

    @property
    def traceable(self) -> bool:
        """Whether `settle` and `respond` run under JAX transformations."""
        return False

    @property
    def warm_start(self) -> bool:
        """Whether training starts a minibatch from the voltages that the last one ended at."""
        return False

    def vectorizable(self, circuit: Circuit) -> bool:
        """Whether `settle` runs this circuit under `jax.vmap` over conductances."""
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
        phases: Sequence[AbstractPhase | AbstractNudge],
        start: Float[Array, "batch node"] | None = None,
    ) -> list[OperatingPoint]:
        """Find the operating point of every sample in every phase.

        Args:
            circuit: The circuit.
            params: Conductances [S] by group name.
            inputs: Source voltages [V], `batch input`.
            phases: What is attached to the outputs. A nudge is asked for its currents
                with the outputs of the first phase, which is the free one.
            start: Voltages to start the first phase from [V]; the engine's own start if None, or
                if it has no `warm_start`.

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
        voltages: Float[Array, "batch node"],
        currents: Float[Array, "batch output"],
    ) -> Float[Array, "batch node"]:
        r"""Return the small-signal change of all node voltages [V].

        Solves $J\,\delta u = \delta I$ at given free operating points: the derivative of the
        voltages along a current injected into the outputs.
        """
        raise NotImplementedError

    def adjoint(
        self,
        circuit: Circuit,
        params: Mapping[str, Array],
        inputs: Float[Array, "batch input"],
        voltages: Float[Array, "batch node"],
        output_gradient: Float[Array, "batch output"],
    ) -> Float[Array, "batch node"]:
        r"""Return the multiplier of every node, from which the exact gradient follows.

        Solves $J^T \lambda = \partial C / \partial u$ at given free operating points, with
        $f = R^T i$ and $J = \partial f / \partial u$. The multipliers of all nodes are
        $\mu = R \lambda$ (zero at fixed nodes, kappa times its input's at an amplifier's output),
        and for a branch from node a to node b
        $dC/dg_{ab} = -(\mu_a - \mu_b)(v_a - v_b)$ [V/S times the unit of C].

        Args:
            circuit: The circuit.
            params: Conductances [S] by group name.
            inputs: Source voltages [V].
            voltages: Node voltages at free operating points [V].
            output_gradient: $\partial C / \partial y$ of every sample.
        """
        raise NotImplementedError
