"""Powers and co-contents by class: Tellegen, stationarity, and sums over devices by loops."""

import numpy as np
import pytest

from eqprop_spice.circuits.power import CLASSES, absorbed_powers, co_contents
from eqprop_spice.circuits.reciprocity import branch_weights
from eqprop_spice.engines.native import Native
from eqprop_spice.phases import Force, Free
from tests.references import Kind, Layered
from tests.references import absorbed_powers as powers_by_loops

ROUNDING = 1e-11
"""Relative error of sums of powers whose operating points hold to 1e-13."""

DIFFERENCE = 1e-6
"""Relative error of central differences with relative steps of 1e-3, where rounding and
truncation meet."""


@pytest.mark.parametrize("kind", ["transformer", "kendall", "published"])
def test_powers(kind: Kind):
    net = Layered(hidden=(3, 2), reflection=kind)
    circuit, params, inputs = net.circuit(), net.draw(0), net.inputs(1, 4)
    currents = np.random.default_rng(2).uniform(-1e-3, 1e-3, (4, 1))
    (point,) = Native().settle(circuit, params, inputs, [Force(currents)])
    voltages = np.asarray(point.voltages)
    assert point.converged.all()
    powers = absorbed_powers(circuit, params, voltages, currents)
    assert tuple(powers) == CLASSES
    scale = sum(np.abs(p) for p in powers.values())
    assert (np.abs(sum(powers.values())) < ROUNDING * scale).all()
    for sample in range(4):
        expected = powers_by_loops(circuit, params, voltages[sample], currents[sample])
        sources = powers["shift sources"][sample] + powers["input sources"][sample]
        assert sources == pytest.approx(expected.pop("sources"), rel=ROUNDING)
        for name, value in expected.items():
            assert powers[name][sample] == pytest.approx(value, rel=1e-9), name
        assert (powers["resistors"] > 0).all() and (powers["diodes"] > 0).all()


@pytest.mark.parametrize("kind", ["transformer", "kendall", "published"])
@pytest.mark.parametrize("nudge", [0.0, 1e-3])
def test_co_content_is_stationary(kind: Kind, nudge: float):
    """Its total derivative by a conductance is the explicit one, w dV^2 / 2."""
    net = Layered(hidden=(3, 2), reflection=kind)
    circuit, inputs = net.circuit(), net.inputs(1, 1)
    params = {
        name: values * (0.1**layer if kind == "published" else 1.0)
        for layer, (name, values) in enumerate(net.draw(0, 1e-3, 1e-2).items())
    }
    weights = branch_weights(circuit, circuit.groups)
    currents = np.full((1, 1), nudge * 0.01)
    phase = Force(currents) if nudge else Free()

    def settle(moved):
        (point,) = Native().settle(circuit, moved, inputs, [phase])
        return np.asarray(point.voltages)

    def content(moved) -> float:
        parts = co_contents(circuit, moved, settle(moved), currents, weights=weights)
        return float(sum(p[0] for p in parts.values()))

    voltages = settle(params)
    for group in circuit.trainable_groups:
        omega = np.broadcast_to(weights[group.name], group.layout.shape)
        explicit = 0.5 * omega * group.sides.voltage_drop_product(voltages, voltages)
        for index in list(np.ndindex(group.layout.shape))[:4]:
            sides = []
            for sign in (1.0, -1.0):
                moved = {k: v.copy() for k, v in params.items()}
                moved[group.name][index] *= 1 + sign * 1e-3
                sides.append(content(moved))
            slope = (sides[0] - sides[1]) / (2e-3 * params[group.name][index])
            assert slope == pytest.approx(explicit[index], rel=DIFFERENCE)
