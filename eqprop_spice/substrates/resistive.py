"""A circuit and the engine that solves it, as a learning rule sees them."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.circuits.power import DISSIPATING, WITH_CONTENT, absorbed_powers, co_contents
from eqprop_spice.circuits.reciprocity import branch_weights, reciprocity_weights
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.engines.relaxation import truncated_multipliers
from eqprop_spice.engines.uniqueness import (
    Uniqueness,
    confirmed,
    criterion,
    find_operating_points,
)
from eqprop_spice.errors import ConfigError
from eqprop_spice.nonidealities.base import AbstractNonideality
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Free, Hold
from eqprop_spice.settled import OperatingPoint
from eqprop_spice.spice.writer import netlist
from eqprop_spice.substrates.base import ABILITIES, AbstractSubstrate, Params
from eqprop_spice.substrates.sampled_circuit import check_sampled


@dataclasses.dataclass(frozen=True)
class ResistiveNetwork(AbstractSubstrate):
    r"""A resistive network; its energy is the weighted co-content [W].

    $P(u) = \sum_b \omega_b \Theta_b(\Delta V_b)$, so $\partial P/\partial g = \omega \Delta V^2/2$.

    Attributes:
        circuit: The circuit.
        engine: What finds its operating points.
        nominal: The circuit as it was drawn, which the weights are taken from; None if it was built
            exactly so.
        nonidealities: What happens to conductances on their way into the devices, and to voltages
            on their way out.
        weights: "reciprocity" for the weights that make the rule a gradient; "none" for the rule as
            it is printed in the literature (Kendall et al. 2020, arXiv:2006.01981, eq. 9), which is
            off by A/kappa per amplifier stage.
    """

    circuit: Circuit
    engine: AbstractEngine
    weights: Literal["reciprocity", "none"] = "reciprocity"
    nominal: Circuit | None = None
    nonidealities: tuple[AbstractNonideality, ...] = ()

    @functools.cached_property
    def group_weights(self) -> dict[str, Array | float]:
        """The weight of every trainable group, a number or an array over its instances."""
        if self.weights == "none":
            return {group.name: np.ones(()) for group in self.circuit.trainable_groups}
        weights = reciprocity_weights(self.nominal or self.circuit)
        return {name: w.flat[0] if (w == w.flat[0]).all() else w for name, w in weights.items()}

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of the conductances [S] of every trainable group."""
        return self.circuit.parameter_shapes()

    @property
    def traceable(self) -> bool:
        """Whether the engine runs under `jax.jit`."""
        return self.engine.traceable

    def vectorizable(self, *, holding: bool) -> bool:
        """Whether the engine runs this circuit under `jax.vmap`, and the clamped one if asked."""
        if self.warm:
            return False
        circuits = [self.circuit, *([self.circuit.clamped] if holding else [])]
        return all(self.engine.vectorizable(circuit) for circuit in circuits)

    @property
    def random(self) -> bool:
        """Whether readings are random."""
        return any(n.changes_readings for n in self.nonidealities)

    @property
    def abilities(self) -> frozenset[str]:
        """All but averages over samples."""
        return frozenset(ABILITIES) - {"sampling"}

    def nudge_scale(self, params: Params) -> float:
        """Return the mean conductance of the resistors at an output's positive node [S]."""
        totals = self.circuit.node_conductances(params)
        return float(totals[self.circuit.output_nodes[:, 0]].mean())

    def check(self) -> None:
        """Refuse a circuit that the engine cannot solve.

        Raises:
            NetlistError: If so, with what to use instead.
        """
        self.engine.check_circuit(self.circuit)

    def check_parameters(self, params: Params) -> None:
        """Refuse conductances that no resistor has; see `Circuit.check_parameters`."""
        self.circuit.check_parameters(params)

    def admissible(self, params: Params) -> dict[str, Bool[Array, "..."]]:
        """Return which conductances are finite and positive, and which currents finite."""
        good = self.all_positive(params)
        currents = {k: v for k, v in params.items() if k in self.starting_at_zero}
        return good | AbstractSubstrate.admissible(self, currents)

    @property
    def starting_at_zero(self) -> frozenset[str]:
        """The currents of current sources."""
        return self.circuit.supplied_parameters

    def explain(self, settled: OperatingPoint, sample: int) -> str:
        """Name the node where a sample violates Kirchhoff's current law most."""
        text = f"worst at node '{self.circuit.node_names[int(settled.worst_node[sample])]}'"
        if all((a.gains * a.reflections > 0).all() for a in self.circuit.amplifiers):
            return text
        return (
            f"{text} (its amplifiers draw back more than they deliver, kappa < 0: there may be no "
            'operating point, or one that this engine misses; reflection = "kendall" has exactly '
            "one)"
        )

    @property
    def warm(self) -> bool:
        """Where the engine is."""
        return self.engine.warm_start

    def initial_state(self, batch_size: int) -> Float[Array, "batch node"]:
        """Return all nodes at 0 V."""
        return np.zeros((batch_size, self.circuit.num_nodes))

    @property
    def num_parts(self) -> int:
        """One part for every free node."""
        return len(self.circuit.free_nodes)

    def named_state(self, state: Array) -> tuple[list[str], Float[np.ndarray, "batch free"]]:
        """Return names and voltages [V] of the free nodes."""
        free = self.circuit.free_nodes
        return [self.circuit.node_names[n] for n in free], np.asarray(state)[:, free]

    def devices(self, params: Params) -> Params:
        """Return the conductances of the devices [S] when programmed with `params` [S]."""
        currents = {k: v for k, v in params.items() if k in self.starting_at_zero}
        changed = {k: v for k, v in params.items() if k not in currents}
        for nonideality in self.nonidealities:
            changed = nonideality.on_conductances(changed)
        return {name: currents[name] if name in currents else changed[name] for name in params}

    def settle(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | AbstractNudge],
        *,
        start: Any = None,
        key: Any = None,
    ) -> list[OperatingPoint]:
        """Return the operating points of every sample in every phase, as they are read.

        Raises:
            ConfigError: If outputs are to be held and readings are noisy: two held states would be
                read with one noise.
        """
        devices = self.devices(params)
        holding = [
            isinstance(p, Hold) or (isinstance(p, AbstractNudge) and p.holds) for p in phases
        ]
        loads = [phase for phase, holds in zip(phases, holding, strict=True) if not holds]
        started = {} if start is None or not self.warm else {"start": start}
        points = self.engine.settle(self.circuit, devices, inputs, loads, **started)
        if key is not None and self.random:
            if any(holding):
                raise ConfigError(
                    "Rules that hold the outputs cannot be combined with read noise; use "
                    "equilibrium_propagation.EquilibriumPropagation, or remove the read noise."
                )
            points = [
                self._read(point, jax.random.fold_in(key, number))
                for number, point in enumerate(points)
            ]
        free, remaining = points[0], iter(points)
        return [
            self._hold(devices, inputs, free, phase) if holds else next(remaining)
            for phase, holds in zip(phases, holding, strict=True)
        ]

    def _read(self, point: OperatingPoint, key: Any) -> OperatingPoint:
        """Return an operating point with the voltages that are read."""
        voltages = point.voltages
        for number, nonideality in enumerate(self.nonidealities):
            voltages = nonideality.on_voltages(voltages, jax.random.fold_in(key, number))
        if isinstance(point.voltages, np.ndarray):
            voltages = np.asarray(voltages)
        return dataclasses.replace(point, voltages=voltages)

    def outputs(self, state: Float[Array, "batch node"]) -> Float[Array, "batch output"]:
        """Return the output voltages [V]."""
        return self.circuit.outputs(state)

    def energy(
        self, params: Params, inputs: Float[Array, "batch input"], state: Float[Array, "batch node"]
    ) -> Float[Array, " batch"]:
        """Return the weighted co-content [W] of all devices that have one."""
        circuit = self.circuit
        if self.weights == "none":
            weights = {group.name: np.ones(()) for group in circuit.groups}
        else:
            weights = branch_weights(self.nominal or circuit, circuit.groups_with_energy)
        nothing = 0.0 * circuit.outputs(state)
        contents = co_contents(circuit, self.devices(params), state, nothing, weights=weights)
        return sum((contents[kind] for kind in WITH_CONTENT), start=nothing[:, 0])

    def moving(self, state) -> Bool[np.ndarray, "batch node"]:
        """Return which nodes may fluctuate: the free ones; see `AbstractSubstrate`.

        Raises:
            ConfigError: If the circuit has more than resistors, diodes and sources.
        """
        check_sampled(self.circuit)
        moves = np.zeros(self.circuit.num_nodes, bool)
        moves[self.circuit.free_nodes] = True
        return np.broadcast_to(moves, state.shape)

    def residual(self, params, inputs, state, phase) -> Float[Array, "batch free"]:
        """Return the currents that leave each free node [A]; see `Circuit.residual`."""
        outputs = self.circuit.outputs(state)
        injected = phase.source_currents(*outputs.shape) - phase.conductance * outputs
        return self.circuit.residual(self.devices(params), state, injected)

    def energy_gradient(self, params, inputs, state, samples) -> dict[str, Array]:
        r"""Return $\omega$ times the batch mean of $\Delta V^2/2$ [W/S]."""
        return self._product(0.5 * state, state, samples, self.group_weights, still=None)

    def _hold(
        self,
        devices: Params,
        inputs: Float[Array, "batch input"],
        free: OperatingPoint,
        phase: AbstractPhase | AbstractNudge,
    ) -> OperatingPoint:
        """Hold the output nodes with voltage sources, and settle the rest."""
        clamped = self.circuit.clamped
        xp = free.voltages.__array_namespace__()
        held = self.held_voltages(free.voltages, phase)
        held = xp.where(free.converged[:, None], held, 0.0)
        extended = xp.concatenate([xp.asarray(inputs), held], axis=1)
        if not len(clamped.free_nodes):
            # Nothing is left to settle.
            return dataclasses.replace(free, voltages=clamped.node_voltages(held[:, :0], extended))
        (point,) = self.engine.settle(clamped, devices, extended, [Free()])
        return dataclasses.replace(point, converged=point.converged & free.converged)

    def held_voltages(
        self, voltages: Float[Array, "batch node"], phase: AbstractPhase | AbstractNudge
    ) -> Float[Array, "batch clamped"]:
        """Return the voltages of `clamped_nodes` that hold the outputs as a phase says [V].

        Both nodes of a differential output move from where they are free, by half of what the
        output moves.

        Args:
            voltages: Node voltages at free operating points [V].
            phase: A phase that holds the outputs, or a nudge that does.
        """
        outputs = self.circuit.outputs(voltages)
        hold = phase(outputs, slice(None)) if isinstance(phase, AbstractNudge) else phase
        assert isinstance(hold, Hold)
        displacement = hold.outputs - outputs
        circuit = self.circuit
        xp = voltages.__array_namespace__()
        differential = (circuit.output_nodes != GROUND).all(1)
        # Moves a node by the displacements of the outputs that it belongs to.
        share = np.zeros((circuit.num_outputs, circuit.num_nodes))
        size = np.where(differential, 0.5, 1.0)
        np.add.at(share, (np.arange(len(size)), circuit.output_nodes[:, 0]), size)
        np.add.at(share, (np.arange(len(size)), circuit.output_nodes[:, 1]), -size)
        return (voltages + displacement @ xp.asarray(share))[:, circuit.clamped_nodes]

    def contrast(self, params, inputs, first, second, samples) -> dict[str, Array]:
        r"""Return $\omega$ times the batch mean of $(\Delta V_2^2 - \Delta V_1^2)/2$ [W/S].

        The difference of squares is taken as product of mean and difference: exact in floating
        point where the two states differ by less than the square root of its precision.
        """
        return self._change(0.5 * (first + second), second - first, samples, self.group_weights)

    def respond(self, params, inputs, state, forces) -> tuple[Array, Bool[Array, " batch"]]:
        """Return the small-signal change of all node voltages [V], and where it is finite."""
        changes = self.engine.respond(self.circuit, self.devices(params), inputs, state, forces)
        finite = changes.__array_namespace__().isfinite(changes).all(axis=1)
        return changes, finite

    def contrast_rate(self, params, inputs, state, change, samples) -> dict[str, Array]:
        r"""Return $\omega$ times the batch mean of $\Delta V\,\delta\Delta V$ [W/S]."""
        return self._change(state, change, samples, self.group_weights)

    def cost_gradient(
        self, params, inputs, state, output_gradient, samples, relaxation=None
    ) -> tuple[dict[str, Array], Bool[Array, " batch"]]:
        r"""Return the exact gradient by the adjoint of Kirchhoff's equations.

        With the multipliers $\mu$ of `AbstractEngine.adjoint`,
        $dC/dg_{ab} = -(\mu_a - \mu_b)(v_a - v_b)$. No weight enters: this holds for circuits that
        are not reciprocal as well. With a relaxation, the multipliers are those of
        `truncated_multipliers`.
        """
        devices, slopes = self.devices(params), output_gradient
        if relaxation is None:
            multipliers = self.engine.adjoint(self.circuit, devices, inputs, state, slopes)
        else:
            xp = state.__array_namespace__()
            voltages = xp.where(samples[:, None], state, 0.0)
            multipliers = truncated_multipliers(self.circuit, devices, voltages, slopes, relaxation)
        xp = multipliers.__array_namespace__()
        valid = samples & xp.isfinite(multipliers).all(axis=1)
        return self._change(state, -multipliers, valid, {}), valid

    def uniqueness(self, params, inputs) -> Uniqueness:
        """Return how many operating points there are; searched only where one is not certain."""
        devices = self.devices(params)
        found = criterion(self.circuit, devices)
        if found.guaranteed:
            return found
        return find_operating_points(self.circuit, devices, np.asarray(inputs))

    def confirmed(self, params, inputs, state) -> Bool[np.ndarray, " batch"]:
        """Return which voltages are operating points, by Newton's method started there."""
        arrays = np.asarray(inputs), np.asarray(state)
        return confirmed(self.circuit, self.devices(params), *arrays)

    def dissipated_power(self, params, state) -> Float[Array, " batch"]:
        """Return the power of all devices that dissipate [W]; see `power`."""
        outputs = self.outputs(state)
        powers = absorbed_powers(self.circuit, self.devices(params), state, 0.0 * outputs)
        return sum((powers[kind] for kind in DISSIPATING), start=0.0 * outputs[:, 0])

    def netlist(self, params, inputs, phase, title) -> str:
        """Return the netlist of one sample in a phase, as its devices are."""
        devices = {name: np.asarray(g) for name, g in self.devices(params).items()}
        if not isinstance(phase, Hold):
            return netlist(self.circuit, devices, inputs[0], phase, title=title)
        (free,) = self.engine.settle(self.circuit, devices, inputs, [Free()])
        held = np.asarray(self.held_voltages(free.voltages, phase))[0]
        extended = np.concatenate([inputs[0], held])
        title += " with its outputs held"
        return netlist(self.circuit.clamped, devices, extended, Free(), title=title)

    def reference(self) -> "ResistiveNetwork":
        """Return this network on ngspice with tight tolerances."""
        return dataclasses.replace(self, engine=NgSpice())

    def _change(
        self, mean: Array, change: Array, samples: Array, weights: Mapping[str, Array | float]
    ) -> dict[str, Array]:
        """Return `_product` for a change of voltages, which sources do not take part in."""
        # Noise may read their nodes moved.
        still = None if self.random else self.circuit.is_fixed
        return self._product(mean, change, samples, weights, still=still)

    def _product(
        self,
        mean: Array,
        change: Array,
        samples: Array,
        weights: Mapping[str, Array | float],
        *,
        still: np.ndarray | None,
    ) -> dict[str, Array]:
        """Return the mean over samples of the product of two drops; without a weight it is 1.

        The second is zero at the nodes that are `still`, if any.
        """
        xp = mean.__array_namespace__()
        mean = xp.where(samples[:, None], mean, 0.0)
        change = xp.where(samples[:, None], change, 0.0)
        # The mean of truth values is in single precision in JAX.
        share = xp.maximum(xp.asarray(samples, mean.dtype).mean(), 1.0 / samples.shape[0])
        return self.circuit.parameter_slopes(
            mean, change, weights=weights, share=share, still=still
        )
