r"""The layered plan: Newton's method on every second layer, the layers between solved exactly.

With $B_l = \sum A\,g$ the drive of layer l by the one before, $\rho = \kappa / A$, and $I_l$ the
current from the sources, Kirchhoff's law at layer l reads

$f_l = c_l u_l + D_l(u_l) - I_l - u_{l-1} B_l - \rho_l\,(u_{l+1} B_{l+1}^T) = 0.$

Nodes of one layer do not see each other, so given its neighbors each *slack* layer is solved node
by node to rounding; what remains is Newton's method on the *kept* layers, the outputs among them.
Their Jacobian is self-adjoint and positive under the reciprocity weights whenever $\kappa > 0$, or
$\kappa < 0$ in every layer and $c > 0$: the eliminated layers are then minimized, respectively
maximized, over, and both leave a convex function. Conjugate gradients solve it without forming it.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import take_columns
from eqprop_spice.circuits.maps import NodeMap
from eqprop_spice.engines.layered.chain import Chain
from eqprop_spice.engines.layered.descent import Descent
from eqprop_spice.engines.layered.equations import (
    Network,
    assemble,
    attach,
    build_network,
)
from eqprop_spice.engines.layered.newton import Newton
from eqprop_spice.engines.plans import AbstractPlan
from eqprop_spice.phases import AbstractNudge, AbstractPhase
from eqprop_spice.settled import OperatingPoint

SMALL = 20_000
"""Conductances up to which all phases share a loop: it halves what is compiled, and would cost
785-100-20 up to 5 % of its speed."""

RESPONSE_TOLERANCE = 1e-13
"""Relative accuracy of small-signal responses: rounding, with a margin for conditioning."""


@dataclasses.dataclass(frozen=True, eq=False)
class LayeredPlan(AbstractPlan):
    """Settles circuits that are a chain of layers; runs under JAX transformations.

    Attributes:
        circuit: The circuit.
        chain: Its layers.
        method: How they are settled.
    """

    circuit: Circuit
    chain: Chain
    method: Newton | Descent = dataclasses.field(default_factory=Newton)

    @property
    def vectorizable(self) -> bool:
        """All of it is traced."""
        return True

    @property
    def _is_small(self) -> bool:
        return sum(group.num_instances for group in self.circuit.linear_groups) <= SMALL

    def settle(
        self,
        params: Mapping[str, Array],
        inputs: Array,
        phases: Sequence[AbstractPhase | AbstractNudge],
        start: Array | None = None,
    ) -> list[OperatingPoint]:
        """Find the operating point of every sample in every phase; see `AbstractEngine`."""
        size = (inputs.shape[0], self.circuit.num_outputs)
        traced = any(isinstance(a, Tracer) for a in (inputs, *params.values()))
        if traced and len(phases) > 1 and self._is_small:
            return self._settle_in_turn(params, inputs, phases, start)
        points: list[OperatingPoint] = []
        network = fixed = first = outputs = None
        for phase in phases:
            if not isinstance(phase, AbstractPhase):
                assert outputs is not None, "the first phase is the free one"
                phase = phase(outputs, slice(None))
            load = jnp.asarray(phase.source_currents(*size)), _stiffness(phase)
            if first is None:
                network, fixed, first = self._settle_first(dict(params), inputs, load, start)
                point, state = first
                outputs = state.voltages[-1] @ jnp.asarray(self.chain.incidence).T
            else:
                point = self._settle_next(network, fixed, first[1], load)
            points.append(point)
        return points

    def _settle_in_turn(
        self,
        params: Mapping[str, Array],
        inputs: Array,
        phases: Sequence[AbstractPhase | AbstractNudge],
        start: Array | None,
    ) -> list[OperatingPoint]:
        """Settle in all phases by one loop, so that what settles is compiled once."""
        fixed, network = self._network(params, inputs)
        incidence = jnp.asarray(self.chain.incidence)
        size = (inputs.shape[0], self.circuit.num_outputs)
        # A nudge that does not hold the outputs is a force.
        springs = [_stiffness(p) if isinstance(p, AbstractPhase) else None for p in phases]
        stiff = any(spring is not None for spring in springs)
        stiffness = jnp.stack([jnp.asarray(0.0 if s is None else s, float) for s in springs])

        def attached(number, outputs):
            currents = [functools.partial(_currents, phase, size) for phase in phases]
            injected = jax.lax.switch(number, currents, outputs)
            return attach(network, injected, stiffness[number] if stiff else None)

        first = attached(0, jnp.zeros(size))

        def visit(begin, number):
            loaded = attached(number, begin.voltages[-1] @ incidence.T)
            state = self.method.resettle(loaded, first, begin)
            seen = self._seen(loaded, state)
            begin = jax.tree.map(lambda new, old: jnp.where(number == 0, new, old), state, begin)
            return begin, seen

        begin = self._begin(first, start)
        _, seen = jax.lax.scan(visit, begin, jnp.arange(len(phases)))
        return [
            self._expanded(fixed, *jax.tree.map(lambda leaf, i=i: leaf[i], seen))
            for i in range(len(phases))
        ]

    def _network(self, params: Mapping[str, Array], inputs: Array) -> tuple[Array, Network]:
        """Return the voltages of the fixed nodes [V], and the equations without a load."""
        fixed = self.circuit.fixed_voltages(inputs)
        return fixed, build_network(self.chain, params, fixed)

    def _begin(self, loaded: Network, start: Array | None) -> Any:
        """Return the state that settling begins from: the method's own, or given voltages [V]."""
        if start is None:
            return self.method.begin(loaded)
        assert isinstance(self.method, Descent), "Newton's method has a start of its own"
        return self.method.begin_from([take_columns(start, la.nodes) for la in self.chain.layers])

    def point(self, network: Network, state: Any, fixed: Array) -> OperatingPoint:
        """Return a state of the method as an operating point of the circuit."""
        return self._expanded(fixed, *self._seen(network, state))

    def _seen(self, network: Network, state: Any) -> tuple[Any, ...]:
        """Return what `_expanded` takes of a state."""
        return state.voltages, *self.method.violation(network, state), state.steps

    def _expanded(
        self, fixed: Array, layers: Sequence[Array], residual: Array, worst: Array, steps: Array
    ) -> OperatingPoint:
        """Return the voltages of layers as an operating point of the circuit."""
        converged = residual <= self.method.residual_tolerance
        parts = [jnp.where(converged[:, None], v, jnp.nan) for v in (fixed, *layers)]
        lifts = tuple(a.gains * a.offsets for a in self.circuit.amplifiers)
        voltages = self._expand(parts[0], parts[1:], self.circuit.selection, lifts)
        return OperatingPoint(voltages, converged, residual, worst, steps[:, 0])

    def _expand(
        self,
        fixed: Array,
        layers: Sequence[Array],
        node_map: NodeMap,
        lifts: Sequence[np.ndarray] = (),
    ) -> Array:
        """Return a value per node of the circuit from those of the fixed nodes and the layers.

        What `node_map.spread` does for values in one array, here in few copies for those of layers;
        followers get what `lifts` has for them in addition, if anything.
        """
        parts = [fixed, *layers]
        columns = self.chain.column_of_node
        followers = [
            assemble(parts, columns[inputs]) * jnp.asarray(factors)[None, :]
            for inputs, _, factors in node_map.links
        ]
        for place, lift in enumerate(lifts):
            if (lift != 0.0).any():
                followers[place] = followers[place] + jnp.asarray(lift)[None, :]
        return assemble([*parts, *followers], columns)

    def layer_changes(
        self, params: Mapping[str, Array], voltages: Array, currents: Array
    ) -> list[Array]:
        """Return the small-signal change of every layer for currents into the outputs [V]."""
        nothing = jnp.zeros((voltages.shape[0], 1))
        network = build_network(self.chain, params, nothing, fold=False)
        blocks = [take_columns(voltages, layer.nodes) for layer in self.chain.layers]
        jacobian = self.method.linearize(network, blocks)
        right: list[Array] = [jnp.zeros_like(d) for d in jacobian.kept_diagonals]
        right[-1] = currents @ jnp.asarray(self.chain.incidence)
        tolerance = jnp.full((voltages.shape[0], 1), RESPONSE_TOLERANCE)
        return jacobian.slack_response(jacobian.solve(tuple(right), tolerance))

    def respond(self, params: Mapping[str, Array], voltages: Array, currents: Array) -> Array:
        """Return the small-signal change of all node voltages [V]; see `AbstractEngine`."""
        voltages, currents = jnp.asarray(voltages), jnp.asarray(currents)
        return self._respond(dict(params), voltages, currents, adjoint=False)

    def adjoint(self, params: Mapping[str, Array], voltages: Array, gradient: Array) -> Array:
        r"""Return the multipliers of all nodes; see `AbstractEngine`.

        With W the reciprocity weights, $W J = J^T W$ and $w = 1$ at the outputs, so that
        $J^T \lambda = \partial C / \partial u$ has the solution
        $\lambda = W J^{-1} \partial C / \partial u$.
        """
        voltages, gradient = jnp.asarray(voltages), jnp.asarray(gradient)
        return self._respond(dict(params), voltages, gradient, adjoint=True)

    # Compiled so that callers outside of `jax.jit` do not compile at every call; inside of it, each
    # becomes part of the caller's function. What is compiled lives as long as the plan.

    @functools.cached_property
    def _settle_first(self):
        """Settle from nothing, or given voltages; return also what the next phases start from."""

        def settle_first(params, inputs, load, start):
            fixed, network = self._network(params, inputs)
            loaded = attach(network, *load)
            state = self.method.settle(loaded, self._begin(loaded, start))
            return (network, loaded), fixed, (self.point(loaded, state, fixed), state)

        return jax.jit(settle_first)

    @functools.cached_property
    def _settle_next(self):
        """Settle from the first phase's solution."""

        def settle_next(networks, fixed, state, load):
            network, first = networks
            loaded = attach(network, *load)
            return self.point(loaded, self.method.resettle(loaded, first, state), fixed)

        return jax.jit(settle_next)

    @functools.cached_property
    def _respond(self):
        """Return changes, or multipliers, of all nodes."""

        def respond(params, voltages, currents, *, adjoint: bool):
            changes = self.layer_changes(params, voltages, currents)
            if adjoint:
                layers = zip(self.chain.layers, changes, strict=True)
                changes = [jnp.asarray(layer.weights)[None, :] * c for layer, c in layers]
            fixed = jnp.zeros((voltages.shape[0], len(self.circuit.fixed_nodes)))
            node_map = self.circuit.reflection if adjoint else self.circuit.selection
            return self._expand(fixed, changes, node_map)

        return jax.jit(respond, static_argnames="adjoint")


def _currents(phase: AbstractPhase | AbstractNudge, size: tuple[int, int], outputs: Array) -> Array:
    """Return the constant currents of a phase into the outputs [A]."""
    if not isinstance(phase, AbstractPhase):
        phase = phase(outputs, slice(None))
    return jnp.asarray(phase.source_currents(*size))


def _stiffness(phase: AbstractPhase) -> Array | None:
    """Return the conductance of a load [S]; None if it has none.

    A traced conductance has no value to compare: only the plain zero of a load without one has.
    """
    stiffness = phase.conductance
    if isinstance(stiffness, float) and stiffness == 0.0:
        return None
    return jnp.asarray(stiffness)
