"""Where the time of a P-EP update of the native engine goes, part by part.

    python -m benchmarks.breakdown [--sizes 100 512 512x512] [--batches 4 64 256]

Each part is compiled alone and runs on one core; the whole step is compiled as in training, so that
XLA fuses across parts. Times are the least of some calls, per sample. What cores share a minibatch
bring is in the last columns: the whole step on all of them, and how busy they are.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.native_throughput import best_seconds, deep_network, random_params, trainer_of
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.engines.layered.equations import attach
from eqprop_spice.engines.layered.newton import cold_state, newton, warm_state
from eqprop_spice.engines.layered.plan import LayeredPlan
from eqprop_spice.engines.native import Native, plan_for
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.training.cores import most_cores
from eqprop_spice.training.trainer import Trainer

BETA = 1e-4

COLUMNS = "product fold start newton check nudged contrast follow sum step cores busy".split()


def timed(function: Callable, *arguments: Any, rounds: int = 12) -> tuple[float, Any]:
    """Return the time of a compiled function [s], and what it returns."""
    program = jax.jit(function)
    return best_seconds(lambda: program(*arguments), rounds), program(*arguments)


def parts(circuit: Circuit, trainer: Trainer) -> dict[str, float]:
    """Return the time of each part of an update [s]."""
    plan, update = plan_for(circuit), trainer.update
    assert isinstance(plan, LayeredPlan)
    params, optimizer_state = update.start(random_params(circuit), trainer.learning_rate)
    inputs, targets = map(jnp.asarray, (trainer.data.train_inputs, trainer.data.train_targets))
    first = params["dense_0"]
    settled = jnp.ones(len(inputs), bool)
    nothing = jnp.zeros((len(inputs), circuit.num_outputs))

    def fold(params, inputs):
        fixed, network = plan._network(params, inputs)
        return fixed, attach(network, nothing, None)

    def nudged(network, state, fixed, forces):
        loaded = attach(network, forces, None)
        again = newton(loaded, warm_state(loaded, network, state))
        return plan.point(loaded, again, fixed).voltages

    def contrast(params, inputs, free, pushed):
        gradients = update.substrate.contrast(params, inputs, free, pushed, settled)
        return {name: gradient / BETA for name, gradient in gradients.items()}

    times = {"product": timed(jnp.matmul, inputs, first[: inputs.shape[1]])[0]}
    times["fold"], (fixed, network) = timed(fold, params, inputs)
    times["start"], state = timed(cold_state, network)
    times["newton"], state = timed(newton, network, state)
    times["check"], point = timed(plan.point, network, state, fixed)
    forces = BETA * (targets - update.substrate.outputs(point.voltages))
    times["nudged"], pushed = timed(nudged, network, state, fixed, forces)
    times["contrast"], gradient = timed(contrast, params, inputs, point.voltages, pushed)
    arguments = params, optimizer_state, gradient
    times["follow"], _ = timed(lambda *a: update.follow(*a, trainer.learning_rate), *arguments)
    times["sum"] = sum(times[name] for name in COLUMNS[1:8])
    return times


def whole(circuit: Circuit, trainer: Trainer, rounds: int = 12) -> tuple[float, float]:
    """Return the time of a whole update [s], and CPU time over wall time meanwhile."""
    inputs, targets = trainer.data.train_inputs, trainer.data.train_targets
    state, _, _ = trainer.step(trainer.init(random_params(circuit)), inputs, targets)

    def run():
        return trainer.step(state, inputs, targets)[0].params

    seconds = best_seconds(run, rounds)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(rounds):
        jax.block_until_ready(run())
    return seconds, (time.process_time() - cpu) / (time.perf_counter() - wall)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", nargs="+", default=["100", "512", "512x512"])
    parser.add_argument("--batches", nargs="+", type=int, default=[4, 64, 256])
    chosen = parser.parse_args()
    rule = EquilibriumPropagation("positive", BETA)
    print(f"microseconds per sample; {most_cores()} cores\n")
    print(f"{'hidden':>8} {'batch':>5} " + " ".join(f"{name:>8}" for name in COLUMNS))
    for size in chosen.sizes:
        circuit = deep_network(tuple(map(int, size.split("x"))))
        for batch in chosen.batches:
            alone = trainer_of(circuit, Native(), rule, batch, spread=False)
            times = parts(circuit, alone)
            times["step"], _ = whole(circuit, alone)
            together = trainer_of(circuit, Native(), rule, batch, spread=True)
            times["cores"], busy = whole(circuit, together)
            row = [f"{1e6 * times[name] / batch:8.2f}" for name in COLUMNS[:-1]]
            print(f"{size:>8} {batch:5d} " + " ".join(row) + f" {busy:8.2f}", flush=True)
    array = jnp.asarray(np.random.default_rng(0).uniform(size=20_000_000))
    seconds, _ = timed(jnp.sum, array)
    print(f"\nmemory is read at {array.nbytes / seconds / 1e9:.0f} GB/s")


if __name__ == "__main__":
    main()
