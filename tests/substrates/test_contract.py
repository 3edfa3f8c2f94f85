"""Every substrate keeps the contract."""

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
