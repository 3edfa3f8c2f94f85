"""Circuits of diodes with noise at their nodes: chains and ngspice against quadrature."""

import functools

import jax
import numpy as np
import pytest

from eqprop_spice.devices.diode import Shockley
from eqprop_spice.engines.native import Native
from eqprop_spice.errors import ConfigError
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.phases import Free, Spring
from eqprop_spice.substrates.langevin import Thermal
from eqprop_spice.substrates.resistive import ResistiveNetwork
from eqprop_spice.substrates.sampled_circuit import sampled_voltages, transient_netlist
from tests.references import Layered

STANDARD_ERRORS = 4.0

TEMPERATURE = 2e-4
"""[W]: voltages fluctuate by about 0.25 V, from one knee of the diodes to the other."""

INPUTS = np.array([[0.6]])

TARGETS = np.array([[0.3]])

BETA = 2e-3

DIODE = Shockley("soft", 1e-6, 2.5)

SHIFT = 0.1

PARAMS = {
    "dense_0": np.array([[1.2e-3, 0.8e-3], [0.5e-3, 1.0e-3]]),
    "dense_2": np.array([[1.0e-3], [1.5e-3], [0.7e-3]]),
}


@functools.cache
def network() -> ResistiveNetwork:
    """Two hidden nodes with diodes and one output."""
    layers = [Dense(2, (-0.5,)), AntiparallelDiodes(DIODE, SHIFT), Dense(1, (0.2,))]
    circuit = layered_circuit(
        layers, num_inputs=1, num_outputs=1, doubled_inputs=False, differential=False
    )
    return ResistiveNetwork(circuit, Native())


def density(params, beta: float) -> tuple[np.ndarray, float, np.ndarray]:
    """The Boltzmann weights of two hidden nodes, the free energy, and the grid.

    The output is Gaussian given the hidden nodes, and integrated by hand.
    """
    grid = np.linspace(-1.2, 1.2, 401)
    scale = 2.5 * 1.38064852e-23 * 300.15 / 1.6021766208e-19
    diode = 1e-6 * scale * (np.exp((grid - SHIFT) / scale) + np.exp((-grid - SHIFT) / scale))
    first, last = params["dense_0"], params["dense_2"][:, 0]
    total = np.zeros((401, 401))
    for column in range(2):
        own = diode + 0.5 * first[0, column] * (grid - INPUTS[0, 0]) ** 2
        own = own + 0.5 * first[1, column] * (grid + 0.5) ** 2
        total = total + (own[:, None] if column == 0 else own)
    drives = ((last[0], grid[:, None]), (last[1], grid), (last[2], 0.2), (beta, TARGETS[0, 0]))
    stiffness = sum(g for g, _ in drives)
    pull = sum(g * v for g, v in drives)
    total = total + 0.5 * sum(g * v**2 for g, v in drives) - 0.5 * pull**2 / stiffness
    lowest = total.min()
    weights = np.exp(-(total - lowest) / TEMPERATURE)
    free = lowest - TEMPERATURE * np.log(weights.sum())
    free = free + 0.5 * TEMPERATURE * np.log(stiffness)
    return weights / weights.sum(), free, grid


def expected_moments(beta: float) -> np.ndarray:
    """Means of h, h^2 of both hidden nodes and of their product."""
    weights, _, grid = density(PARAMS, beta)
    one, other = grid[:, None], grid
    return np.array([(weights * q).sum() for q in (one, other, one**2, other**2, one * other)])


def moments(hidden: np.ndarray) -> np.ndarray:
    """The same of voltages `... 2`."""
    a, b = hidden[..., 0], hidden[..., 1]
    return np.stack([a, b, a**2, b**2, a * b], axis=-1)


def thermal(**changes) -> Thermal:
    settings = {"chains": 64, "burn_in": 300, "draws": 200, "thinning": 2, "step": 100.0}
    return Thermal(
        system=network(), num_inputs=1, num_outputs=1, temperature=TEMPERATURE, **settings | changes
    )


def hidden_places() -> list[int]:
    names = network().circuit.node_names
    return [names.index(name) for name in ("n0_0", "n0_1")]


@pytest.fixture(scope="module")
def found():
    """Chains of the free and the nudged phase, and their contrast."""
    system, phases = thermal(), [Free(), Spring(BETA, TARGETS)]

    def run(key):
        free, nudged = (s.state for s in system.settle(PARAMS, INPUTS, phases, key=key))
        counted = np.array([True])
        return (free, nudged), system.contrast(PARAMS, INPUTS, free, nudged, counted)

    return jax.jit(run)(jax.random.key(0))


@pytest.mark.slow
def test_chains_sample_the_co_content_of_a_diode_circuit(found):
    for state, beta in zip(found[0], (0.0, BETA), strict=True):
        values = np.asarray(state.values)[0]
        fixed = network().circuit.fixed_nodes
        assert (values[:, fixed] == values[:1, fixed]).all()
        parts = moments(values[:, hidden_places()].reshape(64, 200, 2)).mean(1)
        error = parts.std(0, ddof=1) / 8.0
        expected = expected_moments(beta)
        assert (np.abs(parts.mean(0) - expected) < STANDARD_ERRORS * error).all()
        assert (error[2:4] < 0.05 * expected[2:4]).all()


@pytest.mark.slow
def test_the_contrast_of_chains_is_the_slope_of_the_free_energy(found):
    states, contrast = found
    one, _ = hidden_places()
    ends = {("dense_0", (0, 0)): INPUTS[0, 0], ("dense_0", (1, 0)): -0.5}
    for (name, place), source in ends.items():
        slopes = []
        for sign in (1.0, -1.0):
            moved = {k: v.copy() for k, v in PARAMS.items()}
            moved[name][place] += sign * 1e-8
            slopes.append(density(moved, BETA)[1] - density(moved, 0.0)[1])
        expected = (slopes[0] - slopes[1]) / 2e-8
        free, nudged = (
            0.5 * (np.asarray(s.values)[0, :, one].reshape(64, 200) - source) ** 2 for s in states
        )
        chains = (nudged - free).mean(1)
        assert float(contrast[name][place]) == pytest.approx(chains.mean(), rel=1e-9)
        error = chains.std(ddof=1) / 8.0
        assert abs(chains.mean() - expected) < STANDARD_ERRORS * error
        assert error < 0.2 * abs(expected)


@pytest.mark.ngspice
@pytest.mark.slow
def test_noise_at_the_nodes_in_ngspice_samples_the_co_content():
    circuit = network().circuit
    relaxation = 1e-9 / 3e-3
    text = transient_netlist(
        circuit,
        PARAMS,
        INPUTS[0],
        Free(),
        temperature=TEMPERATURE,
        capacitance=1e-9,
        spacing=0.02 * relaxation,
        duration=400.0 * relaxation,
        seed=1,
        title="diodes",
    )
    times, voltages = sampled_voltages(text, ["n0_0", "n0_1"])
    even = np.arange(16.0, 400.0, 0.1) * relaxation
    values = moments(np.array([np.interp(even, times, v) for v in voltages]).T)
    parts = values.reshape(16, -1, 5).mean(1)
    error = parts.std(0, ddof=1) / 4.0
    expected = expected_moments(0.0)
    assert (np.abs(parts.mean(0) - expected) < STANDARD_ERRORS * error).all()
    assert (error[2:4] < 0.2 * expected[2:4]).all()


def test_amplifiers_and_no_temperature_are_refused():
    amplified = Layered(hidden=(2,), num_outputs=1)
    system = Thermal(
        system=ResistiveNetwork(amplified.circuit(), Native()),
        num_inputs=2,
        num_outputs=1,
        temperature=1e-4,
    )
    with pytest.raises(ConfigError, match="run down an energy"):
        system.settle(amplified.draw(0), amplified.inputs(1, 2), [Free()], key=jax.random.key(0))
    settings = {"capacitance": 1e-9, "spacing": 1e-9, "duration": 1e-6, "seed": 1, "title": "none"}
    with pytest.raises(ConfigError, match="temperature is 0"):
        transient_netlist(network().circuit, PARAMS, INPUTS[0], Free(), temperature=0.0, **settings)
