"""The native engine: chooses from the circuit how its operating points are found fastest."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
from jax.core import Tracer
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.ideal_diodes import has_ideal_diodes
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.layered.chain import Chain, recognize
from eqprop_spice.engines.layered.descent import Descent
from eqprop_spice.engines.layered.guarded import GuardedPlan
from eqprop_spice.engines.layered.plan import LayeredPlan
from eqprop_spice.engines.plans import AbstractPlan
from eqprop_spice.engines.uniqueness import remark_on_several
from eqprop_spice.errors import NetlistError
from eqprop_spice.phases import AbstractNudge, AbstractPhase
from eqprop_spice.settled import OperatingPoint

MAX_PLANS = 32
"""Circuits whose compiled programs a process keeps, each hundreds of memory mappings: Linux allows
65,530 of them unless configured, and without any left the compiler aborts the process."""


@functools.lru_cache(maxsize=MAX_PLANS)
def plan_for(
    circuit: Circuit, sweeps: int | None = None, *, warm_start: bool = False
) -> AbstractPlan:
    """Return the fastest plan that can solve a circuit; a circuit is planned once.

    Raises:
        NetlistError: If the circuit has ideal diodes and is none that can be settled with them.
    """
    if plan_for.cache_info().misses % MAX_PLANS == 0:
        # JAX keeps what it traced for plans that are gone.
        jax.clear_caches()
    chain = recognize(circuit)
    if has_ideal_diodes(circuit):
        return LayeredPlan(circuit, _descendable(chain), Descent(sweeps))
    if warm_start:
        raise NetlistError(
            "warm_start is for networks of ideal diodes; other circuits are solved by Newton's "
            "method, from a start of its own. Leave it out."
        )
    if chain is None:
        return GeneralPlan(circuit)
    plan = LayeredPlan(circuit, chain)
    if all((layer.ratios > 0.0).all() for layer in chain.layers):
        return plan
    return GuardedPlan(plan, GeneralPlan(circuit))


def _descendable(chain: Chain | None) -> Chain:
    """Return a chain with ideal diodes that block coordinate descent settles.

    Raises:
        NetlistError: If it is none.
    """
    where = "The native engine settles ideal diodes only in a chain of dense layers"
    remedy = 'Use a junction instead, such as diode = "almost_ideal".'
    if chain is None:
        raise NetlistError(f"{where}, and this circuit is none. {remedy}")
    if not all(device.is_switch for device in chain.devices):
        raise NetlistError(f"{where} without other diodes. {remedy}")
    if any((layer.ratios <= 0.0).any() for layer in chain.layers):
        raise NetlistError(f"{where} whose amplifiers have a positive reflection. {remedy}")
    if chain.layers[-1].diodes and chain.incidence.any():
        raise NetlistError(f"{where} without diodes at the outputs. {remedy}")
    return chain


@dataclasses.dataclass(frozen=True)
class Native(AbstractEngine):
    """Finds operating points with this package's own solvers, batched and in float64.

    Attributes:
        sweeps: Networks of ideal diodes are settled by visiting their layers in turn: so often per
            phase, as published, converged or not; None until nothing moves.
        warm_start: Whether training starts a minibatch from the voltages that the last one ended
            at, as published; only networks of ideal diodes have use of it.
    """

    sweeps: int | None = None
    warm_start: bool = False

    def check_circuit(self, circuit: Circuit) -> None:
        """Refuse ideal diodes outside of chains of layers; see `AbstractEngine`."""
        self._plan(circuit)

    def _plan(self, circuit: Circuit) -> AbstractPlan:
        return plan_for(circuit, self.sweeps, warm_start=self.warm_start)

    def vectorizable(self, circuit: Circuit) -> bool:
        """Where its plan is; see `AbstractEngine`."""
        return self._plan(circuit).vectorizable

    @property
    def traceable(self) -> bool:
        """All plans run under `jax.jit`, with the circuit static."""
        return True

    def settle(
        self,
        circuit: Circuit,
        params: Mapping[str, Array],
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | AbstractNudge],
        start: Float[Array, "batch node"] | None = None,
    ) -> list[OperatingPoint]:
        """Find the operating point of every sample in every phase; see `AbstractEngine`.

        Conductances and inputs are checked where they are known; under a JAX transformation they
        are not, and whoever traces has checked them.
        """
        if not any(isinstance(a, Tracer) for a in (inputs, *params.values())):
            circuit.check_parameters(params)
            circuit.check_inputs(inputs)
            remark_on_several(circuit, params)
        plan = self._plan(circuit)
        if start is not None and isinstance(plan, LayeredPlan):
            return plan.settle(params, inputs, phases, start)
        return plan.settle(params, inputs, phases)

    def respond(
        self,
        circuit: Circuit,
        params: Mapping[str, Array],
        inputs: Float[Array, "batch input"],
        voltages: Float[Array, "batch node"],
        currents: Float[Array, "batch output"],
    ) -> Float[Array, "batch node"]:
        """Return the small-signal change of all node voltages [V]; see `AbstractEngine`."""
        return self._plan(circuit).respond(params, voltages, currents)

    def adjoint(
        self,
        circuit: Circuit,
        params: Mapping[str, Array],
        inputs: Float[Array, "batch input"],
        voltages: Float[Array, "batch node"],
        output_gradient: Float[Array, "batch output"],
    ) -> Float[Array, "batch node"]:
        """Return the multiplier of every node; see `AbstractEngine`."""
        return self._plan(circuit).adjoint(params, voltages, output_gradient)
