"""Flux networks: fluctuations against quadrature, native and in ngspice."""

import jax
import numpy as np
import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import Free
from eqprop_spice.substrates.flux import FluxNetwork, flux_netlist, sampled_fluxes
from eqprop_spice.substrates.langevin import Thermal
from tests.contracts import check_substrate

STANDARD_ERRORS = 4.0

TEMPERATURE = 0.6

NODES = 6

INPUTS = np.array([[0.8]])


def chain() -> tuple[FluxNetwork, dict[str, np.ndarray]]:
    """Six nodes in a row with Josephson elements between them; one input at the first node."""
    network = FluxNetwork(
        nodes=NODES,
        edges=tuple((i, i + 1) for i in range(NODES - 1)),
        num_inputs=1,
        num_outputs=1,
    )
    rng = np.random.default_rng(4)
    params = {
        "input": np.eye(1, NODES),
        "coupling": rng.uniform(0.1, 0.4, NODES - 1),
        "josephson": rng.uniform(0.8, 1.5, NODES - 1) * [1, -1, 1, 1, -1],
        "ground": rng.uniform(0.3, 0.6, NODES),
    }
    return network, params


def test_the_minimum_keeps_the_contract():
    network = FluxNetwork(nodes=2, edges=((0, 1),), num_inputs=1, num_outputs=1)
    params = {
        "input": np.array([[0.7, 0.2]]),
        "coupling": np.array([0.3]),
        "josephson": np.array([0.5]),
        "ground": np.array([0.4, 0.6]),
    }
    check_substrate(network, params, np.array([[0.8], [-0.3]]), np.array([[0.5], [0.1]]))


def by_transfer(params) -> np.ndarray:
    """Means of cos of the drops, of squared fluxes and of fluxes, by products of matrices."""
    grid = np.linspace(-9.0, 9.0, 361)
    drop = grid[:, None] - grid
    sites = []
    for k in range(NODES):
        energy = 0.5 * params["ground"][k] * grid**2
        energy = energy + 0.5 * params["input"][0, k] * (grid - INPUTS[0, 0]) ** 2
        sites.append(np.exp(-energy / TEMPERATURE))
    bonds = [
        np.exp(-(0.5 * g * drop**2 - j * np.cos(drop)) / TEMPERATURE)
        for g, j in zip(params["coupling"], params["josephson"], strict=True)
    ]

    def total(site=None, bond=None, values: np.ndarray | None = None) -> float:
        vector = np.ones(len(grid))
        for k in range(NODES):
            vector = vector * sites[k] * (values if site == k else 1.0)
            if k < NODES - 1:
                vector = vector @ (bonds[k] * (values if bond == k else 1.0))
        return vector.sum()

    whole = total()
    cosines = [total(bond=e, values=np.cos(drop)) for e in range(NODES - 1)]
    squares = [total(site=k, values=grid**2) for k in range(NODES)]
    means = [total(site=k, values=grid) for k in range(NODES)]
    return np.array([*cosines, *squares, *means]) / whole


def moments(fluxes: np.ndarray) -> np.ndarray:
    """The same, of every draw: `... draw node` to `... draw quantity`."""
    cosines = np.cos(fluxes[..., :-1] - fluxes[..., 1:])
    return np.concatenate([cosines, fluxes**2, fluxes], axis=-1)


def test_native_chains_sample_the_stored_energy():
    network, params = chain()
    thermal = Thermal(
        system=network,
        num_inputs=1,
        num_outputs=1,
        temperature=TEMPERATURE,
        chains=64,
        burn_in=300,
        draws=400,
        thinning=3,
    )
    (found,) = jax.jit(lambda key: thermal.settle(params, INPUTS, [Free()], key=key))(
        jax.random.key(0)
    )
    values = moments(np.asarray(found.state.values)[0]).reshape(64, 400, -1).mean(1)
    error = values.std(0, ddof=1) / 8.0
    assert (np.abs(values.mean(0) - by_transfer(params)) < STANDARD_ERRORS * error).all()
    assert error.max() < 0.05


@pytest.mark.ngspice
@pytest.mark.slow
def test_johnson_noise_in_ngspice_samples_the_stored_energy_whatever_the_resistors():
    network, params = chain()
    expected, parts = by_transfer(params), []
    resistances = np.array([0.5, 1.0, 2.0, 1.0, 0.7, 1.4])
    for seed in (1, 2):
        text = flux_netlist(
            network,
            params,
            INPUTS[0],
            temperature=TEMPERATURE,
            capacitance=0.5,
            resistances=resistances,
            spacing=0.05,
            duration=600.0,
            seed=seed,
            title="fluxes",
        )
        times, fluxes = sampled_fluxes(text, NODES)
        # Correlated over some units of time: a part is 40 of them.
        even = np.arange(40.0, 600.0, 0.2)
        at = np.array([np.interp(even, times, f) for f in fluxes]).T
        parts.append(moments(at).reshape(14, -1, moments(at).shape[-1]).mean(1))
    values = np.concatenate(parts)
    error = values.std(0, ddof=1) / np.sqrt(len(values))
    assert (np.abs(values.mean(0) - expected) < STANDARD_ERRORS * error).all()
    assert error.max() < 0.25


def test_no_temperature_is_refused():
    network, params = chain()
    with pytest.raises(ConfigError, match="temperature"):
        flux_netlist(
            network,
            params,
            INPUTS[0],
            temperature=0.0,
            capacitance=1.0,
            resistances=np.ones(NODES),
            spacing=0.1,
            duration=1.0,
            seed=1,
            title="none",
        )
