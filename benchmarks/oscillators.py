"""How much less CPU descent needs than Euler steps, for states that are equally far from settled.

    EQPROP_DATA=FOLDER python -m benchmarks.oscillators

The state is that of a batch of MNIST, the error the mean over all units of the difference of their
cosines. The published simulation takes 4,000 Euler steps, and 400 in every nudged phase.
"""

import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free
from eqprop_spice.substrates.oscillator_base import START
from eqprop_spice.substrates.oscillators import OscillatorIsing
from eqprop_spice.substrates.phase_model import angles, unit_vectors

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "oim" / "mnist_500.toml"

SHORT = ["dataset.num_train=5000", "training.epochs=2"]
"""Enough for couplings that are no longer those of the start."""

BATCH = 64
STEP = 0.1
SWEEPS = (2, 4, 6, 8, 10, 15, 20, 30)
STEPS = (50, 100, 200, 300, 400)
REPEATS = 5

SETTLED = 2000
"""Sweeps after which nothing moves any more."""


def timed(settle: Callable, count: int) -> tuple[np.ndarray, float]:
    """Return the states after some steps and the CPU seconds of a call, compiled before."""
    states = np.asarray(settle(count))
    began = time.process_time()
    for _ in range(REPEATS):
        jax.block_until_ready(settle(count))
    return states, (time.process_time() - began) / REPEATS


def main() -> None:
    """Train a little, then settle one batch in both ways."""
    experiment = Experiment.load(EXPERIMENT, SHORT)
    trainer, state = experiment.trainer, experiment.trainer.init(experiment.initial_params())
    for _ in range(experiment.table.training.epochs):
        state, _ = trainer.epoch(state)
    machine = experiment.substrate
    assert isinstance(machine, OscillatorIsing)
    inputs = jnp.asarray(experiment.data.test_inputs[:BATCH])
    start = [jnp.full((len(block), BATCH), START) for block in machine.blocks]
    model = machine.model(state.params, inputs, Free())

    @jax.jit
    def descend(count):
        return jnp.concatenate(angles(model.descend(unit_vectors(start), 0.0, count)[0]))

    @jax.jit
    def evolve(count):
        return jnp.concatenate(model.evolve(start, STEP, count))

    exact = np.asarray(descend(SETTLED))

    def error(states: np.ndarray) -> float:
        return float(abs(np.cos(states) - np.cos(exact)).mean())

    def row(kind: str, settle: Callable, count: int) -> tuple[float, float]:
        states, seconds = timed(settle, count)
        print(f"{count:5d} {kind:11s} mean error {error(states):.1e}  CPU {1e3 * seconds:7.2f} ms")
        return error(states), seconds

    descended = [row("sweeps", descend, count) for count in SWEEPS]
    for count in STEPS:
        reached, seconds = row("Euler steps", evolve, count)
        equal = [cost for left, cost in descended if left <= reached]
        if equal:
            print(f"      descent to that error takes {seconds / min(equal):.0f} times less")


if __name__ == "__main__":
    main()
