"""How much less CPU descent needs than Euler steps, for states that are equally far from settled.

    EQPROP_DATA=FOLDER python benchmarks/oscillators.py

The state is that of a batch of MNIST, the error the mean over all units of the difference of their
cosines. The published simulation takes 4,000 Euler steps, and 400 in every nudged phase: these run
side by side with a descent that leaves no larger error in any of them. The figure shows phases over
time.
"""

import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free, Spring
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

PUBLISHED = (4000, 400)
"""Euler steps of the free and of every nudged phase (Gower 2025)."""

BETA = 0.5

TIGHT = 1e-12
"""Tolerance of the descent that is no further from rest in any phase than so many steps."""

FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "oscillator_phases.png"

SETTLED = 2000
"""Sweeps after which nothing moves any more."""


def timed(settle: Callable, count: int) -> tuple[np.ndarray, float]:
    """Return the states after some steps and the CPU seconds of a call, compiled before."""
    states = np.asarray(settle(count))
    began = time.process_time()
    for _ in range(REPEATS):
        jax.block_until_ready(settle(count))
    return states, (time.process_time() - began) / REPEATS


def published(machine: OscillatorIsing, params, inputs, targets) -> None:
    """Compare three phases of the published length with the descent, side by side."""
    models = [
        machine.model(params, inputs, phase)
        for phase in (Free(), Spring(-BETA, targets), Spring(BETA, targets))
    ]
    start = [jnp.full((len(block), len(inputs)), START) for block in machine.blocks]

    @jax.jit
    def evolved(num_free):
        free = models[0].evolve(start, STEP, num_free)
        nudged = [model.evolve(free, STEP, PUBLISHED[1]) for model in models[1:]]
        return jnp.stack([jnp.concatenate(phases) for phases in (free, *nudged)])

    def descended(tolerance: float) -> Callable:
        @jax.jit
        def settle(max_sweeps):
            free, _ = models[0].descend(unit_vectors(start), tolerance, max_sweeps)
            nudged = [model.descend(free, tolerance, max_sweeps)[0] for model in models[1:]]
            return jnp.stack([jnp.concatenate(angles(units)) for units in (free, *nudged)])

        return settle

    exact = np.cos(descended(0.0)(SETTLED))
    states, slow = timed(evolved, PUBLISHED[0])
    closer, fast = timed(descended(TIGHT), SETTLED)
    for label, found, seconds in (("Euler", states, slow), ("descent", closer, fast)):
        errors = [f"{value:.0e}" for value in abs(np.cos(found) - exact).mean((1, 2))]
        print(f"{label}: free, -beta, +beta off by {', '.join(errors)}; CPU {seconds:.3f} s")
    print(f"ratio {slow / fast:.0f}")


def phases_figure(machine: OscillatorIsing, params, inputs, targets) -> None:
    """Draw the phases of one sample over time: free, then nudged."""
    one = inputs[:1]
    phases = [jnp.full((len(block), 1), START) for block in machine.blocks]
    rows, times = [np.concatenate(phases)[:, 0]], [0.0]
    for phase in (Free(), Spring(BETA, targets[:1])):
        model = machine.model(params, one, phase)
        for _ in range(80):
            phases = model.evolve(phases, STEP, 2)
            rows.append(np.concatenate(phases)[:, 0])
            times.append(times[-1] + 2 * STEP / (2.0 * np.pi))
    order = np.concatenate(machine.blocks)
    cosines = np.cos(np.array(rows))
    outputs = cosines[:, order >= machine.num_units - machine.num_outputs]
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    hidden = cosines[:, order < machine.num_units - machine.num_outputs]
    axes.plot(times, hidden[:, ::20], color="0.8", linewidth=0.7)
    axes.plot(times, outputs)
    axes.axvline(times[len(times) // 2], color="k", linestyle=":")
    axes.set(xlabel="Time [periods]", ylabel="Cosine of the phase")
    axes.set_title(
        "outputs in color, some hidden units in gray; nudged from the dots on", fontsize=9
    )
    figure.savefig(FIGURE, dpi=120)


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
    targets = jnp.asarray(experiment.data.test_targets[:BATCH])
    published(machine, state.params, inputs, targets)
    phases_figure(machine, state.params, inputs, targets)


if __name__ == "__main__":
    main()
