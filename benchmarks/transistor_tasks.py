"""Tasks of published transistor networks: XOR by three rules, digits on clean and noisy chips.

    python -m benchmarks.transistor_tasks xor       50 starts by every rule
    python -m benchmarks.transistor_tasks digits    3 splits, a clean chip and 3 noisy ones
    python -m benchmarks.transistor_tasks tumours   3 splits

The tasks are those of `experiments/transistors/`. A noisy chip has thresholds off by 10 mV, KP by
0.5 %, and 5 mV of noise in every reading, in training and in the test. The published network
(coupled learning in ngspice, one split) reached 98.06 % clean and 96.94 % on three noisy chips.
"""

import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free

FOLDER = Path(__file__).parent.parent / "experiments" / "transistors"

RULES: dict[str, dict[str, Any]] = {
    "exact gradient": {"rule.kind": "adjoint.Adjoint"},
    "EP, small nudge": {"rule.kind": "small_signal.SmallSignal"},
    "EP, centered, 10 uS": {
        "rule.kind": "equilibrium_propagation.EquilibriumPropagation",
        "rule.beta": 1e-5,
    },
    "EP, centered, 1 mS": {
        "rule.kind": "equilibrium_propagation.EquilibriumPropagation",
        "rule.beta": 1e-3,
    },
    "coupled learning, eta 0.25": {
        "rule.kind": "coupled_learning.CoupledLearning",
        "rule.eta": 0.25,
    },
    "coupled learning as published": {
        "rule.kind": "coupled_learning.CoupledLearning",
        "rule.eta": 0.25,
        "substrate.contrast_with": "drops",
    },
}

NOISY = {
    "substrate.threshold_spread": 0.01,
    "substrate.transconductance_spread": 0.005,
    "substrate.read_noise": 0.005,
    "rule.kind": "equilibrium_propagation.EquilibriumPropagation",
    "rule.beta": 0.03,
}
"""A nudge of half the conductance of a rail, so that its effect stands out of the noise."""


def cpu_seconds() -> float:
    """Return the CPU time of this process [s]."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def trained(name: str, values: Mapping[str, Any]) -> tuple[Experiment, Any]:
    """Return an experiment with some values, and its state after training."""
    experiment = Experiment.load(FOLDER / f"{name}.toml", values=values)
    trainer = experiment.trainer
    state = trainer.init(experiment.initial_params())
    for _ in range(experiment.table.training.epochs):
        state, _ = trainer.epoch(state)
    return experiment, state


def xor() -> None:
    for label, values in RULES.items():
        started, errors = cpu_seconds(), []
        for seed in range(50):
            experiment, state = trained("xor", {**values, "seed": seed})
            errors.append(experiment.trainer.evaluate(state.params, test=False)["train_max_error"])
        found = np.array(errors)
        print(
            f"{label:32s} within 20 mV {np.mean(found < 0.02):.0%}, signs right "
            f"{np.mean(found < 0.1):.0%}, median worst error {1e3 * np.median(found):.2f} mV, "
            f"{cpu_seconds() - started:.0f} s CPU",
            flush=True,
        )


def read_accuracy(experiment: Experiment, params: Any, key: Any) -> float:
    """Return the test accuracy of readings with noise."""
    data, substrate = experiment.data, experiment.substrate
    (point,) = substrate.settle(params, data.test_inputs, [Free()], key=key)
    outputs = np.asarray(substrate.outputs(point.state))
    return float((outputs.argmax(axis=1) == data.test_targets.argmax(axis=1)).mean())


def classes(name: str, chips: int) -> None:
    validation = "--validation" in sys.argv
    for split in range(3):
        started = cpu_seconds()
        base = {"dataset.split": split, "dataset.validation": validation}
        experiment, state = trained(name, base)
        found = experiment.trainer.evaluate(state.params, test=True)["test_accuracy"]
        line = f"split {split}: clean {found:.2%}, {cpu_seconds() - started:.0f} s CPU"
        for chip in range(chips):
            started = cpu_seconds()
            noisy = {**base, **NOISY, "substrate.chip": chip + 1}
            experiment, state = trained(name, noisy)
            noise = jax.random.key(chip)
            found = read_accuracy(experiment, state.params, noise)
            line += f"; chip {chip + 1} {found:.2%}, {cpu_seconds() - started:.0f} s CPU"
        print(line, flush=True)


if __name__ == "__main__":
    task = sys.argv[1] if len(sys.argv) > 1 else ""
    if task == "xor":
        xor()
    elif task == "digits":
        classes("digits", 3)
    elif task == "tumours":
        classes("breast_cancer", 0)
    else:
        raise SystemExit(__doc__)
