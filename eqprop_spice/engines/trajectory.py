"""How a circuit moved: its voltages and states over time, between the points too."""

import dataclasses

import numpy as np
import scipy.interpolate
from jaxtyping import Float, Int

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.drives import Segment

REFINED = 256
"""Places between two points among which the moment of settling is looked for."""


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """The transient of a batch of samples, at the points that the solver chose.

    Attributes:
        circuit: The circuit.
        times: When the points are [s]; the first of a segment is just after its beginning.
        voltages: Voltages of all nodes [V].
        states: By group, the states of its devices, `batch time state instance`.
        counts: How many points each segment has.
        segments: What drove it; a nudge has become the phase that it was.
        num_rejected: Steps that were taken back because the error was too large.
    """

    circuit: Circuit
    times: Float[np.ndarray, " time"]
    voltages: Float[np.ndarray, "batch time node"]
    states: dict[str, Float[np.ndarray, "batch time state instance"]]
    counts: Int[np.ndarray, " segment"]
    segments: tuple[Segment, ...]
    num_rejected: int

    @property
    def ends(self) -> Float[np.ndarray, " segment"]:
        """When the segments end [s]."""
        return np.cumsum([segment.duration for segment in self.segments])

    @property
    def outputs(self) -> Float[np.ndarray, "batch time output"]:
        """The output voltages at the points [V]."""
        return self.outputs_of(self.voltages)

    def outputs_of(
        self, voltages: Float[np.ndarray, "batch time node"]
    ) -> Float[np.ndarray, "batch time output"]:
        """Return the output voltages of given voltages of all nodes [V]."""
        plus, minus = self.circuit.output_nodes.T
        return voltages[..., plus] - voltages[..., minus]

    def at(self, times: Float[np.ndarray, " moment"]) -> Float[np.ndarray, "batch moment node"]:
        """Return the voltages of all nodes at any times [V]; where sources jump, before it.

        Cubic splines through the points of each segment: their error is of the order of the
        solver's.
        """
        return self.between(self.voltages, times)

    def between(
        self, values: Float[np.ndarray, "batch time *rest"], times: Float[np.ndarray, " moment"]
    ) -> Float[np.ndarray, "batch moment *rest"]:
        """Return values of the points at any times; see `at`."""
        result = np.empty((len(values), len(times), *values.shape[2:]))
        segment = np.minimum(np.searchsorted(self.ends, times), len(self.ends) - 1)
        last = np.cumsum(self.counts)
        for k in np.unique(segment).tolist():
            points = slice(last[k] - self.counts[k], last[k])
            spline = scipy.interpolate.CubicSpline(self.times[points], values[:, points], axis=1)
            result[:, segment == k] = spline(times[segment == k])
        return result

    def settling_times(
        self,
        targets: Float[np.ndarray, "batch output"],
        tolerances: Float[np.ndarray, " batch"] | float,
        *,
        segment: int = -1,
    ) -> Float[np.ndarray, " batch"]:
        """Return how long after a segment's beginning the outputs are at their targets to stay [s].

        Args:
            targets: Where the outputs go [V].
            tolerances: How close all outputs of a sample have to be [V].
            segment: Which segment.

        Returns:
            The times, infinite where the outputs are not there when the segment ends.
        """
        segment = range(len(self.ends))[segment]
        first = self.counts[:segment].sum()
        points = np.arange(first, first + self.counts[segment])
        begin = self.ends[segment - 1] if segment else 0.0
        far = self._distances(self.times[points], targets) > np.reshape(tolerances, (-1, 1))
        result = np.zeros(len(far))
        for sample, outside in enumerate(far):
            if outside[-1]:
                result[sample] = np.inf
            elif outside.any():
                which = points[np.flatnonzero(outside)[-1]]
                fine = np.linspace(self.times[which], self.times[which + 1], REFINED)
                distances = self._distances(fine, targets)[sample]
                tolerance = np.broadcast_to(tolerances, len(far))[sample]
                result[sample] = fine[np.flatnonzero(distances > tolerance)[-1]] - begin
        return result

    def _distances(self, times: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return how far the worst output of each sample is from its target [V]."""
        outputs = self.outputs_of(self.at(times))
        return np.abs(outputs - targets[:, None, :]).max(axis=2)
