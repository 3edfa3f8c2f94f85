"""Memory over 100,000 operating points through ngspice, netlists reloaded every 20 samples.

python benchmarks/memory.py
"""

import os
from pathlib import Path

import numpy as np

from benchmarks.ngspice_modes import network
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.engines.ngspice.engine import NgSpice
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


if __name__ == "__main__":
    print(f"{NUM_POINTS} operating points: memory grew by {growth():.2f} MB")
