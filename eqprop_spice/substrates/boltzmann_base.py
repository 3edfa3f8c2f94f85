"""What Boltzmann machines have in common: binary units in thermal equilibrium."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractNudge, AbstractPhase
from eqprop_spice.sampling.binary import (
    BinaryModel,
    DenseLink,
    Schedule,
    SparseLink,
    all_states,
)
from eqprop_spice.sampling.draws import Draws, equal_weights
from eqprop_spice.sampling.generator import Generator
from eqprop_spice.settled import Settled
from eqprop_spice.substrates.base import Params
from eqprop_spice.substrates.implicit import masked
from eqprop_spice.substrates.sampled_base import AbstractSampled, lane_major, phase_rows

MOST_ENUMERATED = 16
"""Units whose states are all summed over: 65,536 of them per sample."""

MEAN_FIELD_TOLERANCE = 1e-6
"""Largest change of a mean in a sweep once the mean field has settled."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractBoltzmann(AbstractSampled):
    r"""Binary units with $E = -\sum_{i<j} J_{ij} s_i s_j - \sum_i (b_i + \sum_j W_{ij} x_j) s_i$.

    Units are 0 or 1, the outputs last. A state holds draws of all units, `batch draw unit`.
    A spring at a binary output is a field: $\beta (o - t)^2/2 = \beta o (1/2 - t)$ and a constant.
    Without a random key the state is the mean field: a product distribution of least free energy.

    Attributes:
        method: "gibbs" draws; "exact" sums over all states of up to 16 units; "mean_field" is the
            deterministic approximation, in training as well.
        smoothed: Whether the block that moves first is kept as its mean given the others: the same
            averages with less noise.
        generator: Where random numbers come from; "threefry" is slower, and there to check.
        precision: Precision of chains and of the mean field; sums over all states are in double
            precision.
        max_sweeps: Most sweeps of the mean field.
    """

    method: Literal["gibbs", "exact", "mean_field"] = "gibbs"
    smoothed: bool = True
    generator: Generator = "hash"
    precision: Literal["float32", "float64"] = "float32"
    max_sweeps: int = 1000

    # What the kinds differ in.

    @property
    def num_units(self) -> int:
        """Number of units."""
        raise NotImplementedError

    @property
    def blocks(self) -> list[np.ndarray]:
        """The units of every block, no two of it coupled; the outputs in others than the first."""
        raise NotImplementedError

    def coupling_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters that are couplings."""
        raise NotImplementedError

    def links(self, params: Params) -> Mapping[tuple[int, int], DenseLink | SparseLink]:
        """Return the couplings by pair of blocks."""
        raise NotImplementedError

    def driven(self, params: Params, inputs: Array) -> Float[Array, "batch unit"]:
        """Return the fields that come from the inputs."""
        raise NotImplementedError

    def pair_energy(self, params: Params, values: Array, weights: Array) -> Float[Array, " batch"]:
        """Return the weighted sum over draws of the energy of the couplings.

        Args:
            params: Parameters by group name.
            values: `batch draw unit`; 1 in place of a batch stands for all of it.
            weights: `batch draw`.
        """
        raise NotImplementedError

    # What a substrate is asked.

    @property
    def counted(self) -> bool:
        """Whether it draws."""
        return self.method == "gibbs"

    @property
    def largest_variance(self) -> float:
        """That of a fair coin."""
        return 0.25

    @property
    def abilities(self) -> frozenset[str]:
        """Averages; a sum over all states has a response and a gradient of its own."""
        if self.method == "mean_field":
            return frozenset({"force", "spring"})
        more = {"response", "adjoint"} if self.method == "exact" else set()
        more |= {"reference"} if self.num_units <= MOST_ENUMERATED else set()
        return super().abilities | more

    def check(self) -> None:
        """Refuse more units than can be summed over, and too few draws."""
        super().check()
        if self.method == "exact" and self.num_units > MOST_ENUMERATED:
            raise ConfigError(
                f'method is "exact", but {self.num_units} units have 2^{self.num_units} states; '
                f'up to {MOST_ENUMERATED} can be summed over. Set method = "gibbs".'
            )

    def reference(self) -> "AbstractBoltzmann":
        """Return the same machine with sums over all states."""
        return dataclasses.replace(self, method="exact")

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of couplings and biases."""
        return {**self.coupling_shapes(), "bias": (self.num_units,)}

    def nudge_scale(self, params: Params) -> float:
        """Return 4 T: a force that small moves the mean of an undecided output by 1."""
        return 4.0 * self.temperature

    def initial_state(self, batch_size: int) -> Draws:
        """Return chains that start at one half."""
        shape = (batch_size, self.chains * self.draws, self.num_units)
        values = jnp.full(shape, 0.5, self.precision)
        weights = equal_weights(*shape[:2], self.precision)
        return Draws(values, weights, values[:, : self.chains])

    def output_draws(self, state: Draws) -> Float[Array, "batch draw output"]:
        """Return the last units of every draw."""
        return state.values[..., self.num_units - self.num_outputs :]

    def named_state(self, state: Draws) -> tuple[list[str], Float[np.ndarray, "batch unit"]]:
        """Return names and means of the units."""
        return [f"unit_{i}" for i in range(self.num_units)], np.asarray(state.means)

    def settle(self, params, inputs, phases, *, start=None, key=None) -> list[Settled]:
        """Return draws of every sample in every phase; see `AbstractSubstrate`.

        All phases run at once, unless one depends on the free outputs. Chains of all phases start
        where those of `start` ended.
        """
        params = {name: jnp.asarray(value) for name, value in params.items()}
        inputs = jnp.asarray(inputs)
        if not any(isinstance(phase, AbstractNudge) for phase in phases):
            return self._together(params, inputs, list(phases), start, key)
        (free,) = self._together(params, inputs, [phases[0]], start, key)
        outputs = self.outputs(free.state)
        known = [p(outputs, slice(None)) if isinstance(p, AbstractNudge) else p for p in phases]
        if not self.common_numbers and key is not None:
            key = jax.random.fold_in(key, 1)
        return [free, *self._together(params, inputs, known[1:], start, key)]

    def _together(self, params, inputs, phases: list, start, key) -> list[Settled]:
        if self.method == "exact":
            return [self._summed(params, inputs, phase) for phase in phases]
        if self.method == "mean_field" or key is None:
            return self._mean_field(params, inputs, phases)
        return self._sampled(params, inputs, phases, start, key)

    def fields(self, params: Params, inputs: Array, phase: AbstractPhase) -> Array:
        """Return the field of every unit, with what is attached to the outputs, `batch unit`."""
        first = self.num_units - self.num_outputs
        forces = phase.source_currents(len(inputs), self.num_outputs)
        fields = self.driven(params, inputs) + params["bias"]
        return jnp.asarray(fields).at[:, first:].add(forces - 0.5 * phase.conductance)

    def _model(self, params: Params, inputs: Array, phases: list, repeats: int) -> BinaryModel:
        """Return the model with a lane per phase, sample and repeat, in this order."""
        scale = 1.0 / self.temperature
        cast = {k: (scale * v).astype(self.precision) for k, v in params.items()}
        fields = jnp.stack([scale * self.fields(params, inputs, phase) for phase in phases])
        lanes = jnp.repeat(fields.reshape(-1, self.num_units), repeats, axis=0)
        lanes = lanes.astype(self.precision).T
        return BinaryModel([lanes[block] for block in self.blocks], self.links(cast))

    def _join(self, parts: list[Array], axis: int) -> Array:
        """Return blocks as one array with the units in their order along an axis."""
        order = np.argsort(np.concatenate(self.blocks))
        return jnp.take(jnp.concatenate(parts, axis), order, axis)

    def _sampled(self, params, inputs, phases: list, start, key) -> list[Settled]:
        batch, chains = len(inputs), self.chains
        model = self._model(params, inputs, phases, chains)
        shape = (len(phases), batch, chains)
        begin = model.start()
        if start is not None:
            ends = jnp.tile(start.ends.reshape(-1, self.num_units), (len(phases), 1))
            begin = [ends.T[block].astype(self.precision) for block in self.blocks]
        # An output that is a mean would have no loss of its own.
        smoothed = self.smoothed and self.blocks[0].max() < self.num_units - self.num_outputs
        schedule = Schedule(self.burn_in, self.draws, self.thinning, bool(smoothed), self.generator)
        shared = batch * chains * (1 if self.common_numbers else len(phases))
        kept, ends = model.sample(begin, key, schedule, shared=shared)
        values = lane_major(self._join(kept, 1).reshape(self.draws, self.num_units, *shape))
        last = self._join(ends, 0).reshape(self.num_units, *shape).transpose(1, 2, 3, 0)
        weights = equal_weights(batch, chains * self.draws, self.precision)
        steps = self.burn_in + self.draws * self.thinning
        return [
            self._settled(Draws(phase_rows(values, i), weights, phase_rows(last, i)), steps)
            for i in range(len(phases))
        ]

    def _mean_field(self, params, inputs, phases: list) -> list[Settled]:
        model = self._model(params, inputs, phases, 1)
        found = model.mean_field(
            model.start(), tolerance=MEAN_FIELD_TOLERANCE, most=self.max_sweeps
        )
        means = self._join(found[0], 0).T.reshape(len(phases), len(inputs), 1, -1)
        changes = found[1].reshape(len(phases), -1)
        weights = jnp.ones((len(inputs), 1), self.precision)
        counts = jnp.broadcast_to(found[2], changes.shape[1:])
        settled = []
        for mean, change in zip(means, changes, strict=True):
            ends = jnp.repeat(mean, self.chains, axis=1)
            good = change <= MEAN_FIELD_TOLERANCE
            settled.append(Settled(Draws(mean, weights, ends), good, change, counts))
        return settled

    def log_weights(
        self, params: Params, inputs: Array, phase: AbstractPhase
    ) -> Float[Array, "batch state"]:
        """Return -(E + U)/T of all states, the constant of a spring's potential left out."""
        states = jnp.asarray(all_states(self.num_units))
        ones = jnp.ones((len(states), 1))
        pairs = self.pair_energy(params, states[:, None], ones)
        energies = pairs - self.fields(params, inputs, phase) @ states.T
        return -energies / self.temperature

    def free_energy(
        self, params: Params, inputs: Array, phase: AbstractPhase
    ) -> Float[Array, " batch"]:
        """Return -T log Z by a sum over all states, less the constant of a spring's potential."""
        params = {name: jnp.asarray(value) for name, value in params.items()}
        found = self.log_weights(params, jnp.asarray(inputs), phase)
        return -self.temperature * jax.nn.logsumexp(found, axis=1)

    def _summed(self, params, inputs, phase) -> Settled:
        weights = jax.nn.softmax(self.log_weights(params, inputs, phase), axis=1)
        states = jnp.asarray(all_states(self.num_units))
        values = jnp.broadcast_to(states, (len(inputs), *states.shape))
        mean = jnp.einsum("bd,bdu->bu", weights, values)
        ends = jnp.repeat(mean[:, None], self.chains, axis=1)
        nothing = jnp.zeros(len(inputs))
        good = jnp.isfinite(weights).all(1)
        return Settled(Draws(values, weights, ends), good, nothing, jnp.zeros(len(inputs), int))

    def energy(self, params, inputs, state: Draws) -> Float[Array, " batch"]:
        """Return the mean energy; of a whole distribution the free energy, stationary in it."""
        energy = self._mean_energy(params, self.driven(params, jnp.asarray(inputs)), state)
        if self.method == "exact":
            entropy = jax.scipy.special.xlogy(state.weights, state.weights).sum(1)
            energy = energy + self.temperature * entropy
        return energy

    def _mean_energy(self, params: Params, driven: Array, state: Draws) -> Float[Array, " batch"]:
        means = state.means
        linear = ((driven + params["bias"]) * means).sum(1)
        return self.pair_energy(params, state.values, state.weights) - linear

    def energy_gradient(self, params, inputs, state, samples) -> dict[str, Array]:
        """Return the mean slopes of the energy; see `AbstractSubstrate`."""
        return self._slopes(params, inputs, [(1.0, state)], samples)

    def contrast(self, params, inputs, first, second, samples) -> dict[str, Array]:
        """Return the mean difference of slopes; the product with the inputs is formed once."""
        return self._slopes(params, inputs, [(-1.0, first), (1.0, second)], samples)

    def _slopes(self, params, inputs, parts: list, samples) -> dict[str, Array]:
        parts = [(sign, masked(state, samples)) for sign, state in parts]
        count, inputs = jnp.maximum(samples.sum(), 1), jnp.asarray(inputs)

        def mean(params):
            driven = self.driven(params, inputs)
            total = sum(sign * self._mean_energy(params, driven, s) for sign, s in parts)
            return jnp.where(samples, total, 0.0).sum() / count

        return jax.grad(mean)({name: jnp.asarray(value) for name, value in params.items()})

    def respond(self, params, inputs, state: Draws, forces) -> tuple[Draws, Array]:
        r"""Return the change of the distribution under small forces: of its weights alone.

        $\delta w = w\,(F \cdot o - \langle F \cdot o \rangle)/T$; exact sums only.
        """
        work = (self.output_draws(state) * forces[:, None]).sum(-1)
        change = (work - state.mean(work)[:, None]) * state.weights / self.temperature
        still = jax.tree.map(jnp.zeros_like, state)
        return still.reweighted(change), jnp.isfinite(change).all(1)

    def cost_gradient(
        self, params, inputs, state, output_gradient, samples, relaxation=None
    ) -> tuple[dict[str, Array], Any]:
        r"""Return the exact gradient of a cost of the mean outputs; exact sums only.

        It is the covariance of $\partial_\theta E$ with the outputs, which is the response to the
        force $-\partial C/\partial o$.
        """
        assert relaxation is None, "a distribution does not relax node by node"
        state = masked(state, samples)
        slopes = jnp.where(samples[:, None], output_gradient, 0.0)
        change, valid = self.respond(params, inputs, state, -slopes)
        valid = valid & samples
        return self.contrast_rate(params, inputs, state, change, valid), valid
