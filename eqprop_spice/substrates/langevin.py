"""Any system with an energy at a temperature: its states fluctuate."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Free
from eqprop_spice.sampling.draws import Draws, equal_weights
from eqprop_spice.sampling.langevin import Langevin, Scheme
from eqprop_spice.settled import Settled
from eqprop_spice.substrates.base import AbstractSubstrate, Params
from eqprop_spice.substrates.sampled_base import AbstractSampled

LEAST_ACCEPTED = 0.01
"""Share of accepted proposals below which a chain counts as one that does not move."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thermal(AbstractSampled):
    r"""The Boltzmann states $\rho \propto e^{-(E + U)/T}$ of a system that settles without noise.

    Chains start where the system settles, but off its bounds, and move by Langevin dynamics;
    proposals outside of the bounds are refused, so that bounded states keep them. Without a random
    key the state is where the system settles: the limit of a low temperature.

    Attributes:
        system: The system.
        scheme: "metropolis" samples exactly; "heun" and "euler" with an error of the step.
        step: The step, in units of the state squared over the energy; with "metropolis" the first
            one, as every chain finds its own during the burn-in.
    """

    system: AbstractSubstrate
    scheme: Scheme = "metropolis"
    step: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a system that draws itself, and a step of no size."""
        super().__post_init__()
        if self.system.random or not self.system.traceable:
            raise ConfigError(
                f"system is {type(self.system).__name__}, which is random itself or not computed "
                "by JAX; chains need a smooth energy of a deterministic one."
            )
        if not self.step > 0.0:
            raise ConfigError(f"step is {self.step}; it must be positive.")

    def sized(self, num_inputs: int, num_outputs: int) -> "Thermal":
        """Return it for data of these sizes, the system as well."""
        system = self.system.sized(num_inputs, num_outputs)
        return dataclasses.replace(
            self, system=system, num_inputs=num_inputs, num_outputs=num_outputs
        )

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the system."""
        return self.system.parameter_shapes()

    def check(self) -> None:
        """Refuse what the system refuses, and bounds that no step respects."""
        super().check()
        self.system.check()

    def check_phase(self, phase: AbstractPhase | AbstractNudge) -> None:
        """Refuse phases that the system cannot settle in."""
        self.system.check_phase(phase)

    def admissible(self, params: Params):
        """Return which parameters the system can have."""
        return self.system.admissible(params)

    def nudge_scale(self, params: Params) -> float:
        """Return the system's."""
        return self.system.nudge_scale(params)

    def output_draws(self, state: Draws) -> Float[Array, "batch draw output"]:
        """Return the outputs of every draw."""
        return _per_draw(self.system.outputs, state.values)

    def energy(self, params, inputs, state: Draws) -> Float[Array, " batch"]:
        """Return the mean energy."""

        def of_draw(values: Any) -> Array:
            return self.system.energy(params, inputs, values)

        moved = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), state.values)
        return (jax.vmap(of_draw)(moved) * state.weights.T).sum(0)

    def named_state(self, state: Draws) -> tuple[list[str], Float[np.ndarray, "batch unit"]]:
        """Return names and means of the system's parts."""
        return self.system.named_state(state.means)

    def settle(self, params, inputs, phases, *, start=None, key=None) -> list[Settled]:
        """Return draws of every sample in every phase; see `AbstractSubstrate`."""
        params = {name: jnp.asarray(value) for name, value in params.items()}
        inputs = jnp.asarray(inputs)
        if key is None:
            return [self._still(s) for s in self.system.settle(params, inputs, phases)]
        (rest,) = self.system.settle(params, inputs, [Free()])
        begin = _repeated(rest.state, self.chains)
        begin = self._off_bounds(begin)
        if start is not None:
            begin = jax.tree.map(_rows, start.ends)
        found: list[Settled] = []
        for number, phase in enumerate(phases):
            if isinstance(phase, AbstractNudge):
                phase = phase(self.outputs(found[0].state), slice(None))
            own = key if self.common_numbers else jax.random.fold_in(key, number)
            found.append(self._chains(params, inputs, phase, begin, own))
        return found

    def _off_bounds(self, state: Any) -> Any:
        """Return a state whose units at a bound have moved inside, by about one step of noise.

        From a corner of its bounds, a proposal is inside only if all units move inwards at once.
        """
        rows, unravel = _flat(state)
        size = math.sqrt(2.0 * self.step * self.temperature)
        pushes = size * jnp.eye(rows.shape[1], dtype=rows.dtype)
        moves = _flat(self.system.moving(state))[0]

        def inside(push: Array) -> Array:
            return self.system.inside(unravel(jnp.where(moves, rows + push, rows)))

        above, below = (jax.lax.map(inside, sign * pushes).T for sign in (1.0, -1.0))
        way = jnp.where(above == below, 0.0, jnp.where(above, size, -size))
        return unravel(jnp.where(moves, rows + way, rows))

    def _still(self, settled: Any) -> Settled:
        """Return a settled state as its only draw."""
        values = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, None], settled.state)
        ends = jax.tree.map(lambda leaf: jnp.repeat(leaf, self.chains, axis=1), values)
        weights = jnp.ones((len(settled.converged), 1))
        return Settled(
            Draws(values, weights, ends), settled.converged, settled.residual, settled.num_steps
        )

    def _chains(self, params, inputs, phase: AbstractPhase, begin, key) -> Settled:
        batch, system = len(inputs), self.system
        lanes = jnp.repeat(inputs, self.chains, axis=0)
        forces = jnp.asarray(phase.source_currents(batch, self.num_outputs))
        forces = jnp.repeat(forces, self.chains, axis=0)
        rows, unravel = _flat(begin)
        moves = _flat(system.moving(begin))[0]

        def energy(flat: Array) -> Array:
            state = unravel(jnp.where(moves, flat, rows))
            outputs = system.outputs(state)
            attached = (0.5 * phase.conductance * outputs**2 - forces * outputs).sum(1)
            return system.energy(params, lanes, state) + attached

        chain = Langevin(
            energy,
            lambda flat: system.inside(unravel(jnp.where(moves, flat, rows))),
            self.temperature,
            self.scheme,
            self.step,
            len(lanes),
        )
        kept, last, accepted = chain.sample(
            rows, key, burn_in=self.burn_in, draws=self.draws, thinning=self.thinning
        )
        kept, last = (jnp.where(moves, values, rows) for values in (kept, last))
        # `draw lane unit`, chain after chain of a sample.
        kept = kept.reshape(self.draws, batch, self.chains, -1).transpose(1, 2, 0, 3)
        count = self.chains * self.draws
        values = _shaped(unravel, kept.reshape(batch * count, -1), (batch, count))
        ends = _shaped(unravel, last, (batch, self.chains))
        weights = equal_weights(batch, count, rows.dtype)
        steps = self.burn_in + self.draws * self.thinning
        found = self._settled(Draws(values, weights, ends), steps)
        # A chain whose proposals are refused would pass for one without any error.
        still = (accepted.reshape(batch, self.chains) < LEAST_ACCEPTED).any(1)
        residual = jnp.where(still, jnp.inf, found.residual)
        return dataclasses.replace(found, converged=found.converged & ~still, residual=residual)


def _flat(state: Any):
    """Return a state as rows, and what makes states of rows."""
    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], state))
    return jax.vmap(lambda one: ravel_pytree(one)[0])(state), jax.vmap(unravel)


def _rows(leaf: Array) -> Array:
    return leaf.reshape(-1, *leaf.shape[2:])


def _repeated(state: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), state)


def _shaped(unravel: Any, rows: Array, shape: tuple[int, int]) -> Any:
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), unravel(rows))


def _per_draw(function: Any, values: Any) -> Array:
    """Return a function of states for every draw, `batch draw ...`."""
    batch, count = jax.tree.leaves(values)[0].shape[:2]
    found = function(jax.tree.map(_rows, values))
    return found.reshape(batch, count, *found.shape[1:])
