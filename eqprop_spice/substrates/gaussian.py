"""Resistor networks with equal white noise at every node: Gaussian states in closed form."""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractNudge, AbstractPhase
from eqprop_spice.settled import Settled
from eqprop_spice.substrates.base import AbstractSubstrate, Params
from eqprop_spice.substrates.thermal_netlist import NoisyCircuit, measured_moments, noisy_netlist

STIFFNESS_FLOOR = 0.0
"""Conductances [S] of a resistor are above this."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Moments:
    """A Gaussian distribution of node voltages.

    Attributes:
        mean: Mean voltages [V].
        covariance: Covariances [V^2].
    """

    mean: Float[Array, "batch node"]
    covariance: Float[Array, "batch node other"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianCircuit(AbstractSubstrate):
    r"""Resistors between nodes, with a capacitance C and a white current source at every node.

    With a two-sided power density N [A^2/Hz] of every source, voltages fluctuate around the
    operating point with the covariance $\tau G^{-1}$, $\tau = N/2C$: the Boltzmann distribution of
    the co-content $E = \frac{1}{2} v^T G v - i^T v$ at the temperature $\tau$ [W]. So the
    finite-nudge gradient follows from an operating point and a noise analysis, without sampling.
    Inputs are ideal sources, with a resistor to every node.

    Attributes:
        nodes: Number of nodes, the outputs last.
        edges: Pairs of nodes with a resistor between them, numbered from 0.
        temperature: $\tau$ [W].
        capacitance: C [F]; states do not depend on it.
        engine: "native" is the closed form; "ngspice" runs `.op` and `.noise`.
        num_inputs: Number of inputs.
        num_outputs: Number of outputs.

    References:
        Litman (2025), arXiv:2511.22024, theorem 3.1, for linear networks.
    """

    nodes: int
    edges: tuple[tuple[int, int], ...]
    temperature: float = 1e-6
    capacitance: float = 1e-12
    engine: Literal["native", "ngspice"] = "native"
    num_inputs: int = 0
    num_outputs: int = 0

    def __post_init__(self) -> None:
        """Refuse a noiseless circuit, and edges that are none."""
        for name in ("temperature", "capacitance"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ConfigError(f"{name} is {value}; it must be finite and positive.")
        check_edges(self.edges, self.nodes)

    @property
    def traceable(self) -> bool:
        """Whether it is solved here."""
        return self.engine == "native"

    @property
    def abilities(self) -> frozenset[str]:
        """All that a Gaussian has a closed form of."""
        return frozenset(
            {"force", "spring", "response", "adjoint", "sampling", "netlist", "reference"}
        )

    def reference(self) -> "GaussianCircuit":
        """Return it with ngspice's operating points and noise analyses."""
        return dataclasses.replace(self, engine="ngspice")

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of conductances from inputs, between nodes and to ground."""
        return {
            "input": (self.num_inputs, self.nodes),
            "coupling": (len(self.edges),),
            "ground": (self.nodes,),
        }

    def admissible(self, params: Params) -> dict[str, Bool[Array, "..."]]:
        """Return which conductances are positive and finite."""
        finite = super().admissible(params)
        return {k: good & (params[k] > STIFFNESS_FLOOR) for k, good in finite.items()}

    def nudge_scale(self, params: Params) -> float:
        """Return the mean conductance at the outputs [S]."""
        matrix, _ = self._stiffness(params, jnp.zeros((1, self.num_inputs)))
        return float(np.diag(np.asarray(matrix))[-self.num_outputs :].mean())

    def outputs(self, state: Moments) -> Float[Array, "batch output"]:
        """Return the mean voltages of the outputs."""
        return state.mean[:, self.nodes - self.num_outputs :]

    def named_state(self, state: Moments) -> tuple[list[str], Float[np.ndarray, "batch unknown"]]:
        """Return means, and deviations of the voltages."""
        deviations = np.sqrt(np.diagonal(np.asarray(state.covariance), axis1=1, axis2=2))
        names = [f"{what}_{i}" for what in ("mean", "deviation") for i in range(self.nodes)]
        return names, np.concatenate([np.asarray(state.mean), deviations], axis=1)

    def _stiffness(self, params: Params, inputs: Array) -> tuple[Array, Array]:
        """Return the conductance matrix [S] and the currents [A] of the free phase."""
        params = {name: jnp.asarray(value) for name, value in params.items()}
        total = jnp.diag(params["ground"] + params["input"].sum(0))
        return total + laplacian(self.edges, params["coupling"], self.nodes), (
            jnp.asarray(inputs) @ params["input"]
        )

    def settle(self, params, inputs, phases, *, start=None, key=None) -> list[Settled]:
        """Return the moments of every sample in every phase; see `AbstractSubstrate`."""
        found: list[Settled] = []
        for phase in phases:
            if isinstance(phase, AbstractNudge):
                phase = phase(self.outputs(found[0].state), slice(None))
            found.append(self._moments(params, inputs, phase))
        return found

    def _moments(self, params: Params, inputs: Array, phase: AbstractPhase) -> Settled:
        if self.engine == "ngspice":
            state = Moments(*measured_moments(self._circuit(params), np.asarray(inputs), phase))
        else:
            matrix, currents = self._stiffness(params, inputs)
            first = self.nodes - self.num_outputs
            forces = phase.source_currents(len(inputs), self.num_outputs)
            matrix = matrix + jnp.diag(jnp.zeros(self.nodes).at[first:].add(phase.conductance))
            currents = jnp.asarray(currents).at[:, first:].add(forces)
            inverse = jnp.linalg.inv(matrix)
            spread = self.temperature * inverse
            spread = jnp.broadcast_to(spread, (len(inputs), *inverse.shape))
            state = Moments(currents @ inverse, spread)
        good = jnp.isfinite(jnp.asarray(state.mean)).all(1)
        nothing = jnp.zeros(len(good))
        return Settled(state, good, nothing, nothing.astype(int))

    def energy(self, params, inputs, state: Moments) -> Float[Array, " batch"]:
        """Return the free energy of a Gaussian: mean co-content less temperature times entropy."""
        params = {name: jnp.asarray(value) for name, value in params.items()}
        mean, spread = jnp.asarray(state.mean), jnp.asarray(state.covariance)
        total = _entropy_part(spread, self.temperature)
        for values, drops, variances in self._drops(params, jnp.asarray(inputs), mean, spread):
            total = total + 0.5 * (values * (drops**2 + variances)).sum(1)
        return total

    def _drops(self, params: Params, inputs: Array, mean: Array, spread: Array):
        """Yield conductances with the means and the variances of their voltage drops."""
        variances = jnp.diagonal(spread, axis1=1, axis2=2)
        yield params["ground"], mean, variances
        first, second = np.array(self.edges, int).reshape(-1, 2).T
        between = variances[:, first] + variances[:, second] - 2.0 * spread[:, first, second]
        yield params["coupling"], mean[:, first] - mean[:, second], between
        for number in range(self.num_inputs):
            yield params["input"][number], mean - inputs[:, number, None], variances

    def respond(self, params, inputs, state, forces):
        """Return the change under small forces: the mean moves, the covariance does not."""
        matrix, _ = self._stiffness(params, inputs)
        first = self.nodes - self.num_outputs
        pushes = jnp.zeros((len(forces), self.nodes)).at[:, first:].set(forces)
        change = Moments(pushes @ jnp.linalg.inv(matrix), jnp.zeros_like(state.covariance))
        return change, jnp.isfinite(change.mean).all(1)

    def cost_gradient(self, params, inputs, state, output_gradient, samples, relaxation=None):
        """Return the gradient of a cost of the mean outputs, which respond by reciprocity."""
        assert relaxation is None, "a distribution does not relax node by node"
        slopes = jnp.where(samples[:, None], output_gradient, 0.0)
        change, valid = self.respond(params, inputs, state, -slopes)
        valid = valid & samples
        return self.contrast_rate(params, inputs, state, change, valid), valid

    def expected_cost(self, state, cost: AbstractCost, targets) -> Float[Array, " batch"]:
        """Return the mean squared error: that of the means, and half the variances."""
        _check_squared(cost)
        first = self.nodes - self.num_outputs
        variances = jnp.diagonal(jnp.asarray(state.covariance), axis1=1, axis2=2)[:, first:]
        return cost.value(self.outputs(state), targets) + 0.5 * variances.sum(1)

    def mean_cost_slope(self, params, inputs, state, cost, targets, samples):
        r"""Return the change of $\partial_\theta E$ as the distribution is tilted by the cost.

        Tilted by $e^{-\epsilon\ell/\tau}$, a Gaussian moves by $-\Sigma_{:o}(m_o - t)/\tau$ in the
        mean and $-\Sigma_{:o}\Sigma_{o:}/\tau$ in the covariance.
        """
        _check_squared(cost)
        first = self.nodes - self.num_outputs
        columns = jnp.asarray(state.covariance)[:, :, first:]
        errors = self.outputs(state) - targets
        change = Moments(
            -jnp.einsum("bno,bo->bn", columns, errors) / self.temperature,
            -jnp.einsum("bno,bmo->bnm", columns, columns) / self.temperature,
        )
        return self.contrast_rate(params, inputs, state, change, samples)

    def netlist(self, params, inputs, phase, title) -> str:
        """Return the circuit with its noise sources, and `.op`."""
        circuit = self._circuit(params)
        return noisy_netlist(circuit, np.asarray(inputs)[0], phase, title=title)

    def _circuit(self, params: Params) -> NoisyCircuit:
        arrays = {name: np.asarray(value) for name, value in params.items()}
        return NoisyCircuit(
            self.nodes,
            self.edges,
            arrays,
            self.num_outputs,
            temperature=self.temperature,
            capacitance=self.capacitance,
        )


def _check_squared(cost: AbstractCost) -> None:
    if not isinstance(cost, SquaredError):
        raise ConfigError(
            f"A Gaussian has a closed form of the mean squared error, not of "
            f"{type(cost).__name__}. Use squared_error.SquaredError."
        )


def _entropy_part(spread: Array, temperature: float) -> Float[Array, " batch"]:
    """Return minus temperature times entropy, without its constant."""
    return -0.5 * temperature * jnp.linalg.slogdet(spread / temperature)[1]


def laplacian(edges: Any, values: Array, count: int) -> Float[Array, "node other"]:
    r"""Return the matrix of $\sum_e k_e (v_a - v_b)^2$, halved, by its second derivatives."""
    first, second = np.array(edges, int).reshape(-1, 2).T
    matrix = jnp.zeros((count, count))
    for rows, columns, sign in (
        (first, first, 1.0),
        (second, second, 1.0),
        (first, second, -1.0),
        (second, first, -1.0),
    ):
        matrix = matrix.at[rows, columns].add(sign * values)
    return matrix


def check_edges(edges: tuple[tuple[int, int], ...], count: int) -> None:
    """Refuse edges that do not join two nodes.

    Raises:
        ConfigError: If so, naming the edge.
    """
    for edge in edges:
        if not (0 <= min(edge) < max(edge) < count):
            raise ConfigError(f"Edge {list(edge)} does not join two of the nodes 0 to {count - 1}.")
