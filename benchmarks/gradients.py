"""Equilibrium propagation against finite differences of the loss, all solved by ngspice, per layer.

    python -m benchmarks.gradients

For three amplifier kinds and one and two hidden layers: norm ratio and cosine of C-EP and of
the small-signal limit, and the slopes of the bias of P-EP, N-EP and C-EP against beta.
"""

import numpy as np

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.layers.amplifier import REFLECTIONS, BidirectionalAmplifier
from eqprop_spice.layers.base import AbstractLayer, layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.phases import Free
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.rules.small_signal import SmallSignal
from eqprop_spice.substrates.resistive import ResistiveNetwork

HIDDEN = {1: (3,), 2: (3, 3)}
FALL = {"transformer": 1.0, "kendall": 1.0, "published": 0.1}
"""Conductances fall from layer to layer by this factor: the published amplifier has one operating
point only where more conductance enters a hidden node than leaves it."""


def network(kind: str, sizes: tuple[int, ...]) -> Circuit:
    """Return a circuit with two inputs, a bias and two differential outputs."""
    layers: list[AbstractLayer] = []
    for i, size in enumerate(sizes):
        layers.append(Dense(size, (1.0,) if i == 0 else ()))
        layers.append(AntiparallelDiodes(PRESETS["kiraz"], 0.3))
        layers.append(BidirectionalAmplifier(4.0, kind))  # pyright: ignore[reportArgumentType]
    return layered_circuit([*layers, Dense(4)], num_inputs=2, num_outputs=2)


def finite_differences(loss, params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return central differences of the loss by every conductance."""
    gradient = {}
    for name, values in params.items():
        slopes = np.zeros(values.shape)
        for index in np.ndindex(values.shape):
            step = 1e-4 * values[index]
            sides = []
            for sign in (1.0, -1.0):
                moved = {key: array.copy() for key, array in params.items()}
                moved[name][index] += sign * step
                sides.append(loss(moved))
            slopes[index] = (sides[0] - sides[1]) / (2 * step)
        gradient[name] = slopes
    return gradient


def compare(kind: str, num_hidden: int, seed: int = 0) -> None:
    """Print one circuit's table."""
    rng = np.random.default_rng(seed)
    circuit, cost = network(kind, HIDDEN[num_hidden]), SquaredError()
    substrate = ResistiveNetwork(circuit, NgSpice())
    params = {
        name: rng.uniform(1e-3, 1e-2, shape) * FALL[kind] ** layer
        for layer, (name, shape) in enumerate(circuit.parameter_shapes().items())
    }
    inputs, targets = rng.uniform(-2, 2, (3, 2)), rng.uniform(-1, 1, (3, 2))

    def loss(moved: dict[str, np.ndarray]) -> float:
        (point,) = substrate.settle(moved, inputs, [Free()])
        assert point.converged.all()
        return float(cost.value(circuit.outputs(point.voltages), targets).mean())

    def estimate(rule) -> dict[str, np.ndarray]:
        return rule(substrate, params, inputs, targets, cost).gradient

    reference = finite_differences(loss, params)
    exact = estimate(SmallSignal())
    centered = estimate(EquilibriumPropagation("centered", 1e-5))
    for name, slopes in reference.items():
        row = f"{kind:12s} {num_hidden} hidden  {name:8s}"
        for label, gradient in (("C-EP", centered[name]), ("small signal", exact[name])):
            size = np.linalg.norm(gradient) * np.linalg.norm(slopes)
            ratio = np.linalg.norm(gradient) / np.linalg.norm(slopes)
            cosine = (gradient * slopes).sum() / size
            row += f"  {label}: ratio - 1 {ratio - 1:+.1e}, 1 - cosine {1 - cosine:.1e}"
        print(row)
    betas = np.geomspace(3e-4, 3e-3, 5) * FALL[kind] ** num_hidden
    fits = []
    for variant in ("positive", "negative", "centered"):
        biases = []
        for beta in betas:
            gradient = estimate(EquilibriumPropagation(variant, float(beta)))
            biases.append(np.sqrt(sum(((gradient[n] - exact[n]) ** 2).sum() for n in exact)))
        fits.append(np.polyfit(np.log(betas), np.log(biases), 1)[0])
    print(f"{'':24s}slope of the bias: P {fits[0]:.3f}, N {fits[1]:.3f}, C {fits[2]:.3f}")


if __name__ == "__main__":
    for amplifier in REFLECTIONS:
        for count in HIDDEN:
            compare(amplifier, count)
