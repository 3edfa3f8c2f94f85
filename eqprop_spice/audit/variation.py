r"""The variational check: how every conductance changes the power of every class of devices.

Each chosen conductance is varied in both phases, and the circuit solved again. At an operating
point the weighted co-content is stationary, so its derivative is the explicit one,
$\omega\,\Delta V^2/2$; the dissipated power's is not $\Delta V^2$ once there are diodes and
amplifiers.

References:
    Kiraz, Pham and Desgreys (NEWCAS 2022), hal-03779416, which asks this question.
"""

import dataclasses

import numpy as np

from eqprop_spice.audit.case import Case
from eqprop_spice.audit.references import derivatives, settle_exactly
from eqprop_spice.circuits.power import (
    CLASSES,
    DISSIPATING,
    WITH_CONTENT,
    absorbed_powers,
    co_contents,
)
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.phases import AbstractPhase, Force, Free

CONTENT_CLASSES = (*WITH_CONTENT, "nudge")


@dataclasses.dataclass(frozen=True, eq=False)
class PhaseVariation:
    r"""Powers of one phase, and how the chosen conductances change them; means over the samples.

    Attributes:
        powers: Absorbed power of each class [W].
        contents: Weighted co-content of each class [W].
        tellegen: Sum of all powers over the sum of their magnitudes.
        power_slopes: By group, derivative of each class's power, `chosen class` [W/S].
        content_slopes: By group, derivative of each class's co-content, `chosen class` [W/S].
        explicit: By group, $\omega \Delta V^2/2$, `chosen` [V^2].
        squared_drops: By group, $\Delta V^2$, `chosen` [V^2].
    """

    powers: dict[str, float]
    contents: dict[str, float]
    tellegen: float
    power_slopes: dict[str, np.ndarray]
    content_slopes: dict[str, np.ndarray]
    explicit: dict[str, np.ndarray]
    squared_drops: dict[str, np.ndarray]

    def stationarity_error(self) -> float:
        """Return how far the co-content's slope is from the explicit one, worst layer."""
        total = {name: slopes.sum(1) for name, slopes in self.content_slopes.items()}
        return _worst(total, self.explicit)

    def dissipation_error(self) -> float:
        """Return how far the dissipated power's slope is from the squared drop, worst layer."""
        total = {
            name: slopes[:, : len(DISSIPATING)].sum(1) for name, slopes in self.power_slopes.items()
        }
        return _worst(total, self.squared_drops)


def _worst(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    errors = [
        np.linalg.norm(found[k] - expected[k]) / np.linalg.norm(expected[k])
        for k in expected
        if np.linalg.norm(expected[k]) > 0
    ]
    return float(max(errors, default=np.nan))


def vary(case: Case, engine: AbstractEngine, beta: float) -> dict[str, PhaseVariation]:
    r"""Vary the chosen conductances in the free and the nudged phase.

    The nudge is $-\beta\,\partial C/\partial y$ at the unvaried free outputs, and stays.

    Args:
        case: The circuit; where it has no reciprocity weights, weights of one are used.
        engine: What solves it.
        beta: Strength of the nudge [S].
    """
    free = settle_exactly(case, engine, case.params, Free())
    outputs = np.asarray(case.circuit.outputs(np.asarray(free.voltages)))
    currents = -beta * np.asarray(case.cost.gradient(outputs, case.targets))
    return {
        "free": _vary_phase(case, engine, Free()),
        "nudged": _vary_phase(case, engine, Force(currents)),
    }


def _vary_phase(case: Case, engine: AbstractEngine, phase: AbstractPhase) -> PhaseVariation:
    circuit = case.circuit
    injected = np.asarray(phase.source_currents(len(case.inputs), circuit.num_outputs))
    weights = case.weights or {g.name: np.ones(()) for g in circuit.groups}

    def settle(params):
        return np.asarray(settle_exactly(case, engine, params, phase).voltages)

    def quantities(params: dict[str, np.ndarray]) -> np.ndarray:
        voltages = settle(params)
        powers = absorbed_powers(circuit, params, voltages, injected)
        contents = co_contents(circuit, params, voltages, injected, weights=weights)
        values = [*(powers[c] for c in CLASSES), *(contents[c] for c in CONTENT_CLASSES)]
        return np.array([float(np.mean(v)) for v in values])

    here = quantities(case.params)
    slopes = derivatives(quantities, case.params, case.selection, case.currents)
    voltages = settle(case.params)
    squares = circuit.parameter_slopes(voltages, voltages, weights={})
    explicit = circuit.parameter_slopes(0.5 * voltages, voltages, weights=weights)
    count = len(CLASSES)
    return PhaseVariation(
        dict(zip(CLASSES, here[:count].tolist(), strict=True)),
        dict(zip(CONTENT_CLASSES, here[count:].tolist(), strict=True)),
        float(here[:count].sum() / np.abs(here[:count]).sum()),
        {name: values[:, :count] for name, values in slopes.items()},
        {name: values[:, count:] for name, values in slopes.items()},
        case.chosen(explicit),
        case.chosen(squares),
    )
