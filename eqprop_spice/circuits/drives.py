"""What drives a circuit while time passes: inputs and what is attached to the outputs."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import AbstractNudge, AbstractPhase, Free

Waveform: TypeAlias = Callable[[float], Float[np.ndarray, "batch input"]]
"""Source voltages [V] as a smooth function of the time [s]."""


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """A stretch of time without a jump: between two segments inputs and phase may change at once.

    Attributes:
        duration: How long it lasts [s].
        inputs: Source voltages [V], or a smooth function of the time since the very beginning [s]
            that returns them; what jumps or bends belongs to several segments.
        phase: What is attached to the outputs; a nudge is asked for its currents with the outputs
            at the segment's beginning.
    """

    duration: float
    inputs: Float[np.ndarray, "batch input"] | Waveform
    phase: AbstractPhase | AbstractNudge = dataclasses.field(default_factory=Free)

    def __post_init__(self) -> None:
        """Refuse a duration that is none, and outputs that are held.

        Raises:
            ConfigError: If so.
        """
        if not (np.isfinite(self.duration) and self.duration > 0.0):
            raise ConfigError(
                f"A segment lasts {self.duration} s; its duration must be finite and positive."
            )
        if self.phase.holds:
            raise ConfigError(
                f"A segment's phase is {type(self.phase).__name__}, which holds the outputs by "
                "sources: transients have them loaded only. Attach a Spring that is stiff beside "
                "the circuit instead."
            )

    def at(self, time: float) -> Float[np.ndarray, "batch input"]:
        """Return the source voltages at a time since the very beginning [V]."""
        if isinstance(self.inputs, np.ndarray):
            return self.inputs
        return np.asarray(self.inputs(time), float)

    def load(self, outputs: Float[np.ndarray, "batch output"]) -> AbstractPhase:
        """Return the phase, of a nudge for these outputs at its beginning [V]."""
        if isinstance(self.phase, AbstractNudge):
            return self.phase(outputs, slice(None))
        return self.phase
