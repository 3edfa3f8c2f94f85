r"""The phase model of coupled oscillators: energy, torques, exact descent, dynamics, responses.

Oscillator i has the phase $\phi_i$ to a common reference. What it feels of the others is a vector
field, $A_i = \sum_j J_{ij}\cos\phi_j + h_i$ in phase and $B_i = \sum_j J_{ij}\sin\phi_j + q_i$ in
quadrature, so all that is summed over couplings is sums of unit vectors: two matrix products and no
sine.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from eqprop_spice.arrays import Array

Units = Sequence[Array]
"""Unit vectors (cos, sin) of the phases of every block, `unit 2 batch`."""

Angles = Sequence[Array]
"""One number for every oscillator of every block, `unit batch`: phases, torques."""

STOP_SHARE = 0.5
"""Sweeps end at this share of the tolerance: what a sweep meets is older than what it leaves."""

RESPONSE_TOLERANCE = 1e-13
"""Relative residual of the linear solve for a response: rounding leaves little below it."""


@dataclasses.dataclass(frozen=True)
class PhaseModel:
    r"""Oscillators in blocks, no two of a block coupled, under the fields of a batch of samples.

    The energy is $E = -\sum_{i<j} J_{ij}\cos(\phi_i - \phi_j) - \sum_i (h_i\cos\phi_i +
    q_i\sin\phi_i + \tfrac12 S_i\cos 2\phi_i + \omega_i\phi_i)$, and $\dot\phi_i = -\partial
    E/\partial\phi_i$ in slow time.

    Attributes:
        links: Couplings J by pair of blocks, `unit_of_first unit_of_second`.
        fields: Injections h and q at the common frequency, by block, `unit 2 batch`.
        sync: Injection S at twice the frequency by block, `unit batch` or `unit 1`.
        detuning: Natural frequencies $\omega$ less the common one, likewise.

    References:
        Wang and Roychowdhury (2019), arXiv:1903.07163; Gower (2025), arXiv:2505.02103.
    """

    links: Mapping[tuple[int, int], Array]
    fields: list[Array]
    sync: list[Array | None]
    detuning: list[Array | None]

    def pull(self, units: Units, block: int) -> Float[Array, "unit 2 batch"]:
        """Return the sum of what the other blocks inject into one."""
        total = jnp.zeros_like(self.fields[block])
        for (first, second), coupling in self.links.items():
            if block == first:
                total += _product(coupling, units[second])
            elif block == second:
                total += _product(coupling.T, units[first])
        return total

    def energy(self, phases: Angles) -> Float[Array, " batch"]:
        """Return the energy of every sample."""
        units = unit_vectors(phases)
        total = jnp.zeros(phases[0].shape[1])
        for (first, second), coupling in self.links.items():
            total -= (units[first] * _product(coupling, units[second])).sum((0, 1))
        for unit, phase, field, sync, detuning in zip(
            units, phases, self.fields, self.sync, self.detuning, strict=True
        ):
            total -= (field * unit).sum((0, 1))
            if sync is not None:
                total -= 0.5 * (sync * (unit[:, 0] ** 2 - unit[:, 1] ** 2)).sum(0)
            if detuning is not None:
                total -= (detuning * phase).sum(0)
        return total

    def torque(self, units: Units, block: int, field: Array) -> Float[Array, "unit batch"]:
        r"""Return $\partial E/\partial\phi$ of one block in the field that it feels."""
        cos, sin = units[block][:, 0], units[block][:, 1]
        torque = sin * field[:, 0] - cos * field[:, 1]
        sync, detuning = self.sync[block], self.detuning[block]
        if sync is not None:
            torque += 2.0 * sync * sin * cos
        return torque if detuning is None else torque - detuning

    def residual(self, units: Units) -> Float[Array, " batch"]:
        """Return the largest torque of every sample."""
        torques = [
            self.torque(units, block, self.pull(units, block) + field)
            for block, field in enumerate(self.fields)
        ]
        return jnp.stack([abs(torque).max(0) for torque in torques]).max(0)

    def aligned(self, unit: Array, block: int, field: Array) -> Float[Array, "unit 2 batch"]:
        r"""Return where the oscillators of a block have the least energy, all others held.

        Without S that is along the field, turned by $\arcsin(\omega/|field|)$; an oscillator whose
        detuning exceeds its field stays at a quarter turn, with a torque left. With S the energy is
        $-S\cos^2\phi$ or $-|S|\sin^2\phi$, concave in one component; its tangent there adds to the
        field, lies above it, and so the energy falls as well.
        """
        sync, detuning = self.sync[block], self.detuning[block]
        if sync is not None:
            along = jnp.stack(jnp.broadcast_arrays(jnp.maximum(sync, 0), jnp.maximum(-sync, 0)), 1)
            field = field + 2.0 * along * unit
        size = jnp.sqrt((field**2).sum(1, keepdims=True))
        moved = jnp.where(size > 0.0, field / jnp.where(size > 0.0, size, 1.0), unit)
        if detuning is None:
            return moved
        sin = jnp.clip(detuning[:, None] / jnp.where(size > 0.0, size, jnp.inf), -1.0, 1.0)
        turned = jnp.stack([-moved[:, 1], moved[:, 0]], 1)
        return jnp.sqrt(1.0 - sin**2) * moved + sin * turned

    def descend(
        self, units: Units, tolerance: float, max_sweeps: int | Array
    ) -> tuple[Units, Int[Array, " batch"]]:
        """Move block after block to its least energy until no torque exceeds the tolerance.

        Args:
            units: Where to start.
            tolerance: Largest torque left.
            max_sweeps: Sweeps after which to stop anyway.

        Returns:
            The unit vectors, and in how many sweeps each sample moved.
        """

        def sweep(carry):
            units, num_sweeps, _, count = carry
            worst = jnp.zeros(num_sweeps.shape)
            for block, own in enumerate(self.fields):
                field = self.pull(units, block) + own
                worst = jnp.maximum(worst, abs(self.torque(units, block, field)).max(0))
                units = [*units]
                units[block] = self.aligned(units[block], block, field)
            moving = worst > STOP_SHARE * tolerance
            return units, num_sweeps + moving, moving.any(), count + 1

        batch = units[0].shape[2]
        start = (units, jnp.zeros(batch, int), jnp.array(True), jnp.array(0))
        units, num_sweeps, _, _ = jax.lax.while_loop(
            lambda carry: carry[2] & (carry[3] < max_sweeps), sweep, start
        )
        return units, num_sweeps

    def evolve(
        self,
        phases: Angles,
        step: float,
        num_steps: int | Array,
        temperature: float = 0.0,
        key: Any = None,
    ) -> Angles:
        r"""Return the phases after some time: $d\phi = -\partial_\phi E\,dt + \sqrt{2T}\,dW$.

        Args:
            phases: Phases at the start [rad].
            step: Step of the Euler-Maruyama method in slow time.
            num_steps: How many steps.
            temperature: T, in units of the energy; needs a key above 0.
            key: Random key.
        """
        noise = (2.0 * step * temperature) ** 0.5

        def move(number, phases):
            units = unit_vectors(phases)
            moved = []
            for block, phase in enumerate(phases):
                field = self.pull(units, block) + self.fields[block]
                phase = phase - step * self.torque(units, block, field)
                if noise:
                    draw = jax.random.fold_in(jax.random.fold_in(key, number), block)
                    phase += noise * jax.random.normal(draw, phase.shape)
                moved.append(phase)
            return moved

        return jax.lax.fori_loop(0, num_steps, move, phases)

    def respond(self, units: Units, push: Angles) -> tuple[Angles, Bool[Array, " batch"]]:
        r"""Return $H^{-1} p$, H being the Hessian of the energy, and where a state is stable.

        H is positive definite where the state is a minimum, so this is the method of conjugate
        gradients, preconditioned by the diagonal, for every sample on its own. In a machine with n
        outputs behind one hidden layer, all but 2n eigenvalues are then 1: it takes 2n + 1 steps.

        Args:
            units: A stationary state.
            push: p.
        """
        diagonal = []
        for block, unit in enumerate(units):
            curvature = (unit * (self.pull(units, block) + self.fields[block])).sum(1)
            sync = self.sync[block]
            if sync is not None:
                curvature += 2.0 * sync * (unit[:, 0] ** 2 - unit[:, 1] ** 2)
            diagonal.append(curvature)
        stable = jnp.stack([(d > 0.0).all(0) for d in diagonal]).all(0)
        inverse = [jnp.where(stable, 1.0 / jnp.where(stable, d, 1.0), 1.0) for d in diagonal]

        def hessian(change: Angles) -> Angles:
            tangents = [
                jnp.stack([-unit[:, 1], unit[:, 0]], 1) * v[:, None]
                for unit, v in zip(units, change, strict=True)
            ]
            curved = []
            for block, unit in enumerate(units):
                field = self.pull(tangents, block)
                cross = unit[:, 1] * field[:, 0] - unit[:, 0] * field[:, 1]
                curved.append(diagonal[block] * change[block] + cross)
            return curved

        return _conjugate_gradients(hessian, inverse, push, stable)


def unit_vectors(phases: Angles) -> Units:
    """Return the unit vectors of phases [rad]."""
    return [jnp.stack([jnp.cos(phase), jnp.sin(phase)], 1) for phase in phases]


def angles(units: Units) -> Angles:
    """Return the phases of unit vectors [rad], between -pi and pi."""
    return [jnp.arctan2(unit[:, 1], unit[:, 0]) for unit in units]


def _product(coupling: Array, unit: Array) -> Float[Array, "unit 2 batch"]:
    """Return the couplings times both components of the unit vectors, as one matrix product."""
    return (coupling @ unit.reshape(len(unit), -1)).reshape(len(coupling), *unit.shape[1:])


def _dot(first: Angles, second: Angles) -> Float[Array, " batch"]:
    return jnp.stack([(a * b).sum(0) for a, b in zip(first, second, strict=True)]).sum(0)


def _conjugate_gradients(
    hessian, inverse: Angles, push: Angles, stable: Array
) -> tuple[Angles, Bool[Array, " batch"]]:
    """Solve the systems of all samples at once; see `PhaseModel.respond`."""
    most = 2 * sum(len(part) for part in push)
    goal = RESPONSE_TOLERANCE**2 * _dot(push, [i * p for i, p in zip(inverse, push, strict=True)])

    def axpy(scale, x: Angles, y: Angles) -> Angles:
        return [scale * a + b for a, b in zip(x, y, strict=True)]

    def step(carry):
        change, rest, direction, size, sound, count = carry
        curved = hessian(direction)
        along = _dot(direction, curved)
        active = sound & (size > goal)
        sound = sound & ((along > 0.0) | ~active)
        active = active & sound
        length = jnp.where(active, size / jnp.where(active, along, 1.0), 0.0)
        change, rest = axpy(length, direction, change), axpy(-length, curved, rest)
        scaled = [i * r for i, r in zip(inverse, rest, strict=True)]
        following = jnp.where(active, _dot(rest, scaled), size)
        ratio = jnp.where(active, following / jnp.where(active, size, 1.0), 0.0)
        return change, rest, axpy(ratio, direction, scaled), following, sound, count + 1

    def goes_on(carry):
        _, _, _, size, sound, count = carry
        return (sound & (size > goal)).any() & (count < most)

    scaled = [i * p for i, p in zip(inverse, push, strict=True)]
    zero = [jnp.zeros_like(part) for part in push]
    start = (zero, push, scaled, _dot(push, scaled), stable, jnp.array(0))
    change, _, _, size, sound, _ = jax.lax.while_loop(goes_on, step, start)
    return change, sound & (size <= goal)
