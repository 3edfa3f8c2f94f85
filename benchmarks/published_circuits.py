"""The public XOR circuit, with the causes of its failure taken away one after the other.

    python -m benchmarks.published_circuits [FIGURE.png]

Trains eleven seeds through ngspice at every stage, as `experiments/kiraz/xor_published.toml` gives
them, prints how many learn, and draws all learning curves. The figure of
docs/why_published_circuits_fail.md is made by this command.
"""

import logging
import sys

import numpy as np
from matplotlib.figure import Figure

from benchmarks.learning import EXPERIMENTS
from eqprop_spice.experiment.experiment import Experiment

NUM_SEEDS = 11

PAIRS = "{dense_0=[[0,2],[1,3],[4,5]],dense_3=[[0,4],[1,5],[2,6],[3,7]]}"

STAGES: dict[str, list[str]] = {
    "as published": [],
    "updates in their place": ["rule.permuted=false"],
    "amplifier sign": ["circuit.layers.2.reflection=kendall"],
    "weights": ["training.weights=reciprocity"],
    "tolerances": ["ngspice={}", "training.max_unconverged=0.1"],
    "four hidden nodes": [
        "circuit.layers.0.num_outputs=4",
        *(f"{table}.pairs={PAIRS}" for table in ("initializer", "rule", "constraint")),
    ],
}
"""What every stage changes beside all that the stages before it have changed."""


def curves(overrides: list[str]) -> tuple[np.ndarray, int]:
    """Return the mean of (t - y)^2 by seed and epoch, and how many seeds learn."""
    losses, num_learned = [], 0
    for seed in range(NUM_SEEDS):
        path = EXPERIMENTS / "kiraz" / "xor_published.toml"
        experiment = Experiment.load(path, [*overrides, f"seed={seed}"])
        trainer = experiment.trainer
        state = trainer.init(experiment.initial_params())
        row = []
        for _ in range(experiment.table.training.epochs):
            state, figures = trainer.epoch(state)
            row.append(2.0 * figures["loss"])
        losses.append(row)
        final = trainer.evaluate(state.params, test=False)
        num_learned += bool(experiment.table.goal.reached(final))
    return np.array(losses), num_learned


def main(path: str | None) -> None:
    """Run all stages."""
    logging.getLogger("eqprop_spice").setLevel(logging.ERROR)
    figure = Figure(figsize=(11.0, 5.6), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True).ravel()
    overrides: list[str] = []
    for ax, (name, changes) in zip(panels, STAGES.items(), strict=True):
        overrides += changes
        losses, num_learned = curves(overrides)
        print(
            f"{name:24s} {num_learned:2d} of {NUM_SEEDS} seeds learn, "
            f"median final error {np.nanmedian(losses[:, -1]):.3f} V^2",
            flush=True,
        )
        ax.semilogy(np.arange(1, losses.shape[1] + 1), losses.T, linewidth=0.9)
        prefix = "" if ax is panels[0] else "+ "
        ax.set_title(f"{prefix}{name}: {num_learned} of {NUM_SEEDS} learn", fontsize="medium")
        ax.set_ylim(1e-4, 30.0)
        ax.grid(alpha=0.3)
    for ax in panels[3:]:
        ax.set_xlabel("Epoch")
    for ax in panels[::3]:
        ax.set_ylabel("Mean of $(t - y)^2$ [V$^2$]")
    figure.suptitle(f"kiraz/xor_published, seeds 0 to {NUM_SEEDS - 1}", fontsize="medium")
    if path is not None:
        figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
