r"""How long a learning circuit has to settle before what it learns is a gradient.

    python -m benchmarks.settling

An XOR-like circuit with 1 pF at every hidden and output node goes through the phases of one
training step, T each: new inputs (those of another sample before), +beta, -beta. States are read
when each phase ends; the gradients of C-EP (from the two nudged states) and P-EP (from the first
two) are compared with those from settled states, per layer. T is in
slowest time constants, $\tau = 1/\min\lambda(C^{-1} J)$ at the settled states.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.drives import Segment
from eqprop_spice.circuits.power import absorbed_powers
from eqprop_spice.circuits.reciprocity import reciprocity_weights
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.engines.general.plan import GeneralPlan
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.transient import Transient
from eqprop_spice.gradients.comparison import worst_error
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.capacitors import Capacitors
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.phases import ConstantNudge, Free
from eqprop_spice.results.plots import write_figures

FOLDER = Path(__file__).parent.parent / "docs" / "figures"

FARADS = 1e-12
SEEDS = range(3)
TIMES = (2, 4, 6, 8, 10, 13, 16)
"""T in slowest time constants."""

NUDGES = (1e-1, 1e-3)
"""Nudges, relative to the conductance at an output."""

TOLERANCES = Transient(1e-7, 1e-10)
"""Far below the smallest nudge, which moves the outputs by some 1e-4 V."""

ESTIMATES = ("C-EP", "P-EP")


@dataclasses.dataclass(frozen=True)
class Task:
    """A circuit with conductances, and samples in an order."""

    circuit: Circuit
    params: dict[str, np.ndarray]
    before: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray


def task(seed: int) -> Task:
    """Draw the conductances; each sample comes after its predecessor."""
    layers = [
        Dense(6, (1.0,)),
        AntiparallelDiodes(PRESETS["kiraz"], 0.3),
        Capacitors(FARADS),
        BidirectionalAmplifier(4.0, "kendall"),
        Dense(2, (1.0,)),
        Capacitors(FARADS),
    ]
    circuit = layered_circuit(layers, num_inputs=2, num_outputs=1, doubled_inputs=True)
    rng = np.random.default_rng(seed)
    params = {k: rng.uniform(1e-3, 1e-2, s) for k, s in circuit.parameter_shapes().items()}
    inputs = np.array([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]])
    return Task(circuit, params, inputs[[3, 0, 1, 2]], inputs, np.array([[-1.0], [1], [1], [-1]]))


def slowest(one: Task, voltages: np.ndarray) -> float:
    """Return the slowest time constant over the samples [s]; every free node has a capacitor."""
    plan = GeneralPlan(one.circuit)
    rates = [np.linalg.eigvals(plan.jacobian(one.params, v)).real.min() for v in voltages]
    return FARADS / min(rates)


def contrast(
    one: Task, plus: np.ndarray, minus: np.ndarray, distance: float
) -> dict[str, np.ndarray]:
    """Return the gradient that two states give whose nudges lie apart by a distance [S]."""
    weights = reciprocity_weights(one.circuit)
    mean, change = 0.5 * (plus + minus), (plus - minus) / distance
    return {
        group.name: np.asarray(
            group.sides.voltage_drop_product(mean, change, weights=weights[group.name])
        )
        for group in one.circuit.trainable_groups
    }


def phases(one: Task, beta: float) -> list[ConstantNudge]:
    """Return the two nudges."""
    return [ConstantNudge(SquaredError(), one.targets, sign * beta) for sign in (1.0, -1.0)]


def nudged(one: Task, free: np.ndarray, duration: float, beta: float) -> list[np.ndarray]:
    """Go on from the voltages of a free phase; return those at the end of both nudged ones [V]."""
    outputs = np.asarray(one.circuit.outputs(free))
    pushes = [nudge(outputs, slice(None)) for nudge in phases(one, beta)]
    segments = [Segment(duration, one.inputs, push) for push in pushes]
    found = TOLERANCES.solve(one.circuit, one.params, segments, free)
    return list(np.moveaxis(found.at(found.ends), 1, 0))


def measure(seed: int) -> tuple[np.ndarray, dict[str, float]]:
    """Return the error of the worse layer, `estimate nudge time`, and what else was found."""
    one, engine = task(seed), Native()
    (before,) = engine.settle(one.circuit, one.params, one.before, [Free()])
    (free,) = engine.settle(one.circuit, one.params, one.inputs, [Free()])
    start, rest = np.asarray(before.voltages), np.asarray(free.voltages)
    tau = slowest(one, rest)
    scale = float(one.circuit.node_conductances(one.params)[one.circuit.output_nodes].mean())
    walk = TOLERANCES.solve(one.circuit, one.params, [Segment(30 * tau, one.inputs)], start)
    errors = np.zeros((len(ESTIMATES), len(NUDGES), len(TIMES)))
    for row, nudge in enumerate(NUDGES):
        beta = nudge * scale
        settled = engine.settle(one.circuit, one.params, one.inputs, [Free(), *phases(one, beta)])
        plus, minus = (np.asarray(point.voltages) for point in settled[1:])
        exact = contrast(one, plus, minus, 2.0 * beta), contrast(one, plus, rest, beta)
        for column, duration in enumerate(TIMES):
            read = walk.at(np.array([duration * tau]))[:, 0]
            plus, minus = nudged(one, read, duration * tau, beta)
            found = contrast(one, plus, minus, 2.0 * beta), contrast(one, plus, read, beta)
            errors[:, row, column] = [worst_error(*pair) for pair in zip(found, exact, strict=True)]
    outputs = np.asarray(one.circuit.outputs(rest))
    times = walk.settling_times(outputs, 1e-3 * np.abs(outputs).max()) / tau
    powers = absorbed_powers(one.circuit, one.params, rest, np.zeros(outputs.shape))
    watts = float(np.mean(powers["resistors"] + powers["diodes"]))
    return errors, {"tau": tau, "free": float(times.max()), "joules": watts * 30 * tau}


def draw(errors: np.ndarray) -> Figure:
    """Draw the errors over the time of a phase."""
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    ax = figure.subplots()
    for which, label in enumerate(ESTIMATES):
        for row, nudge in enumerate(NUDGES):
            rows, style = errors[:, which, row], ("o-", "s--")[which]
            middle = np.median(rows, axis=0)
            ax.semilogy(TIMES, middle, style, color=f"C{row}", label=f"{label}, {nudge:g} G")
            ax.fill_between(TIMES, rows.min(0), rows.max(0), alpha=0.15, color=f"C{row}")
    ax.axhline(0.1, color="0.6", lw=0.8, ls="--")
    ax.set(xlabel="time of a phase [slowest time constants]")
    ax.set(ylabel="error of the gradient, worse layer", ylim=(1e-7, None))
    ax.legend(title="nudge", frameon=False)
    ax.grid(alpha=0.3)
    return figure


def main() -> None:
    """Measure all seeds, print a table and draw the figure."""
    began = time.process_time()
    found = [measure(seed) for seed in SEEDS]
    errors = np.stack([one[0] for one in found])
    for name, unit, scale in (("tau", "ns", 1e9), ("free", "tau", 1.0), ("joules", "pJ", 1e12)):
        values = scale * np.array([one[1][name] for one in found])
        print(f"{name}: {values.min():.3g} ... {values.max():.3g} {unit}")
    print("error of the gradient, median (smallest ... largest) of the seeds")
    for which, label in enumerate(ESTIMATES):
        for row, nudge in enumerate(NUDGES):
            for column, duration in enumerate(TIMES):
                values = errors[:, which, row, column]
                shown = f"{np.median(values):.2g} ({values.min():.2g} ... {values.max():.2g})"
                print(f"  {label}, beta = {nudge:g} G, T = {duration:2d} tau: {shown}")
    write_figures({"settling": lambda: draw(errors)}, FOLDER, name="benchmarks.settling")
    print(f"{time.process_time() - began:.0f} s CPU")


if __name__ == "__main__":
    main()
