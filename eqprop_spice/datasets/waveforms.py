"""Periodic waveforms: a sample is a current over a period, its target a flux over the same."""

import dataclasses
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from eqprop_spice.datasets.base import AbstractDataset, Data
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import Free
from eqprop_spice.substrates.trajectory import Trajectory

Harmonics: TypeAlias = tuple[tuple[float, float], ...]
"""Amplitudes of cosine and sine of the first harmonic, the second, and so on."""


def waveform(harmonics: Harmonics, steps: int) -> Float[np.ndarray, " step"]:
    """Return a waveform at the midpoints of the steps of a period."""
    angle = 2.0 * np.pi * (np.arange(steps) + 0.5) / steps
    pairs = enumerate(harmonics, 1)
    waves = [a * np.cos(k * angle) + b * np.sin(k * angle) for k, (a, b) in pairs]
    return np.sum(waves, axis=0) if waves else np.zeros(steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Waveforms(AbstractDataset):
    """Currents into one node.

    Attributes:
        drives: Harmonics of the current of every sample [A].
        steps: Time steps of a period, those of the substrate.
        ends: For every sample what the substrate's boundary takes besides: fluxes of all nodes at
            the beginning and at the end, or fluxes and charges at the beginning.
    """

    drives: tuple[Harmonics, ...]
    steps: int = 200
    ends: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        """Refuse waveforms of no samples or steps."""
        if not self.drives or self.steps < 1:
            raise ConfigError("drives needs the harmonics of a sample at least, and steps a step.")
        if self.ends and {len(row) for row in self.ends} != {len(self.ends[0])}:
            raise ConfigError("ends must have as many values for one sample as for another.")
        if self.ends and len(self.ends) != len(self.drives):
            raise ConfigError(
                f"ends has {len(self.ends)} samples, but drives has {len(self.drives)}."
            )

    def _inputs(self) -> Float[np.ndarray, "sample input"]:
        waves = np.stack([waveform(harmonics, self.steps) for harmonics in self.drives])
        return np.concatenate([waves, np.array(self.ends)], axis=1) if self.ends else waves


def _data(inputs: np.ndarray, targets: np.ndarray) -> Data:
    return Data(inputs, targets, inputs[:0], targets[:0], "regression")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Waveforms(_Waveforms):
    """Currents and the fluxes that they should lead to.

    Attributes:
        targets: Harmonics of the flux of every sample.
    """

    targets: tuple[Harmonics, ...]

    def load(self) -> Data:
        """Return the waveforms."""
        if len(self.targets) != len(self.drives):
            raise ConfigError(
                f"targets has {len(self.targets)} samples, but drives has {len(self.drives)}."
            )
        targets = [waveform(harmonics, self.steps) for harmonics in self.targets]
        return _data(self._inputs(), np.stack(targets))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher(_Waveforms):
    """Currents, and the fluxes that they lead to in a flux network of given values.

    Attributes:
        elements: Its cards, all with their values.
        node: The node that is driven.
        output_nodes: The nodes whose fluxes are the targets.
        period: The period [s].
        boundary: What fixes its trajectories, that of the substrate.
    """

    elements: tuple[str, ...]
    node: str
    output_nodes: tuple[str, ...]
    period: float = 10.0
    boundary: str = "periodic"

    def load(self) -> Data:
        """Return the waveforms.

        Raises:
            ConfigError: If an element has no value, or a trajectory is not found.
        """
        teacher = Trajectory(
            self.elements, self.output_nodes, (self.node,), self.period, self.steps, self.boundary
        )
        if teacher.parameter_shapes():
            raise ConfigError("elements of a teacher need values, such as 'c1 a 0 1.5'.")
        inputs = self._inputs()
        teacher.sized(inputs.shape[1], self.steps * len(self.output_nodes))
        (orbit,) = teacher.settle({}, inputs, [Free()])
        for i, found in enumerate(np.asarray(orbit.converged)):
            if not found:
                raise ConfigError(f"elements: of sample {i}, {teacher.explain(orbit, i)}.")
        return _data(inputs, np.asarray(teacher.outputs(orbit.state)))
