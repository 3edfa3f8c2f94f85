"""Average pools: the mean of each block."""

import numpy as np
import pytest

from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.images import windows
from eqprop_spice.layers.pooling import AveragePool
from eqprop_spice.phases import Free

NGSPICE = 1e-9
"""Voltage error [V] of ngspice, whose last Newton step is below 1e-10 of the voltages."""


@pytest.mark.ngspice
@pytest.mark.parametrize("engine", [NgSpice(), Native()], ids=["ngspice", "native"])
def test_unloaded_nodes_are_at_the_mean_of_their_block(engine):
    """Behind dense nodes whose conductances make the load of the pool negligible."""
    layers = [Dense(24), AveragePool((4, 6), (2, 3), 1e-15)]
    circuit = layered_circuit(layers, num_inputs=3, num_outputs=4, differential=False)
    assert circuit.parameter_shapes() == {"dense_0": (3, 24)}
    rng = np.random.default_rng(0)
    params, inputs = {"dense_0": rng.uniform(1e-3, 1e-2, (3, 24))}, rng.normal(size=(2, 3))
    (point,) = engine.settle(circuit, params, inputs, [Free()])
    g = params["dense_0"]
    images = (inputs @ g / g.sum(0)).reshape(2, 2, 2, 2, 3)
    expected = images.mean(axis=(2, 4)).reshape(2, 4)
    np.testing.assert_allclose(circuit.outputs(point.voltages), expected, rtol=0.0, atol=NGSPICE)


def test_a_load_pulls_the_mean_down():
    """A resistor g to ground behind n resistors of G: n G / (n G + g) of the mean."""
    layers = [AveragePool((2, 2), (2, 2), 1e-2), Dense(1, bias=(0.0,))]
    circuit = layered_circuit(layers, num_inputs=4, num_outputs=1, differential=False)
    params = {"dense_1": np.array([[1e-3], [3e-3]])}
    (point,) = Native().settle(circuit, params, np.array([[1.0, 2.0, 3.0, 6.0]]), [Free()])
    series = 1.0 / (1.0 / 1e-3 + 1.0 / 3e-3)
    node = circuit.node_names.index("n0_0")
    expected = 3.0 * 4e-2 / (4e-2 + series)
    assert float(point.voltages[0, node]) == pytest.approx(expected, rel=1e-13)


def test_every_channel_is_pooled_by_itself():
    circuit = layered_circuit(
        [AveragePool((1, 2), (1, 2), 1e-3), Dense(1)],
        num_inputs=2,
        num_outputs=1,
        differential=False,
        doubled_inputs=True,
    )
    (group,) = (g for g in circuit.groups if g.name == "pool_0")
    names = circuit.node_names
    pairs = {(names[a], names[b]) for a, b in zip(*group.layout.pairs(), strict=True)}
    assert pairs == {
        *(("x_0", "n0_0"), ("x_1", "n0_0")),
        *(("xn_0", "n0_1"), ("xn_1", "n0_1")),
    }


def test_windows_count_row_by_row():
    assert windows((2, 3), (2, 2), stride=(1, 1)).T.tolist() == [[0, 1, 3, 4], [1, 2, 4, 5]]
    corner = windows((2, 2), (2, 2), stride=(2, 2), padding=1)[:, 0]
    assert corner.tolist() == [-1, -1, -1, 0]


REFUSALS = {
    "AveragePool layer 0 .*2 x 2 pixels, which do not tile": AveragePool((3, 4), (2, 2), 1e-2),
    "AveragePool layer 0 .*window_width 0": AveragePool((3, 4), (1, 0), 1e-2),
    "AveragePool layer 0 .*no multiple of 25": AveragePool((5, 5), (5, 5), 1e-2),
    "fixed resistor has conductance -1": AveragePool((3, 4), (3, 4), -1.0),
    "fixed resistor has conductance nan": AveragePool((3, 4), (3, 4), np.nan),
}


@pytest.mark.parametrize(("message", "layer"), REFUSALS.items(), ids=REFUSALS.keys())
def test_what_does_not_fit_is_refused(message: str, layer: AveragePool):
    with pytest.raises(NetlistError, match=message):
        layered_circuit([layer, Dense(1)], num_inputs=12, num_outputs=1, differential=False)
