"""Frequency responses: a sample is a frequency, its target the phasor at an output."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from eqprop_spice.datasets.base import AbstractDataset, Data
from eqprop_spice.errors import ConfigError
from eqprop_spice.lagrangian.prototypes import Prototype, ladder_cards, ladder_values
from eqprop_spice.phases import Free
from eqprop_spice.substrates.ac_circuit import AcCircuit


@dataclasses.dataclass(frozen=True)
class _Response(AbstractDataset):
    """A response over bands of frequencies under a current from one source.

    Attributes:
        source: The source's current, in phase [A].
        num_frequencies: Frequencies in each band, evenly spaced, ends included.
    """

    source: float = 2.0
    num_frequencies: int = 40

    def _over(self, bands: tuple[tuple[float, float], ...]) -> Float[np.ndarray, "sample input"]:
        """Return the inputs of samples in some bands [rad/s].

        Raises:
            ConfigError: If a band has no frequencies.
        """
        if self.num_frequencies < 1:
            raise ConfigError(f"num_frequencies is {self.num_frequencies}; it must be at least 1.")
        for low, high in bands:
            if not 0.0 < low <= high < math.inf:
                raise ConfigError(
                    f"The band from {low} to {high} rad/s is none: frequencies are positive, the "
                    "lower first."
                )
        omegas = [np.linspace(low, high, self.num_frequencies) for low, high in bands]
        omega = np.concatenate(omegas)
        return np.stack([omega, np.full(len(omega), self.source), 0.0 * omega], axis=1)


def _data(inputs: np.ndarray, targets: np.ndarray) -> Data:
    return Data(inputs, targets, inputs[:0], targets[:0], "regression")


@dataclasses.dataclass(frozen=True)
class Ladder(_Response):
    """The response of a textbook ladder between two resistors of 1 ohm, 1 V where it matches.

    Attributes:
        prototype: Its shape.
        order: Number of its elements, odd.
        ripple: Of a Chebyshev filter [dB].
        low: Lowest frequency [rad/s]; the band's edge is at 1.
        high: Highest frequency.
    """

    prototype: Prototype = "butterworth"
    order: int = 3
    ripple: float = 0.5
    low: float = 0.05
    high: float = 2.0

    def load(self) -> Data:
        """Return the response."""
        cards = ladder_cards(ladder_values(self.prototype, self.order, self.ripple))
        circuit = AcCircuit(cards, ("n0",), (f"n{self.order // 2}",))
        inputs = self._over(((self.low, self.high),))
        (settled,) = circuit.settle({}, inputs, [Free()])
        return _data(inputs, np.asarray(circuit.outputs(settled.state)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mask(_Response):
    r"""Levels over bands, in phase: use `magnitude.MagnitudeError`, which ignores phases.

    Between a source and a load with conductances $G_s$ and $G_l$, a current of
    $2\sqrt{G_s G_l}$ makes 1 V at the load where all available power arrives.

    Attributes:
        bands: Lowest and highest frequency [rad/s] and level [V] of every band.
    """

    bands: tuple[tuple[float, float, float], ...]

    def load(self) -> Data:
        """Return the levels."""
        inputs = self._over(tuple((low, high) for low, high, _ in self.bands))
        levels = np.repeat([level for _, _, level in self.bands], self.num_frequencies)
        return _data(inputs, np.stack([levels, 0.0 * levels], axis=1))
