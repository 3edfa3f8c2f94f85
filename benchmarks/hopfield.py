"""CPU time of a minibatch of the published convolutional Hopfield network, per step of it.

    python -m benchmarks.hopfield
    python -m benchmarks.hopfield --rain FOLDER

With a clone of github.com/rain-neuromorphics/energy-based-learning and PyTorch installed, the same
minibatch is timed by that code in turn: the same network, iterations and precision. Run it with
`taskset -c 0` for one core each.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from eqprop_spice.hopfield.layers import Convolution
from eqprop_spice.phases import Free, Spring
from eqprop_spice.substrates.hopfield import Hopfield

CHANNELS = (128, 256, 512, 512)
SWEEPS = (60, 15)
BETA = 0.25
ROUNDS = 3
"""Times everything is measured in turn; the fastest counts, since other loads only slow down."""


def network(**settings) -> Hopfield:
    """Return the published network for images of 32 x 32 pixels in single precision."""
    layers = tuple(Convolution(n, padding=1, pool="max") for n in CHANNELS)
    return Hopfield(
        layers, image=(1, 32, 32), num_inputs=1024, num_outputs=10, precision="float32", **settings
    )


def drawn(model: Hopfield, batch: int) -> tuple[dict, np.ndarray, np.ndarray]:
    """Return initial parameters with a gain of 0.5, inputs and targets."""
    rng = np.random.default_rng(0)
    params = {
        name: 0.5 * rng.uniform(-1.0, 1.0, shape) / np.sqrt(max(np.prod(shape[:-1]), 9))
        for name, shape in model.parameter_shapes().items()
    }
    targets = np.eye(10)[rng.integers(10, size=batch)]
    return params, rng.uniform(size=(batch, 1024)), targets


def ours(batch: int) -> dict[str, Callable[[], object]]:
    """Return what is timed of this package."""
    fixed = network(sweeps=SWEEPS, tolerance=1e9)
    params, inputs, targets = drawn(fixed, batch)
    whole = np.ones(batch, bool)

    @jax.jit
    def free(params):
        return fixed.settle(params, inputs, [Free()])[0].state

    @jax.jit
    def minibatch(params):
        phases = [Free(), Spring(BETA, targets), Spring(-BETA, targets)]
        _, high, low = fixed.settle(params, inputs, phases)
        return fixed.contrast(params, inputs, low.state, high.state, whole)

    return {
        "60 free sweeps": lambda: jax.block_until_ready(free(params)),
        "minibatch of C-EP": lambda: jax.block_until_ready(minibatch(params)),
    }


def theirs(folder: Path, batch: int) -> dict[str, Callable[[], object]]:
    """Return the same of the code in a folder."""
    sys.path.insert(0, str(folder))
    import torch  # pyright: ignore[reportMissingImports]
    from model.function.cost import SquaredError  # pyright: ignore[reportMissingImports]
    from model.function.network import Network  # pyright: ignore[reportMissingImports]
    from model.hopfield.minimizer import (  # pyright: ignore[reportMissingImports]
        FixedPointMinimizer,
    )
    from model.hopfield.network import (  # pyright: ignore[reportMissingImports]
        ConvHopfieldEnergy32,
    )
    from training.sgd import (  # pyright: ignore[reportMissingImports]
        AugmentedFunction,
        EquilibriumProp,
    )

    torch.manual_seed(0)
    energy = ConvHopfieldEnergy32(1, 10, weight_gains=[0.5] * 5)
    energy.set_device("cpu")
    model, cost = Network(energy), SquaredError(energy.layers()[-1])
    augmented = AugmentedFunction(energy, cost)
    nudged = FixedPointMinimizer(augmented, model.free_layers())
    nudged.num_iterations = SWEEPS[1]
    estimator = EquilibriumProp(energy.params(), energy.layers(), augmented, cost, nudged)
    estimator.nudging, estimator.variant = BETA, "centered"
    inference = FixedPointMinimizer(energy, model.free_layers())
    inference.num_iterations = SWEEPS[0]
    images, labels = torch.rand(batch, 1, 32, 32), torch.randint(0, 10, (batch,))

    def free() -> None:
        model.set_input(images, reset=True)
        inference.compute_equilibrium()

    def minibatch() -> object:
        free()
        cost.set_target(labels)
        return estimator.compute_gradient()

    return {"60 free sweeps": free, "minibatch of C-EP": minibatch}


def main() -> None:
    """Time in turn and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rain", type=Path)
    options = parser.parse_args()
    sides = {"ours": ours(options.batch)}
    if options.rain is not None:
        sides["rain"] = theirs(options.rain, options.batch)
    for what in sides["ours"]:
        times = {side: np.inf for side in sides}
        for work in sides.values():
            work[what]()
        for _ in range(ROUNDS):
            for side, work in sides.items():
                started = time.process_time()
                work[what]()
                times[side] = min(times[side], time.process_time() - started)
        text = ", ".join(f"{side} {seconds:.2f} s" for side, seconds in times.items())
        ratio = f" ({times['rain'] / times['ours']:.2f} times)" if "rain" in times else ""
        print(f"{what:18} batch {options.batch}: {text} of CPU{ratio}", flush=True)


if __name__ == "__main__":
    main()
