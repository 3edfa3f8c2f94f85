"""Training by drawn states beside training without noise, as the nudge grows.

    python -m benchmarks.strong_nudges [--data xor|digits|fashion] [--betas 0.01 0.1 1 10]
        [--ways draws path plain centered] [--epochs 20] [--figure FILE]

A Boltzmann machine learns by block Gibbs sampling: by the difference of P-EP ("draws") and by the
path integral ("path"); and its mean field, which has no noise, by P-EP ("plain") and C-EP
("centered") at the same beta. The rate of every way and beta is the best of some on a validation
split; test errors are of the seeds 0, 1 and 2. Fashion-MNIST: 10,000 training images, and the
folder of its files in `--folder` or EQPROP_DATA. XOR has no samples to put aside: the rate is
chosen with three seeds, and ten others are counted.
"""

import argparse
import copy
import dataclasses
from typing import Any

import numpy as np

from eqprop_spice.experiment.experiment import Experiment

BETAS = (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
RULE = {"kind": "equilibrium_propagation.EquilibriumPropagation", "nudge": "live"}

LABELS = {
    "draws": "draws, P-EP",
    "path": "draws, path integral",
    "plain": "no noise, P-EP",
    "centered": "no noise, C-EP",
}


def way_of(name: str, beta: float) -> dict[str, Any]:
    """Return the values of an experiment that a way of training needs."""
    if name == "path":
        return {"rule": {"kind": "path_integral.PathIntegral", "beta": beta, "nodes": 2}}
    variant = "centered" if name == "centered" else "positive"
    values: dict[str, Any] = {"rule": {**RULE, "variant": variant, "beta": beta}}
    return values if name == "draws" else {**values, "substrate.method": "mean_field"}


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        path: The experiment.
        values: Values of it by dotted key.
        aside: Those that test on a part of the training samples.
        tuned: Seeds that a rate is chosen with.
        tested: Seeds that are counted.
    """

    path: str
    values: dict[str, Any]
    aside: dict[str, Any]
    tuned: tuple[int, ...] = (0,)
    tested: tuple[int, ...] = (0, 1, 2)


def task_of(data: str, folder: str) -> Task:
    """Return a task by name."""
    if data == "xor":
        seeds = tuple(range(3)), tuple(range(3, 13))
        return Task("experiments/noise/xor_gibbs.toml", {}, {}, *seeds)
    if data == "digits":
        aside = {"dataset.validation": True}
        return Task("experiments/noise/digits_gibbs.toml", {}, aside)
    dataset = {"kind": "fashion_mnist.FashionMnist", "num_train": 10_000, "folder": folder}
    values = {"dataset": dataset, "substrate.hidden": [128]}
    return Task("experiments/noise/mnist_gibbs.toml", values, {"dataset.validation": 5_000})


def error_of(path: str, values: dict[str, Any]) -> float:
    """Return the error on the test samples, those in their place, or all where there are none."""
    # Assigning to a table that is a value changes it.
    experiment = Experiment.load(path, values=copy.deepcopy(values))
    trainer = experiment.trainer
    state = trainer.init(experiment.initial_params())
    for _ in range(experiment.table.training.epochs):
        state, _ = trainer.epoch(state)
    test = len(experiment.data.test_inputs) > 0
    name = "test_accuracy" if test else "train_accuracy"
    return 100.0 * (1.0 - trainer.evaluate(state.params, test=test)[name])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=("xor", "digits", "fashion"), default="digits")
    parser.add_argument("--folder", default="")
    parser.add_argument("--betas", type=float, nargs="+", default=BETAS)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--ways", nargs="+", default=tuple(LABELS), choices=tuple(LABELS))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--figure")
    options = parser.parse_args()
    task = task_of(options.data, options.folder)
    values = {**task.values, "training.epochs": options.epochs}
    found: dict[str, list[tuple[float, float]]] = {}
    print("way | beta | rate | validation error by rate [%] | test errors [%]", flush=True)
    for way in options.ways:
        for beta in options.betas:
            whole = {**values, **way_of(way, beta)}
            tried = []
            for rate in options.rates:
                given = {**whole, **task.aside, "optimizer.learning_rate": rate}
                errors = [error_of(task.path, {**given, "seed": seed}) for seed in task.tuned]
                tried.append(float(np.mean(errors)))
            rate = options.rates[int(np.argmin(tried))]
            chosen = {**whole, "optimizer.learning_rate": rate}
            tests = [error_of(task.path, {**chosen, "seed": seed}) for seed in task.tested]
            found.setdefault(way, []).append((beta, float(np.mean(tests))))
            print(
                f"{LABELS[way]} | {beta:g} | {rate:g} | {np.round(tried, 1).tolist()} | "
                f"{np.round(tests, 1).tolist()}",
                flush=True,
            )
    if options.figure:
        draw(found, options.figure, options.data)


def draw(found: dict[str, list[tuple[float, float]]], path: str, title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    for way, rows in found.items():
        axes.loglog(*zip(*rows, strict=True), "o-", label=LABELS[way])
    axes.set(xlabel="nudge beta", ylabel="error [%], mean over seeds", title=title)
    axes.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
