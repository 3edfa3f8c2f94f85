"""What machines of coupled oscillators have in common."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError, ConvergenceError
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Force, Free
from eqprop_spice.settled import Settled
from eqprop_spice.substrates import implicit
from eqprop_spice.substrates.base import AbstractSubstrate, Params
from eqprop_spice.substrates.oscillator_netlist import phase_netlist
from eqprop_spice.substrates.phase_model import Angles, PhaseModel, angles, unit_vectors

Knob = Literal["quadrature", "sync", "detuning"]

START = math.pi / 2
"""Phase that every oscillator starts from [rad]; its cosine, the activation, is 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractOscillators(AbstractSubstrate):
    r"""Oscillators at one frequency, coupled and injected; see `PhaseModel` for the energy.

    The state is the phases [rad], `batch unit`, the outputs last; an output is the cosine of its
    phase, from -1 to 1. An input is a field in phase: it comes in through the "input" couplings.
    Couplings, fields and temperature are in units of one coupling rate, relative to the angular
    frequency: slow time 2 pi is one period. So a phase attached to the outputs is what a knob of
    the machine does: a force adds to h, a spring of stiffness G takes G/2 from S.

    Attributes:
        num_inputs: Number of inputs; taken from the data set if 0.
        num_outputs: Number of outputs; taken from the data set if 0.
        quadrature: Injection q into every oscillator, a quarter period behind the inputs. Without
            it (0) the energy is the same for mirrored phases, and oscillators may end at 0 or pi,
            where no nudge moves them.
        sync: Injection S at twice the frequency, which draws phases to 0 and pi.
        dispersion: Standard deviation of the natural frequencies.
        dispersion_seed: Seed of these.
        trained: Which of these are trained as well; parameters add to the values above.
        settling: "descent" moves one block of oscillators after the other to its least energy, to
            the tolerance; "dynamics" follows the phases in time, as the machine does.
        tolerance: Largest torque of a settled oscillator, in units of the fields.
        max_sweeps: Most sweeps of the descent.
        periods: How long the free phase takes with "dynamics" [periods of the oscillators].
        nudged_periods: How long every nudged phase takes.
        step: Step of the dynamics in slow time.
        temperature: Noise of the dynamics, as the energy kT; phases diffuse by 2T per slow time.
        read_bits: Bits of the reading of a phase; 0 for exact readings.
    """

    num_inputs: int = 0
    num_outputs: int = 0
    quadrature: float = 0.0
    sync: float = 0.0
    dispersion: float = 0.0
    dispersion_seed: int = 0
    trained: tuple[Knob, ...] = ()
    settling: Literal["descent", "dynamics"] = "descent"
    tolerance: float = 1e-6
    max_sweeps: int = 2000
    periods: float = 64.0
    nudged_periods: float = 6.4
    step: float = 0.1
    temperature: float = 0.0
    read_bits: int = 0

    # What the kinds differ in.

    @property
    def num_units(self) -> int:
        """Number of oscillators."""
        raise NotImplementedError

    @property
    def blocks(self) -> list[np.ndarray]:
        """The oscillators of every block, no two of it coupled, in the order of a sweep."""
        raise NotImplementedError

    def coupling_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters that are couplings."""
        raise NotImplementedError

    def links(self, params: Params) -> dict[tuple[int, int], Array]:
        """Return the couplings J by pair of blocks, `unit_of_first unit_of_second`."""
        raise NotImplementedError

    def driven(
        self, params: Params, inputs: Float[Array, "batch input"]
    ) -> Float[Array, "batch unit"]:
        """Return the fields h that come from the inputs."""
        raise NotImplementedError

    # What a substrate is asked.

    def __post_init__(self) -> None:
        """Refuse values that no machine has."""
        positive = ("tolerance", "periods", "nudged_periods", "step", "max_sweeps")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive.")
        for name in ("temperature", "dispersion", "read_bits", "num_inputs", "num_outputs"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative.")
        if self.temperature and self.settling == "descent":
            raise ConfigError(
                f"The temperature is {self.temperature}, but descent has no time and no noise. "
                'Use settling = "dynamics".'
            )

    @property
    def abilities(self) -> frozenset[str]:
        """What every system can do, and a netlist."""
        return super().abilities | {"netlist"}

    @property
    def random(self) -> bool:
        """Whether the phases are noisy."""
        return self.temperature > 0

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of couplings, fields and trained knobs."""
        knobs = dict.fromkeys(("field", *self.trained), (self.num_units,))
        return {**self.coupling_shapes(), **knobs}

    def nudge_scale(self, params: Params) -> float:
        """Return the mean over outputs of the largest field that couplings inject there."""
        links = self.links({name: np.asarray(value) for name, value in params.items()})
        total = np.zeros(self.num_units)
        for (first, second), coupling in links.items():
            total[self.blocks[first]] += np.abs(coupling).sum(1)
            total[self.blocks[second]] += np.abs(coupling).sum(0)
        return float(total[-self.num_outputs :].mean())

    def model(
        self, params: Params, inputs: Float[Array, "batch input"], phase: AbstractPhase
    ) -> PhaseModel:
        """Return the phase model of a batch, with what is attached to the outputs."""
        first_output = self.num_units - self.num_outputs
        in_phase = self.driven(params, inputs) + params["field"]
        forces = phase.source_currents(len(inputs), self.num_outputs)
        in_phase = jnp.asarray(in_phase).at[:, first_output:].add(forces)
        quadrature = self._knob(params, "quadrature", self.quadrature)
        if quadrature is None:
            quadrature = jnp.zeros(self.num_units)
        fields = jnp.stack(jnp.broadcast_arrays(in_phase, quadrature), 1)
        sync = self._knob(params, "sync", self.sync)
        springs = jnp.zeros(self.num_units).at[first_output:].add(-0.5 * phase.conductance)
        is_loaded = not isinstance(phase, Free | Force)
        detuning = self._knob(params, "detuning", self.frequencies)

        def total_sync(block: np.ndarray) -> Array | None:
            if is_loaded and block.max() >= first_output:
                return springs[block] if sync is None else (springs + sync)[block]
            return None if sync is None else sync[block]

        def column(values: Array | None) -> Array | None:
            return None if values is None else values[:, None]

        return PhaseModel(
            self.links(params),
            [fields[:, :, block].transpose(2, 1, 0) for block in self.blocks],
            [column(total_sync(block)) for block in self.blocks],
            [column(None if detuning is None else detuning[block]) for block in self.blocks],
        )

    @property
    def frequencies(self) -> Float[np.ndarray, " unit"]:
        """The natural frequencies less the common one, without what is trained."""
        rng = np.random.default_rng(self.dispersion_seed)
        return self.dispersion * rng.standard_normal(self.num_units)

    def _knob(self, params: Params, name: Knob, fixed: Any) -> Float[Array, " unit"] | None:
        """Return a property of every oscillator; None if it is off."""
        if name in self.trained:
            return fixed + params[name]
        return jnp.full(self.num_units, fixed) if np.any(fixed) else None

    def _split(self, state: Float[Array, "batch unit"]) -> Angles:
        return [state[:, block].T for block in self.blocks]

    def _join(self, phases: Angles) -> Float[Array, "batch unit"]:
        order = np.argsort(np.concatenate(self.blocks))
        return jnp.concatenate(phases)[order].T

    def settle(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | AbstractNudge],
        *,
        start: Any = None,
        key: Any = None,
    ) -> list[Settled]:
        """Return the phases of every sample in every phase; the nudged start from the free ones.

        The residual is the largest torque, in units of the fields.
        """
        params = {name: jnp.asarray(value) for name, value in params.items()}
        inputs = jnp.asarray(inputs)
        free, *nudged = phases
        assert isinstance(free, AbstractPhase), "the first phase is the free one"
        if start is None:
            start = jnp.full((len(inputs), self.num_units), START)
        # Nudged phases share their noise, which then cancels in their contrast.
        keys = [None, None] if key is None else jax.random.split(key)
        points = [self._settle(params, inputs, free, start, self.periods, keys[0])]
        outputs = self.outputs(self._read(points[0].state))
        for phase in nudged:
            if isinstance(phase, AbstractNudge):
                phase = phase(outputs, slice(None))
            begin = points[0].state
            points.append(self._settle(params, inputs, phase, begin, self.nudged_periods, keys[1]))
        return [self._marked(point) for point in points]

    def _settle(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        phase: AbstractPhase,
        start: Float[Array, "batch unit"],
        periods: float,
        key: Any,
    ) -> Settled:
        """Return the phases as they are in one phase, from a start."""
        model, begin = self.model(params, inputs, phase), self._split(start)
        if self.settling == "descent":
            units, num_steps = model.descend(unit_vectors(begin), self.tolerance, self.max_sweeps)
            state = self._join(angles(units))
            # A phase near pi may come back near -pi: it has moved little and not once around.
            state = start + jnp.mod(state - start + math.pi, 2.0 * math.pi) - math.pi
        else:
            count = math.ceil(2.0 * math.pi * periods / self.step)
            # Without a key, as in tests of what was learned, without noise.
            temperature = 0.0 if key is None else self.temperature
            ends = model.evolve(begin, self.step, count, temperature, key)
            units, state = unit_vectors(ends), self._join(ends)
            num_steps = jnp.full(len(state), count)
        residual = model.residual(units)
        return Settled(state, residual <= self.tolerance, residual, num_steps)

    def _read(self, state: Float[Array, "batch unit"]) -> Float[Array, "batch unit"]:
        """Return phases as they are read."""
        if not self.read_bits:
            return state
        step = 2.0 * math.pi / (2**self.read_bits - 1)
        return step * jnp.round(state / step)

    def _marked(self, settled: Settled) -> Settled:
        """Return the phases that are read; NaN where they did not settle."""
        state = jnp.where(settled.converged[:, None], self._read(settled.state), jnp.nan)
        return dataclasses.replace(settled, state=state)

    def outputs(self, state: Float[Array, "batch unit"]) -> Float[Array, "batch output"]:
        """Return the cosines of the phases of the outputs."""
        return jnp.cos(state[:, self.num_units - self.num_outputs :])

    def energy(self, params, inputs, state) -> Float[Array, " batch"]:
        """Return the energy; see `PhaseModel`."""
        return self.model(params, inputs, Free()).energy(self._split(state))

    def contrast(self, params, inputs, first, second, samples) -> dict[str, Array]:
        """Return the mean difference of the energy's gradients; see `AbstractSubstrate`.

        As one gradient of the difference, the product with the inputs is formed once.
        """
        first, second = (implicit.masked(state, samples) for state in (first, second))
        count = jnp.maximum(samples.sum(), 1)

        def mean(params):
            model = self.model(params, inputs, Free())
            change = model.energy(self._split(second)) - model.energy(self._split(first))
            return jnp.where(samples, change, 0.0).sum() / count

        return jax.grad(mean)({name: jnp.asarray(value) for name, value in params.items()})

    def respond(
        self, params, inputs, state, forces
    ) -> tuple[Float[Array, "batch unit"], Bool[Array, " batch"]]:
        """Return the change of phases under small forces, and where the state is a minimum."""
        model = self.model(params, inputs, Free())
        pushes = jnp.zeros_like(state).at[:, self.num_units - self.num_outputs :]
        pushes = pushes.set(-jnp.sin(state[:, self.num_units - self.num_outputs :]) * forces)
        changes, stable = model.respond(unit_vectors(self._split(state)), self._split(pushes))
        return self._join(changes), stable

    def cost_gradient(
        self, params, inputs, state, output_gradient, samples, relaxation=None
    ) -> tuple[dict[str, Array], Bool[Array, " batch"]]:
        r"""Return the exact gradient of the cost by implicit differentiation.

        With the Hessian H of the energy, the multipliers $-H^{-1}\partial_\phi C$ of
        `implicit.cost_gradient` are the response to the force $-\partial C/\partial o$.
        """
        assert relaxation is None, "phases do not relax node by node"
        state = implicit.masked(state, samples)
        change, stable = self.respond(params, inputs, state, -output_gradient)
        valid = samples & stable
        return self.contrast_rate(params, inputs, state, change, valid), valid

    def netlist(self, params, inputs, phase, title) -> str:
        """Return the equations of the phases of one sample as a netlist; see `phase_netlist`."""
        *_, settled = self.settle(params, inputs, [Free(), phase])
        if not settled.converged[0]:
            raise ConvergenceError(f"The sample did not settle: {self.explain(settled, 0)}.")
        units = unit_vectors(self._split(settled.state))
        params = {name: jnp.asarray(value) for name, value in params.items()}
        return phase_netlist(self.model(params, inputs, phase), self.blocks, units, title)

    def explain(self, settled: Settled, sample: int) -> str:
        """Tell the torque that is left."""
        return (
            f"a torque of {float(np.asarray(settled.residual)[sample]):.1e} is left, above the "
            f"tolerance {self.tolerance:.0e}"
        )

    def named_state(self, state) -> tuple[list[str], Float[np.ndarray, "batch unit"]]:
        """Return names and phases [rad] of the oscillators."""
        return [f"phase_{i}" for i in range(self.num_units)], np.asarray(state)
