"""Capacitors of a layer: a time constant at every node, and the same operating points."""

import numpy as np

from eqprop_spice.circuits.drives import Segment
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.transient import Transient
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.capacitors import Capacitors
from eqprop_spice.layers.dense import Dense
from eqprop_spice.phases import Free


def test_every_node_has_its_time_constant():
    circuit = layered_circuit(
        [Dense(2), Capacitors(2e-12)], num_inputs=2, num_outputs=2, differential=False
    )
    params = {"dense_0": np.array([[1e-3, 2e-3], [3e-3, 6e-3]])}
    inputs = np.array([[1.0, -1.0]])
    found = Transient().solve(circuit, params, [Segment(5e-9, inputs)], np.zeros((1, 5)))
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    rest = np.asarray(point.voltages)[0, 3:]
    np.testing.assert_allclose(rest, [-0.5, -0.5], rtol=1e-12)
    rates = params["dense_0"].sum(0) / 2e-12
    exact = rest * (1.0 - np.exp(-rates * found.times[:, None]))
    np.testing.assert_allclose(found.outputs[0], exact, rtol=0.0, atol=1e-5)
