"""Every substrate keeps the contract."""

import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.substrates.oscillators import OscillatorIsing
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.contracts import check_substrate
from tests.references import Layered
from tests.substrates.toy_hopfield import ToyHopfield

TARGETS = np.array([[0.4, -0.2], [-0.3, 0.5], [0.1, 0.2]])


@pytest.mark.parametrize("engine", [Native(), NgSpice()])
def test_resistive_network(engine):
    net = Layered(hidden=(3,), num_outputs=2, shift=0.1)
    network = ResistiveNetwork(net.circuit(), engine)
    check_substrate(network, net.draw(0, 1e-3, 1e-2), net.inputs(1, 3), TARGETS)


def test_samples_that_do_not_count_are_left_out_in_double_precision():
    """The mean of JAX's truth values is in single precision; 2/3 would be off by 3e-8."""
    net = Layered(hidden=(2,))
    network = ResistiveNetwork(net.circuit(), Native())
    first, second = np.random.default_rng(0).uniform(-1, 1, (2, 3, network.circuit.num_nodes))
    arrays = (net.inputs(1, 3), first, second, np.array([True, False, True]))
    rows = network.contrast(net.draw(0), *(array[[0, 2]] for array in arrays))
    for found in (
        network.contrast(net.draw(0), *arrays),
        network.contrast(net.draw(0), *map(jnp.asarray, arrays)),
    ):
        for name, value in rows.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-13)


def test_toy_hopfield():
    toy = ToyHopfield(num_hidden=4, num_inputs=3, num_outputs=2)
    rng = np.random.default_rng(0)
    params = {k: 0.3 * rng.standard_normal(s) for k, s in toy.parameter_shapes().items()}
    check_substrate(toy, params, rng.standard_normal((3, 3)), TARGETS)


def test_oscillators():
    machine = OscillatorIsing(
        hidden=(4,), num_inputs=3, num_outputs=2, quadrature=1.0, tolerance=1e-13
    )
    rng = np.random.default_rng(0)
    params = {k: 0.5 * rng.standard_normal(s) for k, s in machine.parameter_shapes().items()}
    check_substrate(machine, params, rng.standard_normal((3, 3)), TARGETS)
