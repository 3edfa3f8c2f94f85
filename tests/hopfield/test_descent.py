import dataclasses

import jax
import numpy as np
import pytest

from eqprop_spice.phases import Free
from tests.hopfield.networks import NETWORKS, draw

ROUNDING = 1e-12
"""Energies are of order 1 to 100."""


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_the_energy_never_rises(name, scale):
    """Also for weights that make it indefinite, with many minima on the box."""
    network = dataclasses.replace(NETWORKS[name], sweeps=(1, 1))
    params, inputs, _ = draw(network, 1)
    graph = network.graph
    # Weights of linear outputs stay as they are: the energy has to keep a minimum.
    grown = {edge.name for edge in graph.edges if edge.target < graph.num_layers}
    params = {group: scale * v if group in grown else v for group, v in params.items()}

    @jax.jit
    def sweep(state):
        (found,) = network.settle(params, inputs, [Free()], start=state)
        return found.state, network.energy(params, inputs, found.state)

    state = network.initial_state(len(inputs))
    energies = []
    for _ in range(30):
        state, energy = sweep(state)
        energies.append(np.asarray(energy))
    assert (np.diff(energies, axis=0) <= ROUNDING * np.abs(energies).max()).all()
    assert np.ptp(energies, axis=0).max() > 1e3 * ROUNDING
