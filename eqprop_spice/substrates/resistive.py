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
from eqprop_spice.circuits.groups import GROUND
from eqprop_spice.circuits.power import absorbed_powers
from eqprop_spice.circuits.reciprocity import reciprocity_weights
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.relaxation import Relaxation, truncated_multipliers
from eqprop_spice.errors import ConfigError
from eqprop_spice.nonidealities.base import AbstractNonideality
from eqprop_spice.phases import AbstractPhase, Free, Nudge
from eqprop_spice.settled import OperatingPoint
from eqprop_spice.substrates.base import AbstractSubstrate, Params


@dataclasses.dataclass(frozen=True)
class Network(AbstractSubstrate):
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
        key: Random key of the next readings; None reads what is there.
    """

    circuit: Circuit
    engine: AbstractEngine
    weights: Literal["reciprocity", "none"] = "reciprocity"
    nominal: Circuit | None = None
    nonidealities: tuple[AbstractNonideality, ...] = ()
    key: Any = None

    @functools.cached_property
    def group_weights(self) -> dict[str, Array]:
        """The weight of every trainable group, a number or an array over its instances."""
        if self.weights == "none":
            return dict.fromkeys(self.circuit.parameter_shapes(), np.ones(()))
        weights = reciprocity_weights(self.nominal or self.circuit)
        return {name: w.flat[0] if (w == w.flat[0]).all() else w for name, w in weights.items()}

    @property
    def needs_key(self) -> bool:
        """Whether readings are random."""
        return any(n.changes_readings for n in self.nonidealities)

    def keyed(self, key: Any) -> "Network":
        """Return this network with the key of its next readings."""
        return self if key is None else dataclasses.replace(self, key=key)

    def devices(self, params: Params) -> Params:
        """Return the conductances of the devices [S] when programmed with `params` [S]."""
        for nonideality in self.nonidealities:
            params = nonideality.on_conductances(params)
        return params

    def settle(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        phases: Sequence[AbstractPhase | Nudge],
    ) -> list[OperatingPoint]:
        """Return the operating points of every sample in every phase, as they are read."""
        points = self.engine.settle(self.circuit, self.devices(params), inputs, phases)
        if self.key is None or not self.needs_key:
            return points
        return [
            self._read(point, jax.random.fold_in(self.key, number))
            for number, point in enumerate(points)
        ]

    def _read(self, point: OperatingPoint, key: Any) -> OperatingPoint:
        """Return an operating point with the voltages that are read."""
        voltages = point.voltages
        for number, nonideality in enumerate(self.nonidealities):
            voltages = nonideality.on_voltages(voltages, jax.random.fold_in(key, number))
        if isinstance(point.voltages, np.ndarray):
            voltages = np.asarray(voltages)
        return dataclasses.replace(point, voltages=voltages)

    def outputs(self, state: OperatingPoint) -> Float[Array, "batch output"]:
        """Return the output voltages [V]."""
        return self.circuit.outputs(state.voltages)

    def converged(self, state: OperatingPoint) -> Bool[Array, " batch"]:
        """Return which samples reached an operating point."""
        return state.converged

    def clamp(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        state: OperatingPoint,
        displacement: Float[Array, "batch output"],
    ) -> OperatingPoint:
        """Hold the output nodes with voltage sources, and settle the rest.

        Raises:
            ConfigError: If readings are noisy: two held states would be read with one noise.
        """
        if self.needs_key:
            raise ConfigError(
                "Rules that hold the outputs cannot be combined with read noise; use "
                "equilibrium_propagation.EquilibriumPropagation, or remove the read noise."
            )
        clamped = self.circuit.clamped
        xp = state.voltages.__array_namespace__()
        held = self.held_voltages(state, displacement)
        held = xp.where(state.converged[:, None], held, 0.0)
        extended = xp.concatenate([xp.asarray(inputs), held], axis=1)
        if not len(clamped.free_nodes):
            # Nothing is left to settle.
            return dataclasses.replace(state, voltages=clamped.node_voltages(held[:, :0], extended))
        (point,) = self.engine.settle(clamped, self.devices(params), extended, [Free()])
        return dataclasses.replace(point, converged=point.converged & state.converged)

    def held_voltages(
        self, state: OperatingPoint, displacement: Float[Array, "batch output"]
    ) -> Float[Array, "batch clamped"]:
        """Return the voltages of `clamped_nodes` that displace the outputs of a state [V].

        Both nodes of a differential output move, by half the displacement each.
        """
        circuit = self.circuit
        xp = state.voltages.__array_namespace__()
        differential = (circuit.output_nodes != GROUND).all(1)
        # Moves a node by the displacements of the outputs that it belongs to.
        share = np.zeros((circuit.num_outputs, circuit.num_nodes))
        size = np.where(differential, 0.5, 1.0)
        np.add.at(share, (np.arange(len(size)), circuit.output_nodes[:, 0]), size)
        np.add.at(share, (np.arange(len(size)), circuit.output_nodes[:, 1]), -size)
        return (state.voltages + displacement @ xp.asarray(share))[:, circuit.clamped_nodes]

    def contrast(
        self, first: OperatingPoint, second: OperatingPoint, samples: Bool[Array, " batch"]
    ) -> dict[str, Array]:
        r"""Return $\omega$ times the batch mean of $(\Delta V_2^2 - \Delta V_1^2)/2$ [W/S].

        The difference of squares is taken as product of mean and difference: exact in floating
        point where the two states differ by less than the square root of its precision.
        """
        mean = 0.5 * (first.voltages + second.voltages)
        return self._weighted_product(mean, second.voltages - first.voltages, samples)

    def respond(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        state: OperatingPoint,
        currents: Float[Array, "batch output"],
    ) -> tuple[Array, Bool[Array, " batch"]]:
        """Return the small-signal change of all node voltages [V], and where it is finite."""
        changes = self.engine.respond(self.circuit, self.devices(params), inputs, state, currents)
        finite = changes.__array_namespace__().isfinite(changes).all(axis=1)
        return changes, finite

    def contrast_rate(
        self, state: OperatingPoint, change: Array, samples: Bool[Array, " batch"]
    ) -> dict[str, Array]:
        r"""Return $\omega$ times the batch mean of $\Delta V\,\delta\Delta V$ [W/S]."""
        return self._weighted_product(state.voltages, change, samples)

    def cost_gradient(
        self,
        params: Params,
        inputs: Float[Array, "batch input"],
        state: OperatingPoint,
        output_gradient: Float[Array, "batch output"],
        samples: Bool[Array, " batch"],
        relaxation: Relaxation | None = None,
    ) -> tuple[dict[str, Array], Bool[Array, " batch"]]:
        r"""Return the exact gradient by the adjoint of Kirchhoff's equations.

        With the multipliers $\mu$ of `Native.adjoint`,
        $dC/dg_{ab} = -(\mu_a - \mu_b)(v_a - v_b)$. No weight enters: this holds for circuits that
        are not reciprocal as well. It is linear algebra, the same at any engine's operating point.
        With a relaxation, the multipliers are those of `truncated_multipliers`.
        """
        devices, slopes = self.devices(params), output_gradient
        if relaxation is None:
            multipliers = Native().adjoint(self.circuit, devices, inputs, state, slopes)
        else:
            xp = state.voltages.__array_namespace__()
            voltages = xp.where(samples[:, None], state.voltages, 0.0)
            multipliers = truncated_multipliers(self.circuit, devices, voltages, slopes, relaxation)
        xp = multipliers.__array_namespace__()
        valid = samples & xp.isfinite(multipliers).all(axis=1)
        return self._product(state.voltages, -multipliers, valid, {}), valid

    def dissipated_power(self, params: Params, state: OperatingPoint) -> Float[Array, " batch"]:
        """Return the power of resistors, diodes and amplifiers [W]; see `power`."""
        nothing = 0.0 * self.outputs(state)
        powers = absorbed_powers(self.circuit, self.devices(params), state.voltages, nothing)
        return powers["resistors"] + powers["diodes"] + powers["amplifiers"]

    def _weighted_product(self, mean: Array, change: Array, samples: Array) -> dict[str, Array]:
        return self._product(mean, change, samples, self.group_weights)

    def _product(
        self, mean: Array, change: Array, samples: Array, weights: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Return the mean over samples of the product of two drops; without a weight it is 1."""
        xp = mean.__array_namespace__()
        mean = xp.where(samples[:, None], mean, 0.0)
        change = xp.where(samples[:, None], change, 0.0)
        share = xp.maximum(samples.mean(), 1.0 / samples.shape[0])
        # Sources hold their nodes, but noise may read them moved.
        still = self.circuit.is_fixed if self.key is None else None
        return {
            group.name: group.layout.voltage_drop_product(
                mean, change, weights.get(group.name, 1.0) / share, still
            )
            for group in self.circuit.trainable_groups
        }
