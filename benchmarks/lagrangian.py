"""What circuits learn in harmonic steady state and over a period, with the figures of the docs.

    python benchmarks/lagrangian.py

Trains the ladders of `experiments/lagrangian` from every seed of their sweeps and compares element
by element with the textbook, the matching network with the analytic optimum of equal ripple, and
the flux networks with their targets. Figures go to `docs/figures`.
"""

import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.lagrangian.prototypes import Prototype, ladder_cards, ladder_values
from eqprop_spice.phases import Free
from eqprop_spice.substrates.ac_circuit import AcCircuit
from eqprop_spice.substrates.trajectory import Trajectory

ROOT = Path(__file__).parent.parent
EXPERIMENTS, FIGURES = ROOT / "experiments" / "lagrangian", ROOT / "docs" / "figures"


def trained(name: str, seed: int) -> tuple[Experiment, dict, dict, float, float]:
    """Return experiment, parameters before and after, the final loss and CPU seconds."""
    experiment = Experiment.load(EXPERIMENTS / f"{name}.toml", [f"seed={seed}"])
    trainer, began = experiment.trainer, time.process_time()
    state = trainer.init(experiment.initial_params())
    before = {k: np.asarray(v) for k, v in state.params.items()}
    for _ in range(experiment.table.training.epochs):
        state, _ = trainer.epoch(state)
    loss = trainer.evaluate(state.params, test=False)["train_loss"]
    after = {k: np.asarray(v) for k, v in state.params.items()}
    return experiment, before, after, loss, time.process_time() - began


def seeds(name: str) -> int:
    """Return how many seeds an experiment's sweep has."""
    sweep = Experiment.load(EXPERIMENTS / f"{name}.toml").table.sweep
    assert sweep is not None
    return len(sweep["seed"])


def ladders() -> None:
    """Compare what ladders found with the textbook, element by element."""
    known: tuple[tuple[str, Prototype, int], ...] = (
        ("butterworth_3", "butterworth", 3),
        ("chebyshev_5", "chebyshev", 5),
        ("chebyshev_5_untied", "chebyshev", 5),
    )
    for name, prototype, order in known:
        book = ladder_values(prototype, order)
        for seed in range(seeds(name)):
            experiment, _, params, loss, seconds = trained(name, seed)
            circuit = experiment.substrate
            assert isinstance(circuit, AcCircuit)
            found = np.empty(order)
            found[0::2] = circuit.network.values("c", params)
            found[1::2] = 1.0 / np.asarray(circuit.network.values("l", params))
            off = abs(found / book - 1.0).max()
            print(
                f"{name} seed {seed}: loss {loss:.1e}, off the textbook {off:.1e}, {seconds:.1f} s"
            )


def flat_directions() -> None:
    """Show how many directions of element values a magnitude mask leaves flat."""
    for order in (3, 5, 7):
        book = ladder_values("butterworth", order)
        omega = np.linspace(0.05, 2.0, 40)
        inputs = np.stack([omega, 2.0 + 0 * omega, 0 * omega], 1)

        def response(logs: np.ndarray, inputs=inputs, order=order) -> np.ndarray:
            circuit = AcCircuit(ladder_cards(np.exp(logs)), ("n0",), (f"n{order // 2}",))
            (settled,) = circuit.settle({}, inputs, [Free()])
            return (np.asarray(circuit.outputs(settled.state)) ** 2).sum(1)

        logs = np.log(book)
        moves = 1e-5 * np.eye(order)
        slopes = [(response(logs + m) - response(logs - m)) / 2e-5 for m in moves]
        values = np.linalg.svd(np.array(slopes).T)[1]
        print(f"order {order}: singular values of the response by the elements", values.round(9))


def reflections(circuit: AcCircuit, params: dict, omega: np.ndarray) -> np.ndarray:
    """Return the squared reflection at every frequency, for a source that makes 1 V at most."""
    inputs = np.stack([omega, 2.0 + 0 * omega, 0 * omega], 1)
    (settled,) = circuit.settle(params, inputs, [Free()])
    return 1.0 - (np.asarray(circuit.outputs(settled.state)) ** 2).sum(1)


def matching() -> None:
    """Compare the learned match of two loads of 1 ohm and 1.5 F with the equal-ripple optimum."""
    omega = np.linspace(1e-3, 1.0, 1001)
    ripple = float(np.asarray(brentq(lambda r: ladder_values("chebyshev", 5, r)[0] - 1.5, 0.05, 2)))
    optimum = AcCircuit(ladder_cards(ladder_values("chebyshev", 5, ripple)), ("n0",), ("n2",))
    best = reflections(optimum, {}, omega)
    figure, axes = _axes("Angular frequency [rad/s]", "Reflected power [dB]")
    for seed in range(seeds("matching")):
        experiment, before, params, loss, seconds = trained("matching", seed)
        circuit = experiment.substrate
        assert isinstance(circuit, AcCircuit)
        found = reflections(circuit, params, omega)
        trained_on = reflections(circuit, params, experiment.data.train_inputs[:, 0])
        theirs = reflections(optimum, {}, experiment.data.train_inputs[:, 0])
        print(
            f"matching seed {seed}: loss {loss:.3e} (optimum of equal ripple "
            f"{0.5 * (theirs**2).mean():.3e}), worst reflection {max(found) ** 0.5:.4f} "
            f"({max(best) ** 0.5:.4f}), mean reflected power {trained_on.mean():.4f} "
            f"({theirs.mean():.4f}), {seconds:.1f} s"
        )
        if seed == 0:
            start = reflections(circuit, before, omega)
            for values, label, style in (
                (start, "before", ":"),
                (found, "learned", "-"),
                (best, "equal ripple (analytic)", "--"),
            ):
                axes.plot(omega, 10 * np.log10(np.maximum(values, 1e-6)), style, label=label)
    axes.set(ylim=(-45, 2))
    axes.legend()
    figure.savefig(FIGURES / "matching.png", dpi=120)


def _axes(xlabel: str, ylabel: str):
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    return figure, axes


def filter_figure() -> None:
    """Draw the response of the ladder of five elements before, after, and of the textbook."""
    experiment, before, after, _, _ = trained("chebyshev_5_untied", 0)
    circuit = experiment.substrate
    assert isinstance(circuit, AcCircuit)
    book = AcCircuit(ladder_cards(ladder_values("chebyshev", 5)), ("n0",), ("n2",))
    omega = np.linspace(0.02, 2.5, 500)
    figure, axes = _axes("Angular frequency [rad/s]", "Transmitted power [dB]")
    for which, params, label, style in (
        (circuit, before, "before", ":"),
        (circuit, after, "learned", "-"),
        (book, {}, "textbook", "k--"),
    ):
        passed = 1.0 - reflections(which, params, omega)
        axes.plot(omega, 10 * np.log10(passed), style, label=label)
    axes.set(ylim=(-60, 2))
    axes.legend()
    figure.savefig(FIGURES / "filter_learned.png", dpi=120)


def trajectories() -> None:
    """Train the flux networks, and draw what they learned."""
    figure = Figure(figsize=(7.6, 5.6), layout="constrained")
    all_axes = figure.subplots(2, 1)
    for axes, name in zip(all_axes, ("josephson_pair", "pendula"), strict=True):
        for seed in range(seeds(name)):
            experiment, before, after, loss, seconds = trained(name, seed)
            system, data = experiment.substrate, experiment.data
            assert isinstance(system, Trajectory)
            starts, ends = (
                np.asarray(system.outputs(system.settle(p, data.train_inputs, [Free()])[0].state))
                for p in (before, after)
            )
            first = float(experiment.cost.value(starts, data.train_targets).mean())
            print(f"{name} seed {seed}: loss {first:.1e} to {loss:.1e}, {seconds:.1f} s")
            if seed:
                continue
            for i, target in enumerate(data.train_targets):
                color = f"C{i}"
                axes.plot(system.midpoints, starts[i], ":", color=color, label=f"before, drive {i}")
                axes.plot(system.midpoints, ends[i], "-", color=color, label=f"learned, drive {i}")
                axes.plot(system.midpoints, target, "k--", linewidth=0.8)
        axes.set(xlabel="Time", ylabel="Flux, or angle [rad]", title=f"{name} (targets dashed)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(FIGURES / "trajectories_learned.png", dpi=120)


def scale() -> None:
    """Settle a chain of ten junctions over 100,000 time steps."""
    cards = [f"c{i} n{i} 0" for i in range(10)] + [f"j{i} n{i} 0" for i in range(10)]
    cards += [f"l{i} n{i} n{i + 1}" for i in range(9)]
    chain = Trajectory(tuple(cards), ("n9",), ("n0",), period=100.0, steps=100_000)
    rng = np.random.default_rng(0)
    params = {k: rng.uniform(0.5, 1.5, s) for k, s in chain.parameter_shapes().items()}
    inputs = 0.3 * np.cos(2 * np.pi * 7 * chain.midpoints / 100.0)[None]
    began = time.process_time()
    (orbit,) = chain.settle(params, inputs, [Free()])
    print(
        f"100,000 steps of 10 junctions: {int(orbit.num_steps[0])} Newton steps, residual "
        f"{float(orbit.residual[0]):.0e}, {time.process_time() - began:.1f} s"
    )


def main() -> None:
    """Run all."""
    ladders()
    flat_directions()
    filter_figure()
    matching()
    trajectories()
    scale()


if __name__ == "__main__":
    main()
