"""The layered plan where it is sound, the general plan where it is not.

With a negative reflection, the layered plan's scalar equations have one root each only while every
node's linear conductance c is positive. Below that, several operating points can exist, and Newton
on all nodes at once finds one of them, as SPICE does.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.core import Tracer

from eqprop_spice.arrays import Array
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.layered.equations import build_network
from eqprop_spice.engines.layered.plan import LayeredPlan
from eqprop_spice.engines.plans import AbstractPlan
from eqprop_spice.phases import AbstractNudge, AbstractPhase
from eqprop_spice.settled import OperatingPoint


@dataclasses.dataclass(frozen=True, eq=False)
class GuardedPlan(AbstractPlan):
    """Settles chains of layers with negative reflections; runs under JAX transformations."""

    layered: LayeredPlan
    general: GeneralPlan

    def settle(
        self,
        params: Mapping[str, Array],
        inputs: Array,
        phases: Sequence[AbstractPhase | AbstractNudge],
    ) -> list[OperatingPoint]:
        """Find the operating point of every sample in every phase; see `AbstractEngine`."""
        return self._choose("settle", params, inputs, phases)

    def respond(self, params: Mapping[str, Array], voltages: Array, currents: Array) -> Array:
        """Return the small-signal change of all node voltages [V]; see `AbstractEngine`."""
        return self._choose("respond", params, voltages, currents)

    def adjoint(self, params: Mapping[str, Array], voltages: Array, gradient: Array) -> Array:
        """Return the multipliers of all nodes; see `AbstractEngine`."""
        return self._choose("adjoint", params, voltages, gradient)

    def _choose(self, method: str, params: Mapping[str, Array], *arguments):
        """Call the method of the plan that the conductances allow."""
        plans = (getattr(self.layered, method), getattr(self.general, method))
        sound = self._is_sound(dict(params))
        if not isinstance(sound, Tracer):
            return plans[0 if bool(sound) else 1](params, *arguments)
        # While tracing, the general plan is a callback, which only the branch taken calls.
        traced = jax.tree.map(jnp.asarray, dict(params))
        branches = [functools.partial(plan, traced, *arguments) for plan in plans]
        return jax.lax.cond(sound, *branches)

    @functools.cached_property
    def _is_sound(self):
        """Return whether every node's linear conductance is positive."""

        def is_sound(params: Mapping[str, Array]) -> Array:
            network = build_network(self.layered.chain, params, jnp.zeros((1, 1)), fold=False)
            return jnp.stack([c.min() for c in network.linear]).min() > 0.0

        return jax.jit(is_sound)
