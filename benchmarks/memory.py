"""Memory of a process that works for long.

python -m benchmarks.memory                             100,000 operating points through ngspice
python -m benchmarks.memory --circuits 500 --engine native      trains 500 different circuits
"""

import argparse
import gc
import os
from pathlib import Path

import numpy as np

from benchmarks.ngspice_modes import network
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import ConstantNudge, Free

NUM_POINTS = 100_000
BATCH = 20


def resident_megabytes() -> float:
    """Return the resident memory of this process [MB]."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def growth(num_points: int = NUM_POINTS) -> float:
    """Return how much memory `num_points` operating points cost, after a warm-up [MB]."""
    rng = np.random.default_rng(0)
    circuit, engine = network(2, 2), NgSpice()
    shapes = circuit.parameter_shapes()
    targets = rng.uniform(-1, 1, (BATCH, 1))
    phases = [Free(), ConstantNudge(SquaredError(), targets, 1e-4)]

    def solve(count: int) -> None:
        for _ in range(count // (2 * BATCH)):
            params = {name: rng.uniform(1e-4, 1e-2, shape) for name, shape in shapes.items()}
            engine.settle(circuit, params, rng.uniform(-2, 2, (BATCH, 2)), phases)

    solve(num_points // 10)
    before = resident_megabytes()
    solve(num_points)
    return resident_megabytes() - before


def train_different(num_circuits: int, engine: str) -> None:
    """Train circuits of which no two are alike, and print the memory on the way [MB]."""
    text = (Path(__file__).parent.parent / "experiments" / "xor.toml").read_text()
    for number in range(num_circuits):
        different = [
            f"engine={engine}",
            "training.epochs=2",
            "goal.stop=false",
            f"circuit.layers.0.num_outputs={2 + number % 25}",
            f"circuit.layers.2.gain={2.0 + number / num_circuits}",
        ]
        experiment = Experiment.parse(text, overrides=different)
        trainer = experiment.trainer
        state = trainer.init(experiment.initial_params())
        for _ in range(2):
            state, _ = trainer.epoch(state)
        trainer.evaluate(state.params, test=True)
        if (number + 1) % 50 == 0:
            gc.collect()
            print(f"{number + 1:5} circuits: {resident_megabytes():8.1f} MB", flush=True)


def main() -> None:
    """Print what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--circuits", type=int, default=0)
    parser.add_argument("--engine", choices=["native", "ngspice"], default="native")
    options = parser.parse_args()
    if options.circuits:
        train_different(options.circuits, options.engine)
    else:
        print(f"{NUM_POINTS} operating points: memory grew by {growth():.2f} MB")


if __name__ == "__main__":
    main()
