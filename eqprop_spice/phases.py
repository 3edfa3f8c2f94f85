"""What is attached to the output nodes while a circuit settles."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

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
    def conductance(self) -> float:
        """The conductance $G$ [S] of the load, the same at every output."""
        return 0.0


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
    the circuit is unstable.
    """

    stiffness: float
    targets: Float[Array, "batch output"]

    def source_currents(self, batch_size: int, num_outputs: int) -> Float[Array, "batch output"]:
        r"""Return $\beta t$ [A]."""
        return self.stiffness * self.targets

    @property
    def conductance(self) -> float:
        """The conductance of the spring [S]."""
        return self.stiffness


@dataclasses.dataclass(frozen=True, eq=False)
class Load(AbstractPhase):
    """Given currents beside a given conductance: what any phase is once its currents are known."""

    currents: Float[Array, "batch output"]
    stiffness: float

    def source_currents(self, batch_size: int, num_outputs: int) -> Float[Array, "batch output"]:
        """Return the injected currents [A]."""
        return self.currents

    @property
    def conductance(self) -> float:
        """The conductance [S]."""
        return self.stiffness


Nudge: TypeAlias = Callable[[Array, slice], Array]
"""A phase that depends on the free outputs: `nudge(outputs, samples)` returns the currents to
inject [A], `batch output`, from the outputs [V] of the given rows of the batch."""


def constant_nudge(cost: AbstractCost, targets: Float[Array, "batch output"], beta: float) -> Nudge:
    r"""Return the nudge $I = -\beta\,\partial C/\partial y$ at the free outputs [A]."""

    def nudge(outputs: Array, samples: slice) -> Array:
        return -beta * cost.gradient(outputs, targets[samples])

    return nudge
