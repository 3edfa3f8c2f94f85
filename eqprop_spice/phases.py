r"""What is attached to the outputs while a system settles.

A phase is a potential in the outputs, $U(o) = G\,|o|^2/2 - I \cdot o$, which is added to the
energy, or a constraint that holds them. It serves every system whose outputs are functions of its
state: voltages, rates, cosines of phases, expectations. In a circuit, I is a current [A] and G a
conductance [S].
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.costs.base import AbstractCost


@dataclasses.dataclass(frozen=True)
class AbstractPhase:
    r"""A load at the outputs: the current $I_k - G\,o_k$ flows into output k [A].

    It enters the positive node of an output and leaves its negative node.
    """

    def source_currents(self, batch_size: int, num_outputs: int) -> Float[Array, "batch output"]:
        """Return the constant part $I$ of the injected current [A]."""
        raise NotImplementedError

    @property
    def conductance(self) -> Array | float:
        """The conductance $G$ [S] of the load, the same at every output."""
        return 0.0

    @property
    def holds(self) -> bool:
        """Whether it holds the outputs; else it is a potential in them."""
        return False

    def energy(self, outputs: Float[Array, "batch output"]) -> Any:
        """Return $U(o)$, summed over samples."""
        currents = self.source_currents(*outputs.shape)
        return (0.5 * self.conductance * outputs**2 - currents * outputs).sum()


@dataclasses.dataclass(frozen=True)
class Free(AbstractPhase):
    """Nothing is attached: the free phase."""

    def source_currents(self, batch_size: int, num_outputs: int) -> Float[Array, "batch output"]:
        """Return zero currents [A]."""
        return np.zeros((batch_size, num_outputs))


@dataclasses.dataclass(frozen=True, eq=False)
class Force(AbstractPhase):
    """A current source at each output: the constant nudge."""

    currents: Float[Array, "batch output"]

    def source_currents(self, batch_size: int, num_outputs: int) -> Float[Array, "batch output"]:
        """Return the injected currents [A]."""
        return self.currents


@dataclasses.dataclass(frozen=True, eq=False)
class Spring(AbstractPhase):
    r"""A conductance $\beta$ from each output to a source at its target: the live nudge.

    A negative $\beta$ needs $|\beta|$ below the smallest eigenvalue of the output system, else
    the system is unstable.
    """

    stiffness: Array | float
    targets: Float[Array, "batch output"]

    def source_currents(self, batch_size: int, num_outputs: int) -> Float[Array, "batch output"]:
        r"""Return $\beta t$ [A]."""
        return self.stiffness * self.targets

    @property
    def conductance(self) -> Array | float:
        """The conductance of the spring [S]."""
        return self.stiffness


@dataclasses.dataclass(frozen=True, eq=False)
class Load(AbstractPhase):
    """Given currents beside a given conductance: what any phase is once its currents are known."""

    currents: Float[Array, "batch output"]
    stiffness: Array | float

    def source_currents(self, batch_size: int, num_outputs: int) -> Float[Array, "batch output"]:
        """Return the injected currents [A]."""
        return self.currents

    @property
    def conductance(self) -> Array | float:
        """The conductance [S]."""
        return self.stiffness


@dataclasses.dataclass(frozen=True, eq=False)
class Hold(AbstractPhase):
    """The outputs are held at given values; what flows to hold them follows from the rest."""

    outputs: Float[Array, "batch output"]

    @property
    def holds(self) -> bool:
        """It does."""
        return True


@dataclasses.dataclass(frozen=True)
class AbstractNudge:
    """A phase that depends on where the outputs are in the free phase."""

    @property
    def holds(self) -> bool:
        """Whether it becomes a `Hold`; else it becomes a `Force`."""
        return False

    def __call__(self, outputs: Float[Array, "some output"], samples: slice) -> AbstractPhase:
        """Return the phase of some samples.

        Args:
            outputs: The free outputs of these samples [V].
            samples: Which rows of the batch they are.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, eq=False)
class ConstantNudge(AbstractNudge):
    r"""The force $I = -\beta\,\partial C/\partial o$ at the free outputs [A]."""

    cost: AbstractCost
    targets: Float[Array, "batch output"]
    beta: Any

    def __call__(self, outputs, samples) -> Force:
        """Return the force; see `AbstractNudge`."""
        return Force(-self.beta * self.cost.gradient(outputs, self.targets[samples]))


@dataclasses.dataclass(frozen=True, eq=False)
class Displacement(AbstractNudge):
    r"""Holds the outputs at $o - \eta\,\partial C/\partial o$, o being the free outputs."""

    cost: AbstractCost
    targets: Float[Array, "batch output"]
    eta: Any

    @property
    def holds(self) -> bool:
        """It holds the outputs."""
        return True

    def __call__(self, outputs, samples) -> Hold:
        """Return what the outputs are held at; see `AbstractNudge`."""
        return Hold(outputs - self.eta * self.cost.gradient(outputs, self.targets[samples]))
