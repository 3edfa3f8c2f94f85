"""What stands in a circuit: groups of like devices, of voltage sources and of amplifiers."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.layouts import AbstractLayout
from eqprop_spice.devices.base import AbstractTwoTerminal


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Like two-terminal devices: one device law, many instances."""

    name: str
    device: AbstractTwoTerminal
    layout: AbstractLayout

    @property
    def num_instances(self) -> int:
        """Number of devices."""
        return int(np.prod(self.layout.wiring.shape))

    def conductances(self, params: Mapping[str, Array]) -> Array:
        """Return the conductance of every instance of a linear device [S], shaped as the wiring."""
        if self.device.trainable:
            return self.layout.instance_values(params[self.name])
        return self.device.conductance(np.zeros(self.layout.wiring.shape))


@dataclasses.dataclass(frozen=True, eq=False)
class Sources:
    """Ideal voltage sources to ground: `scale` times an input, or just `scale` [V].

    Attributes:
        name: Group name.
        nodes: The node each source holds.
        columns: Which input it follows; -1 for a constant source.
        scales: Factor of the input, or the constant voltage [V].
    """

    name: str
    nodes: Int[np.ndarray, " instance"]
    columns: Int[np.ndarray, " instance"]
    scales: Float[np.ndarray, " instance"]


@dataclasses.dataclass(frozen=True, eq=False)
class Amplifiers:
    r"""Bidirectional amplifiers: a VCVS forwards, a CCCS backwards.

    $v_{out} = A (v_{in} + o)$, and $\kappa I_{out}$ is drawn at the input, where $I_{out}$ is
    the current that the amplifier delivers at its output.

    Attributes:
        name: Group name.
        inputs: Input nodes.
        outputs: Output nodes.
        gains: A.
        reflections: kappa.
        offsets: o [V]; zero for all if one number.
    """

    name: str
    inputs: Int[np.ndarray, " instance"]
    outputs: Int[np.ndarray, " instance"]
    gains: Float[np.ndarray, " instance"]
    reflections: Float[np.ndarray, " instance"]
    offsets: Float[np.ndarray, " instance"] | float = 0.0
