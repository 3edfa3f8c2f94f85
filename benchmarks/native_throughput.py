"""Training throughput: the native engine beside ngspice and a naive Newton in numpy, in one run.

    python -m benchmarks.native_throughput

One P-EP step is the free and the nudged phase, the contrast and an Adam update with clipping; all
cores share a minibatch (EQPROP_CORES=1 for one). The naive method is what one writes first: Newton
on all free nodes of one sample after the other, with the Jacobian of the whole circuit as a dense
matrix.
"""

import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.ngspice_modes import network
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.constraints.box import Box
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.datasets.base import Data
from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.engines.base import AbstractEngine
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.rules.base import AbstractRule
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.resistive import ResistiveNetwork
from eqprop_spice.training.cores import most_cores
from eqprop_spice.training.optimizers import make_optimizer
from eqprop_spice.training.trainer import Trainer, TrainingState
from eqprop_spice.training.update import Update

BATCH = 256
ROUNDS = 12

EPOCH = 2048
"""Samples of an epoch that is timed as a whole."""


def deep_network(hidden: tuple[int, ...]) -> Circuit:
    """Return 785-...-20 with antiparallel pairs and kendall amplifiers."""
    layers = []
    for i, size in enumerate(hidden):
        layers += [Dense(size, (1.0,) if i == 0 else ()), AntiparallelDiodes(PRESETS["kiraz"], 0.3)]
        layers.append(BidirectionalAmplifier(4.0, "kendall"))
    return layered_circuit([*layers, Dense(20)], num_inputs=784, num_outputs=10)


def best_seconds(run: Callable[[], object], rounds: int) -> float:
    """Return the least wall time of several calls after one that compiles [s]."""
    jax.block_until_ready(run())
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - started)
    return min(times)


def trainer_of(
    circuit: Circuit,
    engine: AbstractEngine,
    rule: AbstractRule,
    batch: int,
    *,
    spread: bool,
    samples: int | None = None,
) -> Trainer:
    """Return what trains a circuit on random samples; one minibatch unless there are more."""
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-2, 2, (samples or batch, circuit.num_inputs))
    targets = rng.uniform(-1, 1, (samples or batch, circuit.num_outputs))
    adam = functools.partial(make_optimizer, "adam", num_steps=1000)
    parts = ResistiveNetwork(circuit, engine), rule, SquaredError(), adam, Box(1e-5, 1e-1)
    return Trainer(
        Update(*parts, spread=spread),
        1e-6,
        Data(inputs, targets, inputs[:0], targets[:0], "regression"),
        batch_size=batch,
        seed=0,
    )


def random_params(circuit: Circuit) -> dict[str, np.ndarray]:
    """Return conductances [S]."""
    rng = np.random.default_rng(0)
    return {n: rng.uniform(1e-4, 1e-2, s) for n, s in circuit.parameter_shapes().items()}


def step_seconds(
    circuit: Circuit, engine: AbstractEngine, rule: AbstractRule, batch: int, rounds: int
) -> float:
    """Return the time of one training step [s]."""
    trainer = trainer_of(circuit, engine, rule, batch, spread=engine.traceable)
    # The first step brings everything to where it stays.
    data = trainer.data
    state, _, _ = trainer.step(
        trainer.init(random_params(circuit)), data.train_inputs, data.train_targets
    )

    def run():
        after, _, converged = trainer.step(state, data.train_inputs, data.train_targets)
        assert np.asarray(converged).all()
        return after.params

    return best_seconds(run, rounds)


def epoch_rates(circuit: Circuit, rule: AbstractRule, batch: int, rounds: int) -> list[float]:
    """Return the samples per second of whole epochs, not shared and shared, measured in turn."""
    found: list[tuple[Trainer, TrainingState, list[float]]] = []
    for spread in (False, True):
        trainer = trainer_of(circuit, Native(), rule, batch, spread=spread, samples=EPOCH)
        state, _ = trainer.epoch(trainer.init(random_params(circuit)))
        found.append((trainer, state, []))
    for _ in range(rounds):
        for trainer, state, times in found:
            started = time.perf_counter()
            jax.block_until_ready(trainer.epoch(state)[0].params)
            times.append(time.perf_counter() - started)
    return [EPOCH / min(times) for _, _, times in found]


def free_seconds(circuit: Circuit, batch: int, rounds: int) -> float:
    """Return the time of a free phase [s]."""
    trainer = trainer_of(circuit, Native(), SmallSignal(), batch, spread=True)
    params = {name: jnp.asarray(values) for name, values in random_params(circuit).items()}
    inputs = trainer.data.train_inputs
    return best_seconds(lambda: trainer.update.free(params, inputs, None).state, rounds)


def naive_seconds(circuit: Circuit, samples: int) -> float:
    """Return the time per sample of a free phase by dense Newton in numpy [s]."""
    params = random_params(circuit)
    inputs = np.random.default_rng(0).uniform(-2, 2, (samples, circuit.num_inputs))
    nothing = np.zeros((1, circuit.num_outputs))
    count = len(circuit.free_nodes)
    unit_changes = circuit.selection.spread(np.eye(count))
    started = time.perf_counter()
    for sample in inputs:
        free = np.zeros((1, count))
        for _ in range(60):
            voltages = circuit.node_voltages(free, sample[None])
            residual = circuit.residual(params, voltages, nothing)[0]
            everywhere = np.repeat(voltages, count, axis=0)
            no_currents = np.zeros((count, circuit.num_outputs))
            jacobian = circuit.linearized_residual(params, everywhere, unit_changes, no_currents).T
            step = np.clip(np.linalg.solve(jacobian, residual), -0.1, 0.1)
            free = free - step
            if np.abs(step).max() < 1e-12:
                break
    return (time.perf_counter() - started) / samples


def main() -> None:
    """Measure and print."""
    rule = EquilibriumPropagation("positive", 1e-4)
    small = network(784, 100)
    native = BATCH / step_seconds(small, Native(), rule, BATCH, ROUNDS)
    print(f"785-100-20, batch {BATCH}, float64, P-EP step with Adam:")
    print(f"  native            {native:10,.0f} samples/s")
    centered = EquilibriumPropagation("centered", 1e-4)
    rate = BATCH / step_seconds(small, Native(), centered, BATCH, ROUNDS)
    print(f"  native, C-EP      {rate:10,.0f} samples/s")
    rate = BATCH / step_seconds(small, Native(), SmallSignal(), BATCH, ROUNDS)
    print(f"  native, beta -> 0 {rate:10,.0f} samples/s")
    spice = BATCH / step_seconds(small, NgSpice(), rule, BATCH, 1)
    print(f"  ngspice           {spice:10,.0f} samples/s  (native is {native / spice:,.0f}x)")
    naive = 1.0 / naive_seconds(small, 4)
    print(f"  naive numpy       {naive:10,.1f} free phases/s (native is {native / naive:,.0f}x)")
    deep = BATCH / step_seconds(deep_network((512, 512)), Native(), rule, BATCH, 4)
    print(f"785-512-512-20, batch {BATCH}: native {deep:,.0f} samples/s")
    for hidden in ((100,), (512,)):
        circuit = deep_network(hidden)
        for batch in (64, BATCH):
            one, all_cores = epoch_rates(circuit, rule, batch, 5)
            print(
                f"epochs of 785-{hidden[0]}-20, batch {batch}: {one:,.0f} samples/s not shared, "
                f"{all_cores:,.0f} by {most_cores()} cores"
            )
    free = BATCH / free_seconds(small, BATCH, ROUNDS)
    print(f"785-100-20: native, free phase alone {free:,.0f} samples/s")
    rng = np.random.default_rng(0)
    exponentials = jnp.asarray(rng.uniform(-1, 1, (BATCH, 100)))
    seconds = best_seconds(lambda: jnp.exp(exponentials), 50)
    print(f"  one exponential per hidden node: {BATCH / seconds:,.0f} samples/s")
    matrix = jnp.asarray(rng.uniform(size=(785, 100)))
    product = jax.jit(lambda a, b: a @ b)
    left = jnp.asarray(rng.uniform(size=(BATCH, 785)))
    products = BATCH / best_seconds(lambda: product(left, matrix), 50)
    print(f"  one 785x100 matrix product: {products:,.0f} samples/s")
    print(f"in products: P-EP step {products / native:.1f}, free phase {products / free:.1f}")


if __name__ == "__main__":
    main()
