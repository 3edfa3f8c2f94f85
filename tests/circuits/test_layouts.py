"""Layouts: what they compute of all instances at once against loops over the instances."""

import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_spice.circuits.layouts import AbstractTwoSided, Pairs, Patches, Product, Shared, add_at

ROUNDING = 1e-13
"""Sums of a dozen products of numbers of order 1, in another order."""

NUM_NODES = 9
FIRST = np.array([0, 1, 1, 3, 5, 0])
SECOND = np.array([2, 4, 6, 7, 8, 6])

LAYOUTS = {
    "product": Product(FIRST[:4], SECOND[:3]),
    "pairs": Pairs(FIRST, SECOND),
    "patches": Patches(FIRST, SECOND[:4], 2),
    "shared": Shared(FIRST, SECOND[:4], 2),
}

layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())


@layouts
def test_shapes_fit_each_other(layout: AbstractTwoSided):
    first, second = layout.pairs()
    count = int(np.prod(layout.wiring.shape))
    assert len(first) == len(second) == count == len(set(layout.instance_names()))
    numbers = np.arange(float(np.prod(layout.shape))).reshape(layout.shape)
    values = layout.instance_values(numbers)
    assert values.shape == layout.wiring.shape
    np.testing.assert_array_equal(layout.parameter_means(values), numbers)
    for position, number in enumerate(numbers.ravel()):
        owners = np.flatnonzero(values.ravel() == number)
        np.testing.assert_array_equal(layout.instances_of(position), owners)


def test_patches_connect_every_row_to_every_column_of_a_patch():
    first, second = LAYOUTS["patches"].pairs()
    # Rows [0 1], [1 3], [5 0] and columns [2 4], [6 7], one column of numbers per patch.
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [
        *((0, 2), (1, 4), (0, 6), (1, 7)),
        *((1, 2), (3, 4), (1, 6), (3, 7)),
        *((5, 2), (0, 4), (5, 6), (0, 7)),
    ]
    assert LAYOUTS["patches"].shape == (3, 2, 2)
    assert LAYOUTS["shared"].shape == (3, 2)


@layouts
def test_currents_and_products_are_those_of_the_instances(layout: AbstractTwoSided):
    rng = np.random.default_rng(0)
    v, dv = rng.normal(size=(2, 5, NUM_NODES))
    g = rng.uniform(0.5, 1.0, layout.shape)
    weights = rng.normal(size=layout.wiring.shape)
    one, two = layout.pairs()
    values = layout.instance_values(g).ravel()

    leaving, total = np.zeros((5, NUM_NODES)), np.zeros(NUM_NODES)
    for a, b, value in zip(one, two, values, strict=True):
        leaving[:, a] += value * (v[:, a] - v[:, b])
        leaving[:, b] -= value * (v[:, a] - v[:, b])
        total[a] += value
        total[b] += value
    ends, found = (layout.first, layout.second), np.zeros((5, NUM_NODES))
    for nodes, current in zip(ends, layout.linear_currents(v, g), strict=True):
        add_at(found, nodes, current)
    np.testing.assert_allclose(found, leaving, rtol=0.0, atol=ROUNDING)
    sums = np.zeros(NUM_NODES)
    for nodes, part in zip(ends, layout.conductance_sums(g), strict=True):
        add_at(sums, nodes, part)
    np.testing.assert_allclose(sums, total, rtol=ROUNDING)

    products = ((v[:, one] - v[:, two]) * (dv[:, one] - dv[:, two])).mean(0)
    for factor, given in ((np.ones(len(one)), 1.0), (weights.ravel(), weights)):
        expected = np.array(
            [
                sum(factor[i] * products[i] for i in layout.instances_of(position))
                for position in range(g.size)
            ]
        )
        product = layout.voltage_drop_product(v, dv, given)
        assert product.shape == layout.shape
        np.testing.assert_allclose(product.ravel(), expected, rtol=0.0, atol=ROUNDING)


@layouts
@pytest.mark.parametrize("batch", [1, 2, 4, 30])
def test_jax_gives_the_same_products_for_few_samples_and_many(layout: AbstractTwoSided, batch: int):
    v, dv = np.random.default_rng(1).normal(size=(2, batch, NUM_NODES))
    for still in (None, np.arange(NUM_NODES) < 6):
        change = dv if still is None else np.where(still, 0.0, dv)
        expected = layout.voltage_drop_product(v, change)
        found = layout.voltage_drop_product(jnp.asarray(v), jnp.asarray(change), 1.0, still)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=0.0, atol=ROUNDING)
