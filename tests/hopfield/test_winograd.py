import dataclasses
from typing import Literal

import jax
import numpy as np
import pytest

from eqprop_spice.hopfield import descent
from eqprop_spice.hopfield.edges import ConvolutionEdge
from eqprop_spice.hopfield.layers import Convolution
from eqprop_spice.phases import Free, Spring
from eqprop_spice.substrates.hopfield import Hopfield
from tests.hopfield.networks import draw

ROUNDING = 1e-13
"""Sums of 600 products of order one: 1e-15 for each, and a few times that by Winograd."""

STATE_TOLERANCE = 1e-11
"""Residuals are below 1e-13; states are off by their multiple with the inverse Hessian."""


def edge(pooling: Literal["none", "max", "average"]) -> ConvolutionEdge:
    """Return a connection that is tiled."""
    window = 1 if pooling == "none" else 2
    shape = (6, 4, 64)
    return ConvolutionEdge(
        "weight_2", 1, 2, shape, 64, kernel=3, stride=1, padding=1, pooling=pooling, window=window
    )


@pytest.mark.parametrize("pooling", ["none", "max", "average"])
def test_tiles_give_the_plain_convolution(pooling):
    connection, rng = edge(pooling), np.random.default_rng(0)
    assert connection.tiled
    weight = rng.normal(size=connection.weight_shape) / np.sqrt(576)
    source = rng.uniform(size=(3, *connection.source_shape))
    target = rng.uniform(size=(3, *connection.target_shape))
    prepared = connection.prepared(weight)
    value, switches = connection.forward(prepared, source)
    expected, places = connection.pool(connection.product(weight, source))
    np.testing.assert_allclose(value, expected, rtol=0, atol=ROUNDING)
    np.testing.assert_array_equal(switches, places)
    pulled = connection.backward(prepared, target, switches)
    plain = connection.pull(weight, connection.spread(target, places))
    np.testing.assert_allclose(pulled, plain, rtol=0, atol=ROUNDING)


def test_narrow_or_odd_or_large_windows_are_not_tiled():
    wide = edge("max")
    for change in (
        {"channels": 32},
        {"kernel": 1, "padding": 0},
        {"stride": 2},
        {"window": 3},
        {"source_shape": (5, 4, 64)},
    ):
        assert not dataclasses.replace(wide, **change).tiled


NETWORK = Hopfield(
    (Convolution(64, padding=1, pool="average"), Convolution(64, padding=1, pool="max")),
    image=(1, 4, 4),
    num_inputs=16,
    num_outputs=3,
    tolerance=1e-13,
)


def test_a_network_that_is_tiled_and_leaves_rows_behind_settles_like_one_that_is_not(monkeypatch):
    params, inputs, targets = draw(NETWORK, 0, samples=8)
    params = {k: 1.6 * v if v.ndim > 1 else v for k, v in params.items()}
    inputs[:4] *= 0.01
    phases = [Free(), Spring(0.3, targets)]

    def settled():
        return jax.jit(lambda params: NETWORK.settle(params, inputs, phases))(params)

    monkeypatch.setattr(descent, "FEWEST", 2)
    monkeypatch.setattr(descent, "COSTLY", 0)
    found = settled()
    monkeypatch.setattr(ConvolutionEdge, "tiled", False)
    monkeypatch.setattr(descent, "COSTLY", 10**12)
    for one, other in zip(found, settled(), strict=True):
        assert one.converged.all() and other.converged.all()
        assert len(np.unique(one.num_steps)) > 1 and len(np.unique(other.num_steps)) == 1
        for a, b in zip(one.state, other.state, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=STATE_TOLERANCE)
