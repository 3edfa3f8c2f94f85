"""Small Hopfield networks of every kind, and parameters for them."""

import numpy as np

from eqprop_spice.hopfield.layers import Convolution, Dense, Skip
from eqprop_spice.substrates.hopfield import Hopfield

RELU6 = (0.0, 6.0)

NETWORKS = {
    "dense": Hopfield((Dense(9), Dense(7)), num_inputs=12, num_outputs=4, tolerance=1e-14),
    "max pooling": Hopfield(
        (Convolution(3, padding=1, pool="max"), Convolution(4, padding=1, pool="max"), Dense(6)),
        image=(2, 9, 8),
        num_inputs=144,
        num_outputs=3,
        tolerance=1e-14,
    ),
    "skips": Hopfield(
        (
            Convolution(2, padding=1, bounds=RELU6),
            Convolution(3, kernel=2, stride=2, bounds=RELU6),
            Convolution(3, padding=1, bounds=(-0.5, 0.5)),
            Convolution(4, padding=1, pool="average", bounds=RELU6),
        ),
        skips=(Skip(0, 2, 1, 2), Skip(2, 4, 1, 2), Skip(3, 5)),
        image=(2, 8, 8),
        num_inputs=128,
        num_outputs=3,
        tolerance=1e-14,
    ),
    "clipped outputs": Hopfield(
        (Dense(8, bounds=(-1.0, 1.0)),),
        num_inputs=6,
        num_outputs=5,
        output_bounds=(0.0, 1.0),
        tolerance=1e-14,
    ),
}


def draw(
    network: Hopfield, seed: int, samples: int = 3
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return parameters that leave units of every layer free, inputs and targets."""
    rng = np.random.default_rng(seed)
    params = {}
    for name, shape in network.parameter_shapes().items():
        fan_in = np.prod(shape[:-1])
        params[name] = rng.uniform(-1.0, 1.0, shape) * np.sqrt(0.5 / fan_in)
        if len(shape) == 1:
            params[name] = rng.uniform(0.0, 0.6, shape)
    inputs = rng.normal(size=(samples, network.num_inputs))
    targets = np.eye(network.num_outputs)[rng.integers(network.num_outputs, size=samples)]
    return params, inputs, targets
