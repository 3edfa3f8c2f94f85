"""Hopfield networks: layered, convolutional, with skips, of bounded states."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError
from eqprop_spice.hopfield import circuit
from eqprop_spice.hopfield.attached import attach
from eqprop_spice.hopfield.conjugate_gradients import solve
from eqprop_spice.hopfield.descent import Descent, State
from eqprop_spice.hopfield.graph import Graph, bias_name, build_graph
from eqprop_spice.hopfield.layers import Dense, Layer, Skip
from eqprop_spice.hopfield.slopes import factors, mean_slopes
from eqprop_spice.hopfield.truncated import through_recurrence, through_sweeps
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Force, Free
from eqprop_spice.settled import Settled
from eqprop_spice.substrates.base import AbstractSubstrate, Params
from eqprop_spice.substrates.implicit import masked

TOLERANCES = {"float64": 1e-10, "float32": 1e-5}
"""Residual within which a state counts as settled, by precision, unless it is given."""

SOLVED = {"float64": 1e-12, "float32": 1e-5}
"""Relative residual of linear systems, by precision."""


@dataclasses.dataclass(frozen=True)
class Hopfield(AbstractSubstrate):
    r"""A network whose layers pull at each other, each state held within bounds.

    Its energy is $E = \frac{1}{2} \sum_k |s_k|^2 - \sum_k \langle b_k, s_k \rangle - \sum_e \langle
    P_e(W_e \cdot s_e), s_{e'} \rangle$ over layers k and connections e from a layer to a later one,
    with products $\cdot$ of matrices or convolutions, and pools P. Its bounds are the activation of
    a layer: the state is the minimum of E within them. Weights and biases have any sign.

    Attributes:
        layers: The hidden layers; a dense layer of outputs follows them.
        skips: Connections that skip layers.
        image: Channels, height and width of inputs that are images.
        num_inputs: Number of inputs; images count by channel, row and column.
        num_outputs: Number of outputs.
        output_bounds: Smallest and largest output; empty for linear outputs.
        tolerance: By how much a unit of a settled state would move at most; by default 1e-10, or
            1e-5 in single precision.
        max_sweeps: After how many sweeps a state that has not settled is given up.
        sweeps: To make exactly so many sweeps in the free and in any other phase, as published;
            the tolerance then only says which samples count.
        mode: Whether connected layers move in turn, or all layers at once.
        precision: Precision of states and products; parameters stay in double precision.
        warm_start: Whether training starts a minibatch from the states that the last one ended in.
        engine: "native" descends here; "ngspice" solves the network's circuit, sample by sample.

    References:
        Hopfield (1984), doi:10.1073/pnas.81.10.3088; Scellier et al. (2023), arXiv:2312.15103;
        Elayedam and Srinivasan (2025), arXiv:2509.26003.
    """

    layers: tuple[Layer, ...]
    skips: tuple[Skip, ...] = ()
    image: tuple[int, ...] = ()
    num_inputs: int = 0
    num_outputs: int = 0
    output_bounds: tuple[float, ...] = ()
    tolerance: float | None = None
    max_sweeps: int = 2000
    sweeps: tuple[int, int] | None = None
    mode: Literal["asynchronous", "synchronous"] = "asynchronous"
    precision: Literal["float64", "float32"] = "float64"
    warm_start: bool = False
    engine: Literal["native", "ngspice"] = "native"

    @functools.cached_property
    def graph(self) -> Graph:
        """Its layers and connections.

        Raises:
            ConfigError: If the layers do not fit.
        """
        layers = (*self.layers, Dense(self.num_outputs, self.output_bounds))
        return build_graph(layers, self.skips, num_inputs=self.num_inputs, image=self.image)

    @property
    def warm(self) -> bool:
        """Whether `warm_start` is on."""
        return self.warm_start

    @property
    def traceable(self) -> bool:
        """Whether it descends here."""
        return self.engine == "native"

    @property
    def abilities(self) -> frozenset[str]:
        """All but what only resistors do; only some networks can be built as a circuit."""
        drawable = not any(edge.pools_maxima for edge in self.graph.edges)
        computed = {"force", "spring", "hold", "response", "adjoint", "relaxation"}
        return frozenset(computed | ({"netlist", "reference"} if drawable else set()))

    def check(self) -> None:
        """Refuse layers that do not fit, and settings that no state can satisfy."""
        graph = self.graph
        if self.engine == "ngspice":
            circuit.check_drawable(graph)
        if self.tolerance is not None and not self.tolerance > 0.0:
            raise ConfigError(f"tolerance is {self.tolerance}; it must be positive.")
        for name, count in (("max_sweeps", self.max_sweeps), ("sweeps", min(self.sweeps or (1,)))):
            if count < 1:
                raise ConfigError(f"{name} holds {count}; it must be at least 1.")

    def check_phase(self, phase: AbstractPhase | AbstractNudge) -> None:
        """Refuse a negative spring that leaves linear outputs without a minimum."""
        if not isinstance(phase, AbstractPhase):
            return
        stiffness = phase.conductance
        if isinstance(stiffness, int | float | np.floating) and stiffness <= -1.0:
            raise ConfigError(
                f"A nudge has the strength {stiffness:g}; outputs of a Hopfield network have the "
                "stiffness 1 of their own, so that it must lie above -1. Take a smaller beta, or "
                'nudge = "constant".'
            )

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of weights and biases, layer by layer."""
        return self.graph.parameter_shapes()

    def initial_state(self, batch_size: int) -> State:
        """Return states of zero."""
        shapes = self.graph.shapes[1:]
        return tuple(jnp.zeros((batch_size, *shape), self.precision) for shape in shapes)

    def outputs(self, state: State) -> Float[Array, "batch output"]:
        """Return the last layer."""
        return state[-1]

    def inside(self, state: State) -> Bool[Array, " batch"]:
        """Return which states are within the bounds of every layer."""
        good = jnp.ones(len(state[-1]), bool)
        for values, (low, high) in zip(state, self.graph.bounds, strict=True):
            within = (values >= low) & (values <= high)
            good = good & within.reshape(len(values), -1).all(axis=1)
        return good

    def settle(self, params, inputs, phases, *, start=None, key=None) -> list[Settled]:
        """Return where every sample settles in every phase; see `AbstractSubstrate`.

        All phases but the free one start from the free state, and settle as one batch.
        """
        if self.engine == "ngspice":
            return self._simulate(params, inputs, phases)
        first, *others = phases
        assert isinstance(first, AbstractPhase), "no phase comes before the first"
        batch = len(inputs)
        descent = self._descent(params, inputs, first)
        state = self.initial_state(batch) if start is None else self._cast(start)
        free = self._relax(descent, state, 0)
        if not others:
            return [free]
        outputs = self.outputs(free.state)
        loads = [p(outputs, slice(None)) if isinstance(p, AbstractNudge) else p for p in others]

        def repeated(leaf: Array) -> Array:
            # What has one row serves any number of them.
            return jnp.concatenate([leaf] * len(loads)) if len(leaf) > 1 else leaf

        joint = dataclasses.replace(
            descent,
            drives=jax.tree.map(repeated, descent.drives),
            load=attach(loads, (batch, self.num_outputs), self.precision),
        )
        start = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * len(loads)), free.state)
        settled = self._relax(joint, start, 1)
        return [free, *(_rows(settled, i * batch, batch) for i in range(len(loads)))]

    def energy(self, params, inputs, state) -> Float[Array, " batch"]:
        """Return the energy; see the class."""
        params, state = self._cast(dict(params)), self._cast(state)
        layers = (self._images(inputs), *state)
        total = sum(
            0.5 * _sums(s * s) - _sums(params[bias_name(k)] * s) for k, s in enumerate(state, 1)
        )
        for edge in self.graph.edges:
            value, _ = edge.pool(edge.product(params[edge.name], layers[edge.source]))
            total = total - _sums(value * layers[edge.target])
        return jnp.asarray(total)

    def residual(self, params, inputs, state, phase) -> State:
        """Return by how much every unit of a state lies off where it would go alone."""
        state = self._cast(state)
        targets = self._descent(params, inputs, phase).all_targets(state)
        return tuple(s - target for s, target in zip(state, targets, strict=True))

    def energy_gradient(self, params, inputs, state, samples) -> dict[str, Array]:
        """Return the mean of products of connected states; see `AbstractSubstrate`."""
        factors = self._factors(params, inputs, masked(state, samples))
        products = [edge.outer(*pair) for edge, pair in zip(self.graph.edges, factors, strict=True)]
        return self._mean(params, products, masked(state, samples), samples)

    def contrast(self, params, inputs, first, second, samples) -> dict[str, Array]:
        """Return the mean difference of products of connected states; see `AbstractSubstrate`.

        It is taken as products of means and differences: exact in floating point where states
        differ by little, and half the work where the source is the inputs.
        """
        low, high = masked(first, samples), masked(second, samples)
        products = []
        for edge, (s1, u1), (s2, u2) in zip(
            self.graph.edges,
            self._factors(params, inputs, low),
            self._factors(params, inputs, high),
            strict=True,
        ):
            product = edge.outer(0.5 * (s1 + s2), u2 - u1)
            if edge.source > 0:
                product = product + edge.outer(s2 - s1, 0.5 * (u1 + u2))
            products.append(product)
        change = jax.tree.map(jnp.subtract, high, low)
        return self._mean(params, products, change, samples)

    def respond(self, params, inputs, state, forces):
        r"""Return the change of a free state under small forces, and where it was found.

        With T(s, I) where every unit would go alone under forces I, $(1 - \partial_s T)\,\delta s =
        \partial_I T\,I$. Units at their bounds stay; on the others the matrix is the Hessian of the
        energy, definite at a minimum, and conjugate gradients solve with it.
        """
        state, forces = self._cast(state), jnp.asarray(forces, self.precision)

        def targets(currents):
            return self._descent(params, inputs, Force(currents)).all_targets(state)

        _, push = jax.jvp(targets, (0.0 * forces,), (forces,))
        descent = self._descent(params, inputs, Free())
        _, follow = jax.linearize(descent.all_targets, state)
        right, unflatten = _flat(push)
        change, found = solve(
            lambda rows: rows - _flat(follow(unflatten(jnp.asarray(rows))))[0],
            right,
            tolerance=SOLVED[self.precision],
            most=self.max_sweeps,
        )
        return unflatten(jnp.asarray(change)), found

    def cost_gradient(self, params, inputs, state, output_gradient, samples, relaxation=None):
        r"""Return the mean gradient of the cost; see `AbstractSubstrate`.

        The Hessian is symmetric, so that the adjoint state is the response to the force
        $-\partial C/\partial o$.
        """
        state = masked(state, samples)
        slopes = jnp.where(samples[:, None], output_gradient, 0.0)
        if relaxation is not None:
            slopes = jnp.asarray(slopes / jnp.maximum(samples.sum(), 1), self.precision)
            pull = through_recurrence if relaxation.synchronous else through_sweeps
            network = functools.partial(self._descent, inputs=inputs, phase=Free())
            state = self._cast(state)
            return pull(network, params, state, slopes, relaxation.num_iterations), samples
        change, found = self.respond(params, inputs, state, -slopes)
        valid = samples & found
        return self.contrast_rate(params, inputs, state, change, valid), valid

    def netlist(self, params, inputs, phase, title) -> str:
        """Return the circuit of one sample in a phase; see `hopfield.circuit`."""
        sources = np.asarray(self._images(inputs), float).ravel()
        return circuit.netlist(self.graph, params, sources, phase, title=title)

    def reference(self) -> "Hopfield":
        """Return the network as its circuit in ngspice."""
        return dataclasses.replace(self, engine="ngspice", precision="float64")

    def explain(self, settled, sample: int) -> str:
        """Return how far a sample is from settling, and after how many sweeps."""
        residual, count = (np.asarray(a)[sample] for a in (settled.residual, settled.num_steps))
        return (
            f"a unit would still move by {residual:.1e} after {count} sweeps, more than the "
            f"tolerance of {self._tolerance:.1e}"
        )

    @property
    def _tolerance(self) -> float:
        return TOLERANCES[self.precision] if self.tolerance is None else self.tolerance

    def _cast(self, tree: Any) -> Any:
        """Return a tree of JAX arrays in the precision of states."""
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, self.precision), tree)

    def _images(self, inputs: Array) -> Array:
        """Return inputs in the shape of layer 0, channels last."""
        flat = jnp.asarray(inputs, self.precision).reshape(len(inputs), -1)
        if not self.image:
            return flat
        return jnp.moveaxis(flat.reshape(len(flat), *self.image), 1, -1)

    def _descent(self, params: Params, inputs: Array, phase: AbstractPhase) -> Descent:
        """Return the network with its weights, its inputs, and a phase."""
        params, sources = self._cast(dict(params)), self._images(inputs)
        graph = self.graph
        drives = []
        for number in range(1, graph.num_layers + 1):
            bias = params[bias_name(number)]
            drives.append(bias.reshape((1,) * len(graph.shapes[number]) + bias.shape))
        for edge in graph.edges:
            if edge.source == 0:
                value, _ = edge.pool(edge.product(params[edge.name], sources))
                drives[edge.target - 1] = drives[edge.target - 1] + value
        return Descent(
            graph,
            tuple(edge.prepared(params[edge.name]) for edge in graph.edges),
            tuple(drives),
            attach([phase], (len(sources), self.num_outputs), self.precision),
            synchronous=self.mode == "synchronous",
        )

    def _relax(self, descent: Descent, state: State, kind: int) -> Settled:
        """Return where a descent from a state ends, in the free (0) or in another (1) phase."""
        progress = descent.begin(state)
        if self.sweeps is None:
            progress, count = descent.settle(progress, self._tolerance, self.max_sweeps)
        else:
            count = jnp.asarray(self.sweeps[kind])
            progress = descent.run(progress, self.sweeps[kind])
        residual = descent.residual(progress)
        counts = jnp.broadcast_to(count, residual.shape)
        return Settled(progress.state, residual <= self._tolerance, residual, counts)

    def _simulate(self, params: Params, inputs: Array, phases) -> list[Settled]:
        """Return operating points of ngspice as states, in every phase."""
        sources = np.asarray(self._images(inputs), float).reshape(len(inputs), -1)
        found: list[Settled] = []
        for phase in phases:
            phase = self.attached(phase, found)
            descent = self._descent(params, inputs, phase)
            state = circuit.operating_states(self.graph, params, sources, descent.load)
            changes = jax.tree.map(jnp.subtract, descent.all_targets(state), state)
            residual = np.max([np.abs(c).reshape(len(c), -1).max(axis=1) for c in changes], axis=0)
            steps = np.zeros(len(residual), int)
            found.append(Settled(state, residual <= self._tolerance, residual, steps))
        return found

    def _factors(self, params: Params, inputs: Array, state: State) -> list[tuple[Array, Array]]:
        """Return what slopes of the energy are products of; see `factors`."""
        return factors(
            self.graph, self._cast(dict(params)), self._images(inputs), self._cast(state)
        )

    def _mean(self, params: Params, products: list[Array], state: State, samples: Array):
        """Return mean slopes of the energy in the precision of the parameters."""
        slopes = mean_slopes(self.graph, products, state, samples)
        return {name: slopes[name].astype(params[name].dtype) for name in params}


def _rows(settled: Settled, start: int, count: int) -> Settled:
    """Return some rows of a batch."""
    return jax.tree.map(lambda leaf: leaf[start : start + count], settled)


def _sums(values: Array) -> Float[Array, " batch"]:
    """Return the sum over everything but samples."""
    return values.reshape(len(values), -1).sum(axis=1)


def _flat(state: State):
    """Return a state as rows, and what makes states of rows."""
    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], state))
    return jax.vmap(lambda one: ravel_pytree(one)[0])(state), jax.vmap(unravel)
