"""Networks of spiking units that settle in the mean: stochastic equilibrium propagation."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError
from eqprop_spice.hopfield.attached import Attached, attach
from eqprop_spice.hopfield.descent import Descent
from eqprop_spice.hopfield.graph import Graph, bias_name, build_graph
from eqprop_spice.hopfield.layers import HARD_SIGMOID, Dense, Layer
from eqprop_spice.phases import AbstractNudge, Free
from eqprop_spice.sampling.spiking import Comparator, Spiking, State, mean_rates
from eqprop_spice.settled import Settled
from eqprop_spice.substrates.base import AbstractSubstrate, Params
from eqprop_spice.substrates.implicit import masked
from eqprop_spice.substrates.spiking_netlist import ComparatorCircuit, drawable, spiking_netlist

TOLERANCES = {"float64": 1e-10, "float32": 1e-5}
"""Distance of rates from where they go within which they count as settled, by precision."""


@dataclasses.dataclass(frozen=True)
class SpikingNetwork(AbstractSubstrate):
    r"""Layers of units that fire at random, driven by the traces of their neighbors' spikes.

    With $\Phi = \sum_k \langle b_k, t_k\rangle + \sum_e \langle P_e(W_e \cdot t_e), t_{e'}\rangle$
    of the traces t, the drive of layer k is $\partial\Phi/\partial t_k$, and the outputs feel what
    is attached to them: the force I and the spring $G\,(\tau - t)$. As traces grow slow
    (alpha to 0) and averages long, the mean traces go to the rates $r = \sigma(\partial\Phi/
    \partial r)$ at which $E = \sum \int\sigma^{-1}(r)\,dr - \Phi$ is stationary: the mean field is
    deterministic equilibrium propagation. The state is the mean traces, layer by layer.

    Attributes:
        layers: The hidden layers, dense or convolutional; a dense layer of outputs follows.
        image: Channels, height and width of inputs that are images.
        num_inputs: Number of inputs.
        num_outputs: Number of outputs.
        mode: "spikes" fires; "mean" settles at the rates. Without a random key, as in tests
            of what was learned, it is the rates in any case.
        noise: Distribution of the threshold's noise.
        width: Its scale; of a logistic threshold, 0.25 makes the slope of the rate 1.
        alpha: Share of the way to a spike that a trace moves, above 0 and up to 1.
        steps: Steps of a phase whose traces are averaged.
        burn_in: Steps of a phase before.
        common_numbers: Whether nudged phases take the same random numbers.
        readout: What is tested: "mean" rates, or averages of "spikes".
        precision: Precision of states.
        tolerance: Largest distance of settled rates; by default 1e-10, or 1e-5 in single precision.
        max_steps: After how many steps rates that have not settled are given up.

    References:
        In the spirit of Lin, Jiang and Sengupta (2025), arXiv:2511.11320, whose code is not public.
    """

    layers: tuple[Layer, ...]
    image: tuple[int, ...] = ()
    num_inputs: int = 0
    num_outputs: int = 0
    mode: Literal["spikes", "mean"] = "spikes"
    noise: Literal["logistic", "normal"] = "logistic"
    width: float = 0.25
    alpha: float = 0.3
    steps: int = 20
    burn_in: int = 20
    common_numbers: bool = True
    readout: Literal["mean", "spikes"] = "mean"
    precision: Literal["float64", "float32"] = "float32"
    tolerance: float | None = None
    max_steps: int = 2000

    def __post_init__(self) -> None:
        """Refuse units that cannot fire."""
        if not self.width > 0.0:
            raise ConfigError(
                f"width is {self.width}; it must be positive. A threshold without noise is no "
                "spiking unit: use hopfield.Hopfield."
            )
        if not 0.0 < self.alpha <= 1.0:
            raise ConfigError(f"alpha is {self.alpha}; it must be above 0, and 1 at most.")
        for name, least in (("steps", 1), ("burn_in", 0), ("max_steps", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}.")

    @functools.cached_property
    def graph(self) -> Graph:
        """Layers and connections, without bounds: rates have them by themselves."""
        layers = (*self.layers, Dense(self.num_outputs))
        for number, layer in enumerate(layers, 1):
            if tuple(layer.bounds) != HARD_SIGMOID:
                raise ConfigError(f"Layer {number} has bounds; rates lie between 0 and 1 anyway.")
        free = tuple(dataclasses.replace(layer, bounds=()) for layer in layers)
        graph = build_graph(free, (), num_inputs=self.num_inputs, image=self.image)
        if any(edge.pools_maxima for edge in graph.edges):
            raise ConfigError(
                "A layer pools maxima: of spikes, the maximum of a window is not that of the rates "
                'it stands for. Set pool = "average".'
            )
        return graph

    def check(self) -> None:
        """Refuse layers that do not fit."""
        _ = self.graph

    @property
    def random(self) -> bool:
        """Whether it fires."""
        return self.mode == "spikes"

    @property
    def random_tests(self) -> bool:
        """Whether tests count spikes as well."""
        return self.random and self.readout == "spikes"

    @property
    def abilities(self) -> frozenset[str]:
        """Spikes are averaged and follow no exact response; rates have one."""
        drawn = drawable(self.graph, self.comparator, self.alpha)
        able = frozenset({"force", "spring"}) | ({"netlist"} if drawn else set())
        return able if self.random else able | {"response", "adjoint"}

    @property
    def circuit(self) -> ComparatorCircuit:
        """Its layers as comparators."""
        return ComparatorCircuit(self.graph, self.comparator, self.alpha)

    @property
    def comparator(self) -> Comparator:
        """The unit."""
        return Comparator(self.noise, self.width)

    def nudge_scale(self, params: Params) -> float:
        """Return by how much a drive must rise to move an undecided rate by 1, if it went on."""
        return 1.0 / self.comparator.slope

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of weights and biases, layer by layer."""
        return self.graph.parameter_shapes()

    def outputs(self, state: State) -> Float[Array, "batch output"]:
        """Return the mean traces of the last layer."""
        return state[-1]

    def settle(self, params, inputs, phases, *, start=None, key=None) -> list[Settled]:
        """Return mean traces or rates in every phase; see `AbstractSubstrate`.

        All phases but the free one start from the free state, and run as one batch.
        """
        first, *others = phases
        batch = len(inputs)
        keys: Any = (None, None)
        if self.random and key is not None:
            keys = jax.random.split(key)
        shapes = self.graph.shapes[1:]
        state = start or tuple(jnp.full((batch, *s), 0.5, self.precision) for s in shapes)
        free = self._run(params, inputs, [first], self._cast(state), keys[0])
        if not others:
            return [free]
        outputs = self.outputs(free.state)
        loads = [p(outputs, slice(None)) if isinstance(p, AbstractNudge) else p for p in others]
        begin = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * len(loads)), free.state)
        found = self._run(params, inputs, loads, begin, keys[1])
        parts = (slice(i * batch, (i + 1) * batch) for i in range(len(loads)))
        return [free, *(jax.tree.map(lambda leaf, r=rows: leaf[r], found) for rows in parts)]

    def _run(self, params, inputs, loads: list, begin: State, key) -> Settled:
        """Return the states in some phases, one after the other in a batch."""
        drive = self._drive(params, inputs, loads)
        rows = len(begin[-1])
        if key is None:
            tolerance = self.tolerance or TOLERANCES[self.precision]
            rates, residual, count = mean_rates(
                self.comparator, drive, begin, tolerance=tolerance, most=self.max_steps
            )
            steps = jnp.broadcast_to(count, residual.shape)
            return Settled(rates, residual <= tolerance, residual, steps)
        run = Spiking(self.comparator, self.alpha, self.steps, self.burn_in)
        shared = len(inputs) if self.common_numbers else rows
        traces = run.run(drive, begin, key, shared=shared)
        finite = jnp.isfinite(traces[-1]).all(1)
        steps = jnp.full(rows, self.burn_in + self.steps)
        return Settled(traces, finite, jnp.zeros(rows, self.precision), steps)

    def _drive(self, params: Params, inputs: Array, loads: list):
        """Return what units feel of traces, in some phases one after the other."""
        graph, weights = self.graph, self._cast(dict(params))
        size, nothing = (len(inputs), self.num_outputs), [Free()] * len(loads)
        drives = []
        for number in range(1, graph.num_layers + 1):
            bias = weights[bias_name(number)]
            drives.append(bias.reshape((1,) * len(graph.shapes[number]) + bias.shape))
        for edge in graph.edges:
            if edge.source == 0:
                value, _ = edge.pool(edge.product(weights[edge.name], self._images(inputs)))
                drives[edge.target - 1] += jnp.concatenate([value] * len(loads))
        unloaded = attach(nothing, size, self.precision)
        attached: Attached = attach(loads, size, self.precision)
        edges = tuple(edge.prepared(weights[edge.name]) for edge in graph.edges)
        descent = Descent(graph, edges, tuple(drives), unloaded)

        def drive(traces: State) -> State:
            *hidden, last = descent.all_targets(traces)
            rows = jnp.broadcast_shapes(last.shape, traces[-1].shape)
            load = attached.force - attached.stiffness * traces[-1]
            felt = [jnp.broadcast_to(h, t.shape) for h, t in zip(hidden, traces, strict=False)]
            return *felt, jnp.broadcast_to(last, rows) + load

        return drive

    def residual(self, params, inputs, state, phase) -> State:
        """Return by how much every rate lies off where it goes."""
        state = self._cast(state)
        felt = self._drive(params, inputs, [phase])(state)
        pairs = zip(state, felt, strict=True)
        return tuple(rate - self.comparator.probability(drive) for rate, drive in pairs)

    def energy(self, params, inputs, state) -> Float[Array, " batch"]:
        """Return the energy that is stationary at the rates; see the class."""
        state = self._cast(state)
        total = sum(_sums(self.comparator.potential(rates)) for rates in state)
        return jnp.asarray(total - self._interaction(params, inputs, [(1.0, state)]))

    def contrast(self, params, inputs, first, second, samples) -> dict[str, Array]:
        """Return the mean difference of slopes; the product with the inputs is formed once."""
        parts = [(s, self._cast(masked(x, samples))) for s, x in ((-1.0, first), (1.0, second))]

        def mean(params):
            change = -self._interaction(params, inputs, parts)
            return jnp.where(samples, change, 0.0).sum() / jnp.maximum(samples.sum(), 1)

        return jax.grad(mean)({name: jnp.asarray(value) for name, value in params.items()})

    def _interaction(self, params: Params, inputs: Array, parts: list) -> Float[Array, " batch"]:
        """Return the signed sum over states of Phi; see the class."""
        weights, sources = self._cast(dict(params)), self._images(inputs)
        total: Any = 0.0
        for number in range(1, self.graph.num_layers + 1):
            change = sum(sign * state[number - 1] for sign, state in parts)
            total = total + _sums(weights[bias_name(number)] * change)
        for edge in self.graph.edges:
            weight, place = weights[edge.name], edge.target - 1
            if edge.source == 0:
                change = sum(sign * state[place] for sign, state in parts)
                total = total + _sums(edge.pool(edge.product(weight, sources))[0] * change)
                continue
            for sign, state in parts:
                value, _ = edge.pool(edge.product(weight, state[edge.source - 1]))
                total = total + sign * _sums(value * state[place])
        return jnp.asarray(total)

    def explain(self, settled, sample: int) -> str:
        """Tell how far the rates are from settled."""
        found = float(np.asarray(settled.residual)[sample])
        return f"a rate would still move by {found:.1e} after {self.max_steps} steps"

    def netlist(self, params, inputs, phase, title) -> str:
        """Return a sample's comparators, latches and traces, running for the steps of a phase."""
        periods = self.burn_in + self.steps
        return spiking_netlist(
            self.circuit, params, np.asarray(inputs)[0], phase, periods=periods, seed=1, title=title
        )

    def _cast(self, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, self.precision), tree)

    def _images(self, inputs: Array) -> Array:
        """Return inputs in the shape of layer 0, channels last."""
        flat = jnp.asarray(inputs, self.precision).reshape(len(inputs), -1)
        if not self.image:
            return flat
        return jnp.moveaxis(flat.reshape(len(flat), *self.image), 1, -1)


def _sums(values: Array) -> Float[Array, " batch"]:
    """Return the sum over everything but samples."""
    return values.reshape(len(values), -1).sum(axis=1)
