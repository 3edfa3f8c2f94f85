"""Exclusive or on a circuit of diodes whose nodes fluctuate, by the contrast of averages.

    python -m benchmarks.sampled_diodes [--temperature 1e-5] [--beta 1e-2] [--epochs 200]

The circuit of `experiments/xor.toml` without amplifiers: 6 hidden nodes with diodes, differential
outputs of 0.1 V. White currents at all nodes make its voltages Boltzmann distributed in the
co-content; P-EP by a spring of finite strength contrasts averages over chains. Prints, by seed, how
far single draws of the output lie apart, and how many patterns are right by their averages.
"""

import argparse
import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.substrates.langevin import Thermal
from eqprop_spice.training.trainer import Trainer
from eqprop_spice.training.update import Update

DIODES = {"kind": "diodes.AntiparallelDiodes", "diode": "kiraz", "shift": 0.1}
LAYERS = [
    {"kind": "dense.Dense", "num_outputs": 6, "bias": [4.0, -4.0]},
    DIODES,
    {"kind": "dense.Dense"},
]
SEEDS = (0, 1, 2, 3, 4)


def experiment(seed: int) -> Experiment:
    values: dict[str, Any] = {
        "circuit.layers": LAYERS,
        "dataset.target": 0.1,
        "optimizer.learning_rate": 2.0,
        "engine": "native",
        "seed": seed,
    }
    return Experiment.load("experiments/xor.toml", values=values)


@functools.cache
def update(temperature: float, beta: float) -> Update:
    plain = experiment(0)
    system = Thermal(
        system=plain.substrate,
        num_inputs=plain.data.num_inputs,
        num_outputs=plain.data.num_outputs,
        temperature=temperature,
        chains=4,
        burn_in=100,
        draws=100,
        step=10.0,
    )
    rule = EquilibriumPropagation("positive", beta, "live")
    return Update(system, rule, plain.cost, plain.optimizer, plain.constraint)


def trainer(seed: int, temperature: float, beta: float) -> Trainer:
    plain = experiment(seed).trainer
    return dataclasses.replace(plain, update=update(temperature, beta))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--temperature", type=float, default=1e-5)
    parser.add_argument("--beta", type=float, default=1e-2)
    parser.add_argument("--epochs", type=int, default=200)
    options = parser.parse_args()
    print("seed | deviation of the output [mV] | patterns right, cost before | after [V^2]")
    for seed in SEEDS:
        run = trainer(seed, options.temperature, options.beta)
        system, data = run.update.substrate, run.data
        assert isinstance(system, Thermal), "its states are draws"
        settle = jax.jit(
            lambda params, key, s=system, d=data: s.settle(
                params, d.train_inputs, [Free()], key=key
            )[0]
        )
        state = run.init(experiment(seed).initial_params())
        figures = []
        for epochs in (0, options.epochs):
            for _ in range(epochs):
                state, _ = run.epoch(state)
            found = settle(state.params, jax.random.key(seed)).state
            outputs = np.asarray(system.outputs(found))
            spread = np.asarray(system.output_draws(found)).std(1).mean()
            right = int(data.correct(outputs, data.train_targets).sum())
            cost = float(np.asarray(run.update.cost.value(outputs, data.train_targets)).mean())
            figures.append(f"{right}, {cost:.1e}")
        print(f"{seed} | {1e3 * spread:.0f} | {' | '.join(figures)}", flush=True)


if __name__ == "__main__":
    main()
