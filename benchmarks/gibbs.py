"""How fast chains move: unit updates per second, and on request the same graph in thrml.

    python -m benchmarks.gibbs [--side 32] [--chains 512] [--sweeps 200] [--thrml]

A square lattice of binary units, its two colors in turn. thrml is not needed unless asked for; it
draws the same distribution, and the mean energy of both is printed beside their speed.
"""

import argparse
import importlib
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np

from eqprop_spice.phases import Free
from eqprop_spice.sampling.binary import BinaryModel
from eqprop_spice.sampling.generator import step_keys
from eqprop_spice.sampling.langevin import Langevin
from eqprop_spice.substrates.boltzmann import BoltzmannGraph

COUPLING = 0.8
"""Of neighbors; units are 0 or 1 and biased so that both are as probable."""


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def timed(function, *args):
    """Return the second result of a function, and the CPU and clock seconds that it took."""
    jax.block_until_ready(function(*args))
    clock, cpu = time.perf_counter(), cpu_seconds()
    found = jax.block_until_ready(function(*args))
    return found, cpu_seconds() - cpu, time.perf_counter() - clock


def lattice(side: int) -> list[tuple[int, int]]:
    place = np.arange(side * side).reshape(side, side)
    across = np.stack([place[:, :-1].ravel(), place[:, 1:].ravel()], 1)
    down = np.stack([place[:-1].ravel(), place[1:].ravel()], 1)
    return [(int(a), int(b)) for a, b in np.concatenate([across, down])]


def biases(count: int, edges: list[tuple[int, int]]) -> np.ndarray:
    degree = np.bincount(np.ravel(edges), minlength=count)
    return -0.5 * COUPLING * degree


def agreement(states: np.ndarray, edges: list[tuple[int, int]]) -> float:
    """Return how often neighbors agree."""
    first, second = np.array(edges).T
    return float((states[:, first] == states[:, second]).mean())


def ours(side: int, chains: int, sweeps: int) -> None:
    edges = lattice(side)
    count = side * side
    graph = BoltzmannGraph(units=count, edges=tuple(edges), num_inputs=1, num_outputs=1)
    params = {
        "input": jnp.zeros((1, count - 1)),
        "coupling": jnp.full(len(edges), COUPLING),
        "bias": jnp.asarray(biases(count, edges)),
    }

    @jax.jit
    def run(key):
        model: BinaryModel = graph._model(params, jnp.zeros((1, 1)), [Free()], chains)
        state, _ = jax.lax.scan(
            lambda s, k: (model.sweep(s, k, chains, "hash")[0], None),
            model.start(),
            step_keys(key, sweeps),
        )
        return graph._join(state, 0)

    states, cpu, clock = timed(run, jax.random.key(0))
    rate = count * chains * sweeps
    agree = agreement(np.asarray(states).T, edges)
    print(f"gibbs    {rate / clock:.2e} updates/s, {rate / cpu:.2e} per CPU s, agree {agree:.4f}")


def langevin(units: int, chains: int, steps: int) -> None:
    """A chain of springs with a quartic, by Euler steps."""

    def energy(state):
        drop = state[:, 1:] - state[:, :-1]
        return (0.5 * drop**2).sum(1) + (0.5 * state**2 + 0.25 * state**4).sum(1)

    def inside(state):
        return jnp.ones(len(state), bool)

    chain = Langevin(energy, inside, 1.0, "euler", 0.05, chains)
    begin = jnp.zeros((chains, units), jnp.float32)
    run = jax.jit(lambda key: chain.sample(begin, key, burn_in=steps, draws=1, thinning=1)[1])
    _, cpu, clock = timed(run, jax.random.key(0))
    rate = units * chains * steps
    print(f"langevin {rate / clock:.2e} updates/s, {rate / cpu:.2e} per CPU s")


def theirs(side: int, chains: int, sweeps: int) -> None:
    """The same lattice in thrml, with spins of -1 and 1: couplings and biases are a quarter."""
    # No dependency of ours: looked up when it is asked for.
    thrml, models = (importlib.import_module(name) for name in ("thrml", "thrml.models"))
    edges = lattice(side)
    nodes = [thrml.SpinNode() for _ in range(side * side)]
    pairs = [(nodes[a], nodes[b]) for a, b in edges]
    weights = jnp.full(len(edges), 0.25 * COUPLING, jnp.float32)
    model = models.IsingEBM(
        nodes, pairs, jnp.zeros(len(nodes), jnp.float32), weights, jnp.float32(1.0)
    )
    parity = np.add.outer(np.arange(side), np.arange(side)).ravel() % 2
    free = [thrml.Block([nodes[i] for i in np.flatnonzero(parity == p)]) for p in (0, 1)]
    program = models.IsingSamplingProgram(model, free, clamped_blocks=[])
    schedule = thrml.SamplingSchedule(n_warmup=sweeps, n_samples=1, steps_per_sample=1)

    def start(key):
        keys = jax.random.split(key, 2)
        return [
            jax.random.bernoulli(k, 0.5, (len(b.nodes),)) for k, b in zip(keys, free, strict=True)
        ]

    @jax.jit
    def run(keys):
        return jax.vmap(
            lambda key: thrml.sample_states(
                key, program, schedule, start(key), [], [thrml.Block(nodes)]
            )
        )(keys)

    (states,), cpu, clock = timed(run, jax.random.split(jax.random.key(0), chains))
    rate = len(nodes) * chains * sweeps
    agree = agreement(np.asarray(states).reshape(chains, -1), edges)
    print(f"thrml    {rate / clock:.2e} updates/s, {rate / cpu:.2e} per CPU s, agree {agree:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name, value in (("side", 32), ("chains", 512), ("sweeps", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--thrml", action="store_true")
    options = parser.parse_args()
    print("cpus:", jax.local_device_count(), "devices of", jax.default_backend())
    ours(options.side, options.chains, options.sweeps)
    langevin(256, options.chains, options.sweeps)
    if options.thrml:
        theirs(options.side, options.chains, options.sweeps)


if __name__ == "__main__":
    main()
