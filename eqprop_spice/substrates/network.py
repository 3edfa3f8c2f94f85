"""A circuit and the engine that solves it, as a learning rule sees them."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Bool, Float

from eqprop_spice.arrays import Array
from eqprop_spice.circuit import Circuit
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.nonidealities.base import AbstractNonideality
from eqprop_spice.operating_point import OperatingPoint
from eqprop_spice.phases import AbstractPhase, Nudge
from eqprop_spice.reciprocity import reciprocity_weights
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
        """The weight of every trainable group, a number or an array like its conductances."""
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

    def _weighted_product(self, mean: Array, change: Array, samples: Array) -> dict[str, Array]:
        xp = mean.__array_namespace__()
        mean = xp.where(samples[:, None], mean, 0.0)
        change = xp.where(samples[:, None], change, 0.0)
        share = xp.maximum(samples.mean(), 1.0 / samples.shape[0])
        return {
            group.name: group.layout.voltage_drop_product(mean, change)
            * (self.group_weights[group.name] / share)
            for group in self.circuit.trainable_groups
        }
