"""What networks of transistors have in common, whatever their graph."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.reciprocity import Edge, edges_of
from eqprop_spice.devices.mosfet import Mosfet
from eqprop_spice.engines.edges import dense
from eqprop_spice.engines.edges.network import EdgeDevice, EdgeNetwork
from eqprop_spice.engines.edges.sparse import SparseSolver
from eqprop_spice.errors import ConfigError
from eqprop_spice.nonidealities.base import check_not_negative, check_seed
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Free, Hold
from eqprop_spice.settled import Settled
from eqprop_spice.substrates.base import AbstractSubstrate, Params
from eqprop_spice.substrates.transistor_netlist import edges_netlist

DENSE_LIMIT = 100
"""Free nodes up to which batched dense factorizations, compiled, beat sparse ones."""

SMALLEST_FACTOR = 1e-3
"""Of a transconductance, however wide its spread."""


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes and edges.

    Attributes:
        num_sources: Nodes that hold voltages; they come first.
        num_free: The others.
        edges: First and second node of every edge, `edge 2`.
        outputs: Positive and negative free node of every output, numbered from 0, `output 2`; -1
            stands for the ground.
    """

    num_sources: int
    num_free: int
    edges: Int[np.ndarray, "edge two"]
    outputs: Int[np.ndarray, "output two"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractTransistors(AbstractSubstrate):
    r"""A graph of n-channel MOS transistors (level 1), whose gate voltages learn [V].

    Every edge is a transistor between two nodes; its gate is held, referred to the ground. In the
    triode region without body effect, its current is $\phi_G(V_a) - \phi_G(V_b)$ with
    $\phi_G(V) = -\tfrac{S}{2} (G - V - V_T)_+^2$, which no co-content has; so equilibrium
    propagation and coupled learning are biased, and the adjoint is exact.

    The contrast of two states is $\tfrac12 (\partial_G I_1 + \partial_G I_2)(\Delta V_2 - \Delta
    V_1)$ per edge; in the triode region that is $\tfrac{S}{2} (\Delta V_2^2 - \Delta V_1^2)$, the
    published rule.

    With `transmission` every edge is a transmission gate instead: an n-channel transistor at gate G
    beside a matched p-channel one at the mirrored voltage `bulk` + `supply` - G. Their quadratic
    terms cancel, so while both conduct in the triode region it is a resistor of conductance
    $S (2 G - V_{bulk} - V_{supply} - 2 V_T)$: linear, reciprocal, and exact under every rule.
    Signals stay about the middle of `bulk` and `supply`.

    Attributes:
        num_inputs: Inputs; taken from the data set if 0.
        num_outputs: Outputs; taken from the data set if 0.
        input_offset: Voltage of a source whose input is zero [V].
        input_scale: Volts per unit of an input.
        input_limits: Lowest and highest voltage of these sources [V]; none if empty.
        doubled_inputs: Whether a second source has the opposite sign of `input_scale`.
        constants: Voltages of further sources [V].
        differential: Whether an output is the difference of two nodes.
        threshold: VTO [V].
        transconductance: KP W/L [A/V^2].
        body_effect: GAMMA [V^(1/2)].
        channel_modulation: LAMBDA [1/V].
        bulk: Voltage of the bulks [V]; no higher than any node.
        leak: Conductance from every free node to the ground [S].
        transmission: Whether edges are transmission gates.
        supply: Supply voltage of transmission gates [V]: the bulk of their p-channel transistors.
        threshold_spread: Standard deviation of the thresholds of a chip [V].
        transconductance_spread: The same of KP, relative.
        read_noise: Standard deviation of every reading of a free node's voltage [V].
        chip: Seed of the spreads: one chip.
        contrast_with: "law" for the contrast above; "drops" for the published rule whatever the
            region: $\tfrac{S}{2} (\Delta V_2^2 - \Delta V_1^2)$.

    References:
        Dillavou et al. (2024), doi:10.1073/pnas.2319718121.
    """

    num_inputs: int = 0
    num_outputs: int = 0
    input_offset: float = 0.0
    input_scale: float = 1.0
    input_limits: tuple[float, ...] = ()
    doubled_inputs: bool = False
    constants: tuple[float, ...] = ()
    differential: bool = True
    threshold: float = 0.7
    transconductance: float = 1e-3
    body_effect: float = 0.0
    channel_modulation: float = 0.0
    bulk: float = 0.0
    leak: float = 0.0
    transmission: bool = False
    supply: float = 5.0
    threshold_spread: float = 0.0
    transconductance_spread: float = 0.0
    read_noise: float = 0.0
    chip: int = 0
    contrast_with: Literal["law", "drops"] = "law"

    def __post_init__(self) -> None:
        """Refuse values that no network has."""
        names = ("threshold_spread", "transconductance_spread", "read_noise", "leak")
        check_not_negative(self, **{name: getattr(self, name) for name in names})
        check_seed(self, self.chip)
        for name in ("num_inputs", "num_outputs"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative.")
        limits = self.input_limits
        if limits and not (len(limits) == 2 and limits[0] < limits[1]):
            raise ConfigError(
                f"input_limits is {limits}; expected the lowest voltage, the highest."
            )
        if not self.transconductance > 0.0:
            raise ConfigError(f"transconductance is {self.transconductance}; it must be positive.")
        if self.transmission and self.body_effect:
            raise ConfigError(
                "transmission gates are linear with body_effect = 0 only; set one of the two to "
                "its default."
            )

    def graph(self) -> Graph:
        """Return the nodes and edges; the sources are those of `held`, in their order."""
        raise NotImplementedError

    @property
    def num_sources(self) -> int:
        """Sources of the inputs, their opposites, and constants."""
        return self.num_inputs * (2 if self.doubled_inputs else 1) + len(self.constants)

    @functools.cached_property
    def _graph(self) -> Graph:
        return self.graph()

    @functools.cached_property
    def network(self) -> EdgeNetwork:
        """The equations of this chip."""
        graph, rng = self._graph, np.random.default_rng([self.chip, 77])
        count, devices = len(graph.edges), []
        for channel in ("nmos", "pmos") if self.transmission else ("nmos",):
            first = channel == "nmos"
            shift = self.threshold_spread * rng.standard_normal(count)
            factor = 1.0 + self.transconductance_spread * rng.standard_normal(count)
            law = Mosfet(
                "edge" if first else "edgep",
                channel,
                threshold=(self.threshold if first else -self.threshold) + shift,
                transconductance=self.transconductance * np.maximum(factor, SMALLEST_FACTOR),
                body_effect=self.body_effect,
                channel_modulation=self.channel_modulation,
            )
            if first:
                devices.append(EdgeDevice(law, self.bulk))
            else:
                devices.append(EdgeDevice(law, self.supply, -1.0, self.supply + self.bulk))
        drains, sources = graph.edges.T
        sizes = graph.num_sources, graph.num_free
        return EdgeNetwork(*sizes, drains, sources, tuple(devices), self.leak)

    @functools.cached_property
    def _solver(self) -> SparseSolver:
        return SparseSolver(self.network)

    @property
    def traceable(self) -> bool:
        """Small networks, and those without an edge between free nodes."""
        return self.network.num_free <= DENSE_LIMIT or self._scalar

    @property
    def _namespace(self) -> Any:
        """What the solver computes with."""
        return jnp if self.traceable else np

    @functools.cached_property
    def _scalar(self) -> bool:
        return self.network.scalar

    @property
    def random(self) -> bool:
        """Whether readings are noisy."""
        return self.read_noise > 0.0

    @property
    def abilities(self) -> frozenset[str]:
        """All but an energy, which transistors do not have."""
        return frozenset({"adjoint", "force", "spring", "hold", "response", "netlist"})

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return one gate voltage per edge [V]."""
        return {"gate": (len(self._graph.edges),)}

    def check(self) -> None:
        """Refuse a graph without edges, or whose outputs no edge reaches.

        Raises:
            ConfigError: If so.
        """
        graph = self._graph
        touched = np.zeros(graph.num_sources + graph.num_free, bool)
        touched[graph.edges] = True
        alone = np.flatnonzero(~touched[graph.num_sources :])
        if len(alone) and self.leak == 0.0:
            raise ConfigError(
                f"No edge reaches free node {alone[0]}: its voltage is not defined. Add edges, or "
                "a leak."
            )

    def nudge_scale(self, params: Params) -> float:
        """Return the mean conductance at the output nodes [S], gates as they are, nodes at rest."""
        gates = np.asarray(params["gate"])
        voltages = np.zeros((1, self.network.num_sources + self.network.num_free))
        own = np.asarray(dense.diagonal(self.network, voltages, gates))[0]
        plus = self._graph.outputs[:, 0]
        return float(own[plus].mean())

    def held(self, inputs: Float[Array, "batch input"]) -> Float[Array, "batch source"]:
        """Return the voltages of the sources [V]."""
        xp = inputs.__array_namespace__()
        parts = [self.input_offset + self.input_scale * inputs]
        if self.doubled_inputs:
            parts.append(self.input_offset - self.input_scale * inputs)
        if self.input_limits:
            parts = [xp.clip(part, *self.input_limits) for part in parts]
        if self.constants:
            constants = xp.asarray(self.constants)[None, :]
            parts.append(xp.broadcast_to(constants, (len(inputs), len(self.constants))))
        return xp.concatenate(parts, axis=1)

    def settle(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | AbstractNudge],
        *,
        start: Any = None,
        key: Any = None,
    ) -> list[Settled]:
        """Return the operating points of every sample; the free phase comes first."""
        xp: Any = self._namespace
        gates = xp.asarray(params["gate"])
        held = self.held(xp.asarray(inputs))
        exact, read = [], []
        for number, phase in enumerate(phases):
            phase = self.attached(phase, read)
            if exact:
                begin = exact[0].state[:, self.network.num_sources :]
            elif start is not None:
                begin = xp.asarray(start)[:, self.network.num_sources :]
            else:
                shape = (len(held), self.network.num_free)
                begin = xp.broadcast_to(held.mean(axis=1, keepdims=True), shape)
            begin = xp.where(xp.isfinite(begin), begin, 0.0)
            exact.append(self._settled(gates, held, phase, begin))
            read.append(self._read(exact[-1], key, number))
        return read

    def _settled(self, gates: Array, held: Array, phase: AbstractPhase, begin: Array) -> Settled:
        """Settle in one phase."""
        xp, graph = held.__array_namespace__(), self._graph
        fixed = np.zeros(graph.num_free, bool)
        injected = xp.zeros(begin.shape)
        springs = None
        if phase.holds:
            assert isinstance(phase, Hold)
            begin = self._displaced(begin, xp.asarray(phase.outputs))
            fixed[graph.outputs[graph.outputs >= 0]] = True
        else:
            shape = (len(held), len(graph.outputs))
            injected = xp.asarray(phase.source_currents(*shape)) @ self._signs
            stiffness = phase.conductance
            if not isinstance(stiffness, float) or stiffness:
                springs = self._springs(stiffness)
        solve: Any = partial_dense(self.network) if self.traceable else self._solver.solve
        if springs is not None and not self.traceable:
            springs = scipy.sparse.csc_array(np.asarray(springs))
        free, converged, residual, steps = solve(gates, held, injected, springs, fixed, begin)
        state = xp.concatenate([held, free], axis=1)
        return Settled(state, converged, residual, xp.broadcast_to(steps, converged.shape))

    def _springs(self, stiffness: Any) -> Array:
        return stiffness * dense.stiffness_matrix(self.network, self._graph.outputs)

    @functools.cached_property
    def _signs(self) -> Float[np.ndarray, "output free"]:
        """What every free node counts in every output."""
        found = np.zeros((len(self._graph.outputs), self._graph.num_free))
        for row, (plus, minus) in zip(found, self._graph.outputs.tolist(), strict=True):
            row[plus] += 1.0
            if minus >= 0:
                row[minus] -= 1.0
        return found

    def _displaced(self, free: Array, outputs: Array) -> Array:
        """Return voltages whose outputs are as given; both nodes of a pair move by half."""
        shares = self._signs / np.abs(self._signs).sum(axis=1, keepdims=True)
        return free + (outputs - free @ self._signs.T) @ shares

    def _read(self, settled: Settled, key: Any, number: int) -> Settled:
        """Return a state with the voltages that are read."""
        if key is None or not self.random:
            return settled
        shape = settled.state[:, self._graph.num_sources :].shape
        noise = self.read_noise * jax.random.normal(jax.random.fold_in(key, number), shape)
        xp = settled.state.__array_namespace__()
        # The sources are known.
        whole = xp.pad(xp.asarray(noise), ((0, 0), (self._graph.num_sources, 0)))
        return dataclasses.replace(settled, state=settled.state + whole)

    def outputs(self, state: Float[Array, "batch node"]) -> Float[Array, "batch output"]:
        """Return the output voltages [V]."""
        return state[:, self._graph.num_sources :] @ self._signs.T

    def named_state(self, state: Any) -> tuple[list[str], Float[np.ndarray, "batch free"]]:
        """Return names and voltages [V] of the free nodes."""
        names = [f"n{k}" for k in range(self._graph.num_free)]
        return names, np.asarray(state)[:, self._graph.num_sources :]

    # What rules use.

    def _edge_product(
        self, params: Params, state: Array, weights: Array, samples: Array
    ) -> dict[str, Array]:
        """Return the mean over samples of the gates' effect on the currents, times weights."""
        xp = state.__array_namespace__()
        keep = xp.asarray(samples)[:, None]
        state, weights = (xp.where(keep, array, 0.0) for array in (state, weights))
        drains, sources = self._graph.edges.T
        gates = xp.asarray(params["gate"])
        at_drain, at_source = self.network.gate_slopes(state, gates)
        product = at_drain * weights[:, drains] + at_source * weights[:, sources]
        return {"gate": product.sum(axis=0) / xp.maximum(xp.asarray(samples).sum(), 1)}

    def contrast(self, params, inputs, first, second, samples) -> dict[str, Array]:
        """Return the contrast of two states; see the class."""
        change = 0.5 * (second - first)
        if self.contrast_with == "drops":
            return self._drops_product(first + second, change, samples)
        ends = [self._edge_product(params, s, change, samples) for s in (first, second)]
        return {"gate": ends[0]["gate"] + ends[1]["gate"]}

    def _drops_product(self, state: Array, change: Array, samples: Array) -> dict[str, Array]:
        """Return the mean over samples of S times the drops, times the drops of a change."""
        xp = state.__array_namespace__()
        keep = xp.asarray(samples)[:, None]
        drains, sources = self._graph.edges.T
        drops, moves = (xp.where(keep, s[:, drains] - s[:, sources], 0.0) for s in (state, change))
        factor = self.transconductance * (2.0 if self.transmission else 1.0)
        mean = (drops * moves).sum(axis=0) / xp.maximum(xp.asarray(samples).sum(), 1)
        return {"gate": factor * mean}

    def _linear(self, params: Params, state: Array, right: Array, *, transposed: bool) -> Array:
        """Solve the Jacobian at free states for currents into the free nodes; over all nodes."""
        xp: Any = self._namespace
        good = xp.isfinite(state).all(axis=1)
        safe = xp.where(good[:, None], state, 0.0)
        gates = xp.asarray(params["gate"])
        solve: Any = functools.partial(dense.linear_solve, self.network)
        if not self.traceable:
            solve = self._solver.linear_solve
        found = solve(gates, safe, xp.asarray(right), transposed=transposed)
        found = xp.where(good[:, None], found, xp.nan)
        return xp.pad(found, ((0, 0), (self._graph.num_sources, 0)))

    def respond(self, params, inputs, state, forces) -> tuple[Array, Array]:
        """Return the small-signal change of all node voltages [V], and where it is valid."""
        xp: Any = self._namespace
        right = xp.asarray(forces) @ self._signs
        change = self._linear(params, state, right, transposed=False)
        return change, xp.isfinite(change).all(axis=1)

    def contrast_rate(self, params, inputs, state, change, samples) -> dict[str, Array]:
        """Return the contrast with a state a small change away, to first order."""
        if self.contrast_with == "drops":
            return self._drops_product(state, change, samples)
        return self._edge_product(params, state, change, samples)

    def cost_gradient(
        self, params, inputs, state, output_gradient, samples, relaxation=None
    ) -> tuple[dict[str, Array], Array]:
        """Return the exact gradient by the adjoint of Kirchhoff's equations."""
        assert relaxation is None, "it has no ability 'relaxation'"
        xp: Any = self._namespace
        keep = xp.asarray(samples)[:, None]
        right = xp.where(keep, xp.asarray(output_gradient), 0.0) @ self._signs
        multipliers = self._linear(params, state, right, transposed=True)
        valid = xp.asarray(samples) & xp.isfinite(multipliers).all(axis=1)
        return self._edge_product(params, state, -multipliers, valid), valid

    def asymmetric_edges(self, params, inputs, state) -> list[Edge]:
        """Return how asymmetric the channel of every edge is, by its gate's place."""
        gates, network = np.asarray(params["gate"]), self.network
        found = map(np.asarray, network.slopes(np.asarray(state), gates))
        drain_drain, drain_source, source_drain, source_source = found
        slopes = np.array([[drain_drain, drain_source], [source_drain, source_source]])
        nodes = np.stack([network.drains, network.sources])
        names = [f"gate[{k}]" for k in range(network.num_edges)]
        return edges_of(names, slopes, nodes, nodes < network.num_sources)

    def netlist(self, params, inputs, phase, title) -> str:
        """Return the netlist of one sample with what is attached to its outputs."""
        gates = np.asarray(params["gate"], float)
        held = np.asarray(self.held(np.asarray(inputs)))[0]
        (free,) = self.settle(params, inputs, [Free()]) if phase.holds else (None,)
        start = None
        if free is not None:
            assert isinstance(phase, Hold)
            begin = np.asarray(free.state)[:, self._graph.num_sources :]
            start = np.asarray(self._displaced(begin, np.asarray(phase.outputs)))[0]
        return edges_netlist(
            self.network, gates, held, self._graph.outputs, phase, start, title=title
        )


def partial_dense(network: EdgeNetwork):
    """Return the dense solver of a network."""
    return functools.partial(dense.solve, network)
