import numpy as np
import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.lagrangian.network import Network
from eqprop_spice.lagrangian.prototypes import ladder_cards, ladder_values, least_reflection


def test_cards_are_read():
    network = Network.of(["c1 a 0", "L1 a b 2m", "l2 b 0 4", "c2 b 0 c1", "r1 b 0 50"])
    assert network.nodes == ("a", "b")
    assert network.parameter_shapes() == {"capacitance": (1,)}
    np.testing.assert_allclose(network.values("c", {"capacitance": np.array([3.0])}), [3.0, 3.0])
    np.testing.assert_allclose(network.values("l", {}), [500.0, 0.25])
    np.testing.assert_allclose(network.values("r", {}), [0.02])
    np.testing.assert_array_equal(network.incidence("l"), [[1.0, -1.0], [0.0, 1.0]])


def test_a_parameter_that_two_elements_take_has_both_slopes():
    network = Network.of(["c1 a 0", "c2 b 0 c1", "l1 a b"])
    slopes = {kind: np.zeros(len(network.of_kind(kind))) for kind in "cljr"}
    found = network.gradient(slopes | {"c": np.array([2.0, 5.0]), "l": np.array([1.0])})
    assert found["capacitance"] == 7.0
    assert found["inverse_inductance"] == 1.0


@pytest.mark.parametrize(
    ("cards", "told"),
    [
        ([], "no elements"),
        (["c1 a"], "is no card"),
        (["q1 a 0"], "is no element"),
        (["c1 a 0", "c1 b 0"], "two elements named 'c1'"),
        (["c1 a a"], "both ends"),
        (["c1 a 0 -2"], "must be finite and positive"),
        (["c1 a 0 0"], "must be finite and positive"),
        (["c1 a 0 2x3"], "2x3"),
        (["c1 A-B 0"], "no name of a node"),
        (["c1 a 0", "l1 a 0 c1"], "no element of the same kind"),
        (["c1 a 0 c2", "c2 a 0"], "stands before it"),
        (["l1 a 0", "k1 l1 l2 0.5"], "'l2' is no inductor"),
        (["l1 a 0", "l2 b 0", "k1 l1 l2 1.5"], "between -1 and 1"),
        (["l1 a 0", "l2 b 0", "k1 l1 l2"], "is no card"),
        (
            ["l1 a 0", "l2 b 0", "l3 c 0", "k1 l1 l2 .9", "k2 l1 l3 .9", "k3 l2 l3 -.9"],
            "negative energy",
        ),
    ],
)
def test_bad_cards_are_refused(cards, told):
    with pytest.raises(ConfigError, match=told):
        Network.of(cards)


def test_tables_of_prototypes():
    # Matthaei, Young and Jones (1964), tables 4.05-1(a) and 4.05-2(a), 0.5 dB.
    np.testing.assert_allclose(ladder_values("butterworth", 3), [1.0, 2.0, 1.0], rtol=1e-12)
    printed = [1.7058, 1.2296, 2.5408, 1.2296, 1.7058]
    np.testing.assert_allclose(ladder_values("chebyshev", 5, 0.5), printed, atol=5e-5)
    assert ladder_cards(ladder_values("butterworth", 1)) == (
        "rs n0 0 1",
        "rl n0 0 1",
        "c0 n0 0 2.0",
    )
    for bad in ({"order": 4}, {"order": -1}, {"order": 3, "ripple": 0.0}):
        with pytest.raises(ConfigError):
            ladder_values("chebyshev", **bad)


def test_a_load_alone_reflects_least_from_one_source():
    # At the best source G of a load 1 + jwC, the largest reflection is at the edge of the band.
    capacitance = 2.0
    conductances = np.linspace(0.1, 10.0, 20_001)
    load = 1.0 + 1j * capacitance
    reflected = abs((conductances - load) / (conductances + load.conjugate()))
    assert abs(reflected.min() - least_reflection(1, 1.0 / capacitance)) < 1e-6


def test_more_elements_reflect_less_down_to_the_limit_of_bode():
    found = [least_reflection(order, 0.5) for order in (1, 2, 3, 5, 10, 40)]
    assert (np.diff(found) < 0.0).all()
    limit = np.exp(-0.5 * np.pi)
    assert limit < found[-1] < 1.01 * limit
