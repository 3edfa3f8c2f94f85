"""A system of its own in 40 lines: the worked example of docs/extending.md.

A Hopfield network of one hidden layer, whose weights may be negative:
$E = |h|^2/2 + |o|^2/2 - x^T A h - h^T B o - b^T h$, with rates h in [-1, 1] and free outputs o.
"""

import dataclasses

import jax
import jax.numpy as jnp

from eqprop_spice.phases import AbstractNudge
from eqprop_spice.settled import Settled
from eqprop_spice.substrates.base import AbstractSubstrate

SWEEPS = 200
TOLERANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class ToyHopfield(AbstractSubstrate):
    """A dense Hopfield network; see the module."""

    num_hidden: int = 4
    num_inputs: int = 0
    num_outputs: int = 0

    def parameter_shapes(self):
        """Return the shapes of A, B and b."""
        n = self.num_hidden
        return {"a": (self.num_inputs, n), "b": (n, self.num_outputs), "bias": (n,)}

    def energy(self, params, inputs, state):
        """Return the energy; see the module."""
        h, o = state
        drive = inputs @ params["a"] + params["bias"]
        return (0.5 * h**2 - drive * h).sum(1) + (0.5 * o**2 - (h @ params["b"]) * o).sum(1)

    def outputs(self, state):
        """Return o."""
        return state[1]

    def residual(self, params, inputs, state, phase):
        """Return how far a step down the energy, clipped to [-1, 1], moves the rates."""
        slope_h, slope_o = super().residual(params, inputs, state, phase)
        return state[0] - jnp.clip(state[0] - slope_h, -1.0, 1.0), slope_o

    def settle(self, params, inputs, phases, *, start=None, key=None):
        """Minimize over h and o in turn, each exactly."""
        drive = inputs @ params["a"] + params["bias"]
        o = jnp.zeros((len(inputs), self.num_outputs)) if start is None else start[1]
        found = []
        for phase in phases:
            if isinstance(phase, AbstractNudge):
                phase = phase(found[0].state[1], slice(None))
            push, stiffness = phase.source_currents(*o.shape), phase.conductance

            def rates(o):
                return jnp.clip(drive + o @ params["b"].T, -1.0, 1.0)

            def sweep(o, push):
                return (rates(o) @ params["b"] + push[0]) / (1.0 + push[1]), None

            pushes = jnp.broadcast_to(push, (SWEEPS, *o.shape)), jnp.full(SWEEPS, stiffness)
            o, _ = jax.lax.scan(sweep, found[0].state[1] if found else o, pushes)
            state = rates(o), o
            parts = self.residual(params, inputs, state, phase)
            worst = jnp.abs(jnp.concatenate(parts, axis=1)).max(axis=1)
            steps = jnp.full(len(inputs), SWEEPS)
            found.append(Settled(state, worst < TOLERANCE, worst, steps))
        return found
