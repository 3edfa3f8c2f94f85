import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_spice.phases import Free, Spring
from eqprop_spice.substrates.oscillator_netlist import measured_phases, oscillator_netlist
from eqprop_spice.substrates.oscillators import OscillatorGraph, OscillatorIsing
from tests.substrates.spice import solved

pytestmark = pytest.mark.ngspice

OPERATING_POINT = 1e-8
"""Difference of cosines between ngspice and descent: ngspice's reltol of 1e-9, some times over."""

DEGREES = 3.0
"""Difference of phases between true oscillators and the phase model [degrees]: measured 1 to 2, for
fields of a tenth of the gain and a gain of a 25th of the tank's reactance."""

COSINE = 0.99
"""Cosine of the two gradients; what the model leaves out is the same in both nudged phases."""

GRAPH = OscillatorGraph(
    num_inputs=2,
    num_outputs=2,
    units=5,
    edges=((0, 1), (0, 3), (1, 2), (1, 4), (2, 3), (2, 4)),
    quadrature=0.5,
    sync=0.2,
    dispersion=0.05,
    tolerance=1e-12,
)
LAYERED = OscillatorIsing(num_inputs=2, num_outputs=2, hidden=(2,), quadrature=0.5, tolerance=1e-12)


def drawn(machine, seed=0):
    rng = np.random.default_rng(seed)
    return {k: jnp.asarray(rng.standard_normal(s)) for k, s in machine.parameter_shapes().items()}


@pytest.mark.parametrize("machine", [GRAPH, LAYERED], ids=["graph", "layered"])
@pytest.mark.parametrize("stiffness", [0.0, 0.3, -0.3])
def test_operating_points_of_ngspice_are_the_states(machine, stiffness):
    params, inputs, targets = drawn(machine), np.array([[0.4, -1.0]]), np.array([[1.0, -1.0]])
    phase = Spring(stiffness, targets) if stiffness else Free()
    _, settled = machine.settle(params, inputs, [Free(), phase])
    text = machine.netlist(params, inputs, phase, "oscillators")
    units = range(machine.num_units)
    found = solved(text, [f"{part}{n}" for part in "cs" for n in units])[:, 0]
    wanted = np.concatenate([np.cos(settled.state[0]), np.sin(settled.state[0])])
    np.testing.assert_allclose(found, wanted, atol=OPERATING_POINT)


@pytest.mark.slow
def test_true_oscillators_learn():
    params, inputs, targets = drawn(LAYERED, 1), np.array([[0.4, -1.0]]), np.array([[1.0, -1.0]])
    phases = [Free(), Spring(-0.5, targets), Spring(0.5, targets)]
    settled = LAYERED.settle(params, inputs, phases)
    wanted = np.stack([point.state[0] for point in settled])
    found, start = [], np.full(4, np.pi / 2)
    for phase in phases:
        blocks = [start[block][:, None] for block in LAYERED.blocks]
        text = oscillator_netlist(
            LAYERED.model(params, inputs, phase),
            LAYERED.blocks,
            blocks,
            unit_conductance=2e-5,
            periods=1600 if isinstance(phase, Free) else 800,
            title="oscillators",
        )
        times, *voltages = solved(text, ["time", "v0", "v1", "v2", "v3"])
        found.append(measured_phases(times, np.array(voltages)))
        # The nudged phases start from the free one.
        start = found[0]
    found = np.stack(found)
    apart = np.degrees(np.angle(np.exp(1j * (found - wanted))))
    assert abs(apart).max() < DEGREES
    one = np.ones(1, bool)
    first, second = (
        LAYERED.contrast(params, inputs, low[None], high[None], one)
        for low, high in ((found[1], found[2]), (wanted[1], wanted[2]))
    )
    for name in first:
        a, b = np.ravel(first[name]), np.ravel(second[name])
        assert a @ b > COSINE * np.linalg.norm(a) * np.linalg.norm(b), name
