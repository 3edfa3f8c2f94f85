"""Flux networks: inductors and Josephson elements whose stored energy is the trained one."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractPhase
from eqprop_spice.settled import Settled
from eqprop_spice.spice.session import vectors_of
from eqprop_spice.spice.writer import number
from eqprop_spice.substrates.base import AbstractSubstrate, Params
from eqprop_spice.substrates.gaussian import check_edges, laplacian

NEWTON_STEPS = 100

SETTLED = 1e-10
"""Largest current that is left at a node, in units of the couplings."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FluxNetwork(AbstractSubstrate):
    r"""Nodes with fluxes $\phi$, joined by inductors and Josephson elements.

    $E = \sum_e \frac{k_e}{2} (\phi_a - \phi_b)^2 - \sum_e j_e \cos(\phi_a - \phi_b) + \sum_i
    \frac{g_i}{2} \phi_i^2 + \sum_{ij} \frac{w_{ij}}{2} (\phi_j - x_i)^2$, in the flux quantum over
    2 pi and one energy unit: k, g and w are inverse inductances, j Josephson energies. This energy
    is stored and not dissipated, so that a resistor with Johnson noise and a capacitance to ground
    at every node make fluxes Boltzmann distributed in it, whatever the resistances are: put it
    into `langevin.Thermal` for the fluctuations. Without them it settles at the minimum.

    Attributes:
        nodes: Number of nodes, the outputs last.
        edges: Pairs of nodes, numbered from 0, with an inductor and a Josephson element.
        num_inputs: Number of inputs, which are held fluxes.
        num_outputs: Number of outputs.
    """

    nodes: int
    edges: tuple[tuple[int, int], ...]
    num_inputs: int = 0
    num_outputs: int = 0

    def __post_init__(self) -> None:
        """Refuse edges that are none."""
        check_edges(self.edges, self.nodes)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of inverse inductances and Josephson energies."""
        count = len(self.edges)
        return {
            "input": (self.num_inputs, self.nodes),
            "coupling": (count,),
            "josephson": (count,),
            "ground": (self.nodes,),
        }

    def admissible(self, params: Params) -> dict[str, Bool[Array, "..."]]:
        """Return which are finite; inverse inductances must not be negative."""
        finite = super().admissible(params)
        return {
            k: good if k == "josephson" else good & (params[k] >= 0.0) for k, good in finite.items()
        }

    def outputs(self, state: Array) -> Float[Array, "batch output"]:
        """Return the fluxes of the outputs."""
        return state[:, self.nodes - self.num_outputs :]

    def named_state(self, state: Array) -> tuple[list[str], Float[np.ndarray, "batch node"]]:
        """Return names and fluxes of the nodes."""
        return [f"flux_{i}" for i in range(self.nodes)], np.asarray(state)

    def energy(self, params, inputs, state) -> Float[Array, " batch"]:
        """Return the stored energy; see the class."""
        first, second = np.array(self.edges, int).reshape(-1, 2).T
        drops = state[:, first] - state[:, second]
        total = (0.5 * params["coupling"] * drops**2 - params["josephson"] * jnp.cos(drops)).sum(1)
        total = total + 0.5 * (params["ground"] * state**2).sum(1)
        apart = state[:, None, :] - jnp.asarray(inputs)[:, :, None]
        return total + 0.5 * (params["input"] * apart**2).sum((1, 2))

    def settle(self, params, inputs, phases, *, start=None, key=None) -> list[Settled]:
        """Return a minimum for every sample and phase; nudged phases start from the free state."""
        params = {name: jnp.asarray(value) for name, value in params.items()}
        begin = jnp.zeros((len(inputs), self.nodes)) if start is None else start
        found: list[Settled] = []
        for phase in phases:
            phase = self.attached(phase, found)
            found.append(self._descend(params, jnp.asarray(inputs), phase, begin))
            begin = found[0].state
        return found

    def _descend(self, params, inputs, phase: AbstractPhase, state: Array) -> Settled:
        """Return where steps of a matrix above every Hessian lead: the energy falls at each."""
        stiff = jnp.diag(params["ground"] + params["input"].sum(0))
        stiff = stiff + laplacian(
            self.edges, params["coupling"] + jnp.abs(params["josephson"]), self.nodes
        )
        first = self.nodes - self.num_outputs
        load = jnp.zeros(self.nodes).at[first:].add(phase.conductance)
        inverse = jnp.linalg.inv(stiff + jnp.diag(load))

        def unsettled(carry):
            return (carry[1] > SETTLED).any() & (carry[2] < NEWTON_STEPS * self.nodes)

        def step(carry):
            state, _, count = carry
            state = state - self.residual(params, inputs, state, phase) @ inverse
            left = jnp.abs(self.residual(params, inputs, state, phase)).max(1)
            return state, left, count + 1

        left = jnp.full(len(inputs), jnp.inf)
        state, left, count = jax.lax.while_loop(unsettled, step, (state, left, jnp.asarray(0)))
        return Settled(state, left <= SETTLED, left, jnp.broadcast_to(count, left.shape))


def flux_netlist(
    network: FluxNetwork,
    params: Params,
    inputs: Float[np.ndarray, " input"],
    *,
    temperature: float,
    capacitance: float,
    resistances: Float[np.ndarray, " node"],
    spacing: float,
    duration: float,
    seed: int,
    title: str,
) -> str:
    r"""Return the network with Johnson noise in `.tran`, in reduced units, fluxes on nodes `f`.

    A node's voltage is $\dot\phi$; a capacitor of 1 F that its copy charges is $\phi$. The
    resistor's current noise, two-sided density 2T/R, is a `trnoise` source of deviation
    $\sqrt{2T/(R\,h)}$ on a grid h, wide compared with neither L/R nor RC.

    Args:
        network: The network.
        params: Its parameters.
        inputs: Held fluxes.
        temperature: kT in units of the energy.
        capacitance: Of every node.
        resistances: To ground, one per node.
        spacing: Grid of the noise.
        duration: Duration of the transient.
        seed: Seed of the noise.
        title: First line.

    Raises:
        ConfigError: If the temperature is not positive.
    """
    if not temperature > 0.0:
        raise ConfigError(f"temperature is {temperature}; it must be positive.")
    arrays = {name: np.asarray(value) for name, value in params.items()}
    lines = [f"* {title}", f".options reltol=1e-4 method=trap seed={seed}"]
    currents: list[list[str]] = [[] for _ in range(network.nodes)]
    for k in range(network.nodes):
        own, pulled = (
            arrays["ground"][k] + arrays["input"][:, k].sum(),
            inputs @ arrays["input"][:, k],
        )
        deviation = float(np.sqrt(2.0 * temperature / (resistances[k] * spacing)))
        currents[k].append(f"{number(float(own))}*v(f{k})-({number(float(pulled))})")
        lines += [
            f"gf{k} 0 f{k} n{k} 0 1",
            f"cf{k} f{k} 0 1 ic=0",
            f"rf{k} f{k} 0 1e12",
            f"c{k} n{k} 0 {number(capacitance)} ic=0",
            f"r{k} n{k} 0 {number(float(resistances[k]))} noisy=0",
            f"in{k} 0 n{k} dc 0 trnoise({number(deviation)} {number(spacing)} 0 0)",
        ]
    for e, (a, b) in enumerate(network.edges):
        drop = f"(v(f{a})-v(f{b}))"
        law = f"{number(float(arrays['coupling'][e]))}*{drop}"
        law += f"+({number(float(arrays['josephson'][e]))})*sin{drop}"
        lines.append(f"be{e} n{a} n{b} i={law}")
    lines += [f"bg{k} n{k} 0 i={'+'.join(parts)}" for k, parts in enumerate(currents)]
    lines.append(f".tran {number(spacing)} {number(duration)} 0 {number(spacing)} uic")
    return "\n".join([*lines, ".end", ""])


def sampled_fluxes(text: str, count: int) -> tuple[Any, Float[np.ndarray, "node point"]]:
    """Return times and fluxes that ngspice's transient of `flux_netlist` ran through."""
    times, *fluxes = vectors_of(text, ["time", *(f"f{k}" for k in range(count))])
    return times, np.array(fluxes)
