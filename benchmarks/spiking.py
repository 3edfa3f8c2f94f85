"""What spikes cost and bring: their mean field, the noise of updates, and spikes per decision.

    python -m benchmarks.spiking rates
    python -m benchmarks.spiking updates
    python -m benchmarks.spiking decisions [--experiment FILE] [--figure FILE]

"rates" and "updates" are of a network of seven units: how far mean traces lie off the rates of the
mean field, and updates off the deterministic one, spread and bias apart, by alpha and by the steps
that are averaged. "decisions" trains an experiment, and tests it by so many steps of spikes.
"""

import argparse
import dataclasses

import jax
import numpy as np

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.hopfield.layers import Dense
from eqprop_spice.phases import Free
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.substrates.spiking import SpikingNetwork

ALPHAS = (0.4, 0.1, 0.025)
REPEATS = 64
BETA = 0.2

ADDED, MULTIPLIED = 0.9e-12, 4.6e-12
"""Energy of an addition, and of a multiplication with an addition, of 32 bits in 45 nm [J].

Horowitz (2014), doi:10.1109/ISSCC.2014.6757323."""


def network(**changes) -> SpikingNetwork:
    settings = {"num_inputs": 4, "num_outputs": 2, "mode": "mean", "tolerance": 1e-12}
    return SpikingNetwork((Dense(5),), **{**settings, "precision": "float64", **changes})


def sample() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return parameters, inputs and targets."""
    rng = np.random.default_rng(1)
    params = {k: 0.4 * rng.standard_normal(s) for k, s in network().parameter_shapes().items()}
    inputs = np.random.default_rng(3).standard_normal((3, 4))
    return params, inputs, np.array([[0.9, 0.1], [0.2, 0.7], [0.6, 0.4]])


def spikes(alpha: float, steps: int) -> SpikingNetwork:
    """Return the network that fires, its traces at rest before they are averaged."""
    burn_in = round(10.0 / alpha)
    return network(
        mode="spikes",
        alpha=alpha,
        steps=steps,
        burn_in=burn_in,
        precision="float32",
        tolerance=None,
    )


def parts(many, exact) -> tuple[float, float]:
    """Return root mean squares of the spread and of the bias, `repeat ...` against exact."""
    flat = np.concatenate(
        [
            (np.asarray(a) - np.asarray(b)).reshape(len(a), -1)
            for a, b in zip(jax.tree.leaves(many), jax.tree.leaves(exact), strict=True)
        ],
        axis=1,
    )
    return float(np.sqrt(flat.var(0, ddof=1).mean())), float(np.sqrt((flat.mean(0) ** 2).mean()))


def rates() -> None:
    params, inputs, _ = sample()
    (still,) = network().settle(params, inputs, [Free()])
    counts = (250, 1000, 4000, 16_000)
    print("alpha | steps: spread, bias of mean traces | slope of the spread")
    for alpha in ALPHAS:
        found = []
        for steps in counts:
            system = spikes(alpha, steps)

            def traces(key, system=system):
                return system.settle(params, inputs, [Free()], key=key)[0].state

            many = jax.jit(jax.vmap(traces))(jax.random.split(jax.random.key(steps), REPEATS))
            found.append(parts(many, still.state))
        slope = np.polyfit(np.log(counts), np.log([s for s, _ in found]), 1)[0]
        row = "; ".join(f"{n}: {s:.4f}, {b:.4f}" for n, (s, b) in zip(counts, found, strict=True))
        print(f"{alpha} | {row} | {slope:.2f}", flush=True)


def updates() -> None:
    params, inputs, targets = sample()
    rule = EquilibriumPropagation("centered", BETA, "live")
    exact = rule(network(), params, inputs, targets, SquaredError()).gradient
    values = np.concatenate([np.ravel(np.asarray(v)) for v in exact.values()])
    size = float(np.sqrt((values**2).mean()))
    print("alpha | steps: spread, bias of the update, in sizes of the deterministic one")
    for alpha in ALPHAS:
        row = []
        for steps in (20, 200, 2000, 8000):
            system = spikes(alpha, steps)

            def gradient(key, system=system):
                return rule(system, params, inputs, targets, SquaredError(), key=key).gradient

            many = jax.jit(jax.vmap(gradient))(jax.random.split(jax.random.key(0), REPEATS))
            spread, bias = parts(many, exact)
            row.append(f"{steps}: {spread / size:.2f}, {bias / size:.2f}")
        print(f"{alpha} | " + "; ".join(row), flush=True)


def decisions(path: str, figure: str | None) -> None:
    experiment = Experiment.load(path)
    trainer = experiment.trainer
    state = trainer.init(experiment.initial_params())
    for _ in range(experiment.table.training.epochs):
        state, _ = trainer.epoch(state)
    still = trainer.evaluate(state.params, test=True)["test_accuracy"]
    system, inputs = experiment.substrate, experiment.data.test_inputs
    assert isinstance(system, SpikingNetwork), "decisions are those of spikes"
    graph = system.graph
    once = sum(edge.num_products for edge in graph.edges if edge.source == 0)
    inner = graph.num_products
    (rest,) = system.settle(state.params, inputs[:1], [Free()])
    swept = int(np.asarray(rest.num_steps)[0])
    plain = MULTIPLIED * (once + 2 * swept * inner)
    print(f"rates: error {100 * (1 - still):.2f} %, {swept} steps, {1e9 * plain:.0f} nJ")
    print("steps | spikes | energy [nJ] | errors of 3 draws [%]")
    rows = []
    for steps in (1, 2, 5, 10, 20, 50, 100, 200):
        fires = dataclasses.replace(system, burn_in=steps, steps=steps, readout="spikes")
        errors = []
        for number in range(3):
            key = jax.random.key(number)
            (found,) = fires.settle(state.params, inputs, [Free()], key=key)
            outputs = np.asarray(fires.outputs(found.state))
            right = experiment.data.correct(outputs, experiment.data.test_targets)
            errors.append(100.0 * (1.0 - right.mean()))
        layers = [np.asarray(layer).reshape(len(inputs), -1).sum(1) for layer in found.state]
        fired = [2 * steps * float(layer.mean()) for layer in layers]
        added = sum(count * fan_out(graph, k) for k, count in enumerate(fired, 1))
        energy = MULTIPLIED * once + ADDED * added
        rows.append((sum(fired), 1e9 * energy, float(np.mean(errors))))
        print(
            f"{2 * steps} | {sum(fired):.0f} | {1e9 * energy:.1f} | {np.round(errors, 2).tolist()}",
            flush=True,
        )
    if figure:
        draw(np.array(rows), 100.0 * (1.0 - still), 1e9 * plain, figure)


def fan_out(graph, layer: int) -> float:
    """Return how many additions a spike of a layer causes, on average, in both directions."""
    units = float(np.prod(graph.shapes[layer]))
    edges = [graph.edges[i] for i in graph.inner_edges]
    return sum(e.num_products / units for e in edges if layer in (e.source, e.target))


def draw(rows: np.ndarray, still: float, plain: float, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axes, column, label in (
        (left, 0, "spikes per decision"),
        (right, 1, "energy of additions and multiplications [nJ]"),
    ):
        axes.loglog(rows[:, column], rows[:, 2], "o-", label="spikes")
        axes.axhline(still, color="gray", linestyle=":", label="rates")
        axes.set(xlabel=label, ylabel="test error [%]")
    right.plot(plain, still, "s", color="gray", label="rates, settled")
    left.legend()
    right.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("rates", "updates", "decisions"))
    parser.add_argument("--experiment", default="experiments/noise/digits_spiking.toml")
    parser.add_argument("--figure")
    options = parser.parse_args()
    if options.what == "decisions":
        decisions(options.experiment, options.figure)
    else:
        {"rates": rates, "updates": updates}[options.what]()


if __name__ == "__main__":
    main()
