"""How reliably the shipped experiments learn through ngspice: every claim of the README.

python benchmarks/learning.py xor gates case_1 iris digits kiraz/xor_published kiraz/xor_repaired
"""

import sys
import time
from pathlib import Path

import numpy as np

from eqprop_spice.experiment.experiment import Experiment

EXPERIMENTS = Path(__file__).parent.parent / "experiments"

MANY_SEEDS = 60
"""Enough for a worst case that means something: the largest errors of 10 seeds of `gates` and of 30
others differed by a factor of 1,000."""


def trained(name: str, *overrides: str) -> tuple[Experiment, dict[str, float], int]:
    """Train an experiment without a run folder; return it, its final figures and its epochs."""
    experiment = Experiment.load(EXPERIMENTS / f"{name}.toml", list(overrides))
    trainer, table = experiment.trainer, experiment.table
    state = trainer.init(experiment.initial_params())
    num_unconverged = 0.0
    while True:
        figures: dict[str, float] = {}
        finished = state.epoch == table.training.epochs
        if table.goal.stop or finished:
            figures = trainer.evaluate(state.params, test=False)
        if finished or (table.goal.stop and experiment.table.goal.reached(figures)):
            break
        state, seen = trainer.epoch(state)
        num_unconverged += seen["num_unconverged"]
    if len(experiment.data.test_inputs):
        figures |= trainer.evaluate(state.params, test=True)
    return experiment, figures | {"num_unconverged": num_unconverged}, state.epoch


def learned(name: str, num_seeds: int, *overrides: str) -> None:
    """Print how many seeds reach the goal."""
    started, good, epochs, errors = time.perf_counter(), 0, [], []
    for seed in range(num_seeds):
        experiment, figures, num_epochs = trained(name, f"seed={seed}", *overrides)
        reached = bool(experiment.table.goal.reached(figures))
        good += reached
        epochs += [num_epochs] if reached else []
        errors.append(figures["train_max_error"])
    took = (time.perf_counter() - started) / num_seeds
    print(
        f"{name:14s} {' '.join(overrides):24s} {good:2d} of {num_seeds} seeds learn, "
        f"{f'median {np.median(epochs):.0f} epochs, ' if epochs else ''}"
        f"final error: median {np.median(errors):.2g} V, worst {max(errors):.2g} V, "
        f"{took:.1f} s per run",
        flush=True,
    )


def accuracy(name: str, num_seeds: int, *overrides: str) -> None:
    """Print mean and standard deviation of the test accuracy; every seed has its own split."""
    started, values, unconverged = time.perf_counter(), [], 0.0
    for seed in range(num_seeds):
        _, figures, _ = trained(name, f"seed={seed}", f"dataset.split={seed}", *overrides)
        values.append(100 * figures["test_accuracy"])
        unconverged += figures["num_unconverged"]
    took = (time.perf_counter() - started) / num_seeds
    print(
        f"{name:14s} test accuracy {np.mean(values):.2f} +- {np.std(values, ddof=1):.2f} % over "
        f"{num_seeds} splits ({', '.join(f'{v:.2f}' for v in values)}), "
        f"{unconverged:.0f} unconverged, {took:.1f} s per run",
        flush=True,
    )


def main(arguments: list[str]) -> None:
    """Run the named claims, with the settings given after them."""
    names = [a for a in arguments if "=" not in a]
    settings = [a for a in arguments if "=" in a]
    for name in names:
        if name in ("xor", "gates"):
            learned(name, MANY_SEEDS, *settings)
        elif name == "case_1":
            for decade in range(-7, -1):
                learned(name, 20, f"rule.beta=1e{decade}", *settings)
        elif name.startswith("kiraz/"):
            learned(name, 11, *settings)
        else:
            accuracy(name, 5, *settings)


if __name__ == "__main__":
    main(sys.argv[1:] or ["xor", "gates", "case_1", "iris", "digits"])
