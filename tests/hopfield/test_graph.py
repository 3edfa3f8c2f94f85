import itertools

from eqprop_spice.hopfield.graph import build_graph
from eqprop_spice.hopfield.layers import Convolution, Dense, Skip
from tests.hopfield.networks import NETWORKS


def resnet13():
    """The network of Elayedam and Srinivasan (2025), 32 x 32 images of 3 channels."""
    layers = [
        Convolution(channels, padding=1, stride=stride, bounds=(0.0, 6.0))
        for channels, stride in zip(
            (128, 128, 256, 256, 512, 512, 512, 512), (1, 2) * 4, strict=True
        )
    ]
    skips = [Skip(k, k + 2, kernel=1, stride=2) for k in (0, 2, 4, 6)]
    return build_graph([*layers, Dense(10, bounds=())], skips, num_inputs=3072, image=(3, 32, 32))


def test_no_two_layers_of_a_color_are_connected():
    for graph in [*(network.graph for network in NETWORKS.values()), resnet13()]:
        assert sorted(itertools.chain(*graph.colors)) == list(range(1, graph.num_layers + 1))
        pairs = {(edge.source, edge.target) for edge in graph.edges}
        for color in graph.colors:
            assert not pairs & set(itertools.product(color, color))


def test_layers_in_a_row_have_two_colors_and_skips_need_a_third():
    assert NETWORKS["dense"].graph.colors == ((1, 3), (2,))
    assert resnet13().colors == ((1, 3, 5, 7, 9), (2, 6), (4, 8))


def test_shapes_of_the_published_residual_network():
    graph = resnet13()
    sides = [(32, 128), (16, 128), (16, 256), (8, 256), (8, 512), (4, 512), (4, 512), (2, 512)]
    assert graph.shapes == ((32, 32, 3), *((n, n, c) for n, c in sides), (10,))
    shapes = graph.parameter_shapes()
    assert sum(name.startswith("weight") for name in shapes) == 13
    assert shapes["weight_6_8"] == (1, 1, 512, 512)
    assert shapes["weight_9"] == (2048, 10)
    assert list(shapes)[:5] == ["weight_1", "bias_1", "weight_2", "bias_2", "weight_0_2"]
