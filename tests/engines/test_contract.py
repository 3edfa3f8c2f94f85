"""Every engine keeps the contract."""

import pytest

from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from tests.contracts import check_engine
from tests.references import Layered


@pytest.mark.parametrize("engine", [Native(), NgSpice()])
def test_engine(engine):
    net = Layered(hidden=(3,), num_outputs=2, shift=0.1)
    check_engine(engine, net.circuit(), net.draw(0, 1e-3, 1e-2), net.inputs(1, 3))
