"""CPU time per operating point: this package's ngspice engine beside stock PySpice, in one run.

    python -m benchmarks.ngspice_modes

Stock PySpice builds its netlist from Python objects for every operating point. Its subprocess mode
does not parse the output of ngspice 37 and newer; the time until its parser gives up is counted,
which is less than a whole operating point would take.
"""

import functools
import logging
import resource
import time
from collections.abc import Callable

import numpy as np

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.phases import ConstantNudge, Free
from eqprop_spice.substrates.resistive import ResistiveNetwork

SIZES = {
    # hidden, batch of ours, repeats of ours, repeats of each stock mode
    "3-2-2": (2, 2, 1000, 5, 100),
    "785-100-20": (784, 100, 128, 1, 2),
}


def network(num_inputs: int, hidden: int) -> Circuit:
    """Return the seed paper's kind of circuit at a size; a bias source joins the inputs."""
    layers = [
        Dense(hidden, (1.0,)),
        AntiparallelDiodes(PRESETS["kiraz"], 0.3),
        BidirectionalAmplifier(4.0, "kendall"),
    ]
    outputs = 1 if hidden == 2 else 10
    return layered_circuit(
        [*layers, Dense(2 * outputs)], num_inputs=num_inputs, num_outputs=outputs
    )


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its finished children [s]."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def timed(run: Callable[[], None], repeats: int) -> float:
    """Return CPU seconds per call, the least of three rounds."""
    rounds = []
    for _ in range(3):
        started = cpu_seconds()
        for _ in range(repeats):
            run()
        rounds.append((cpu_seconds() - started) / repeats)
    return min(rounds)


def stock_operating_point(
    circuit: Circuit, params: dict[str, np.ndarray], inputs: np.ndarray, simulator: str
) -> None:
    """Solve one operating point the way PySpice's examples do."""
    from PySpice.Spice.Netlist import Circuit as StockCircuit

    names = ["0" if n == GROUND else name for n, name in enumerate(circuit.node_names)]
    stock = StockCircuit("network")
    held = circuit.fixed_voltages(inputs[None])[0]
    for node, voltage in zip(circuit.fixed_nodes[1:], held[1:], strict=True):
        stock.V(names[node], names[node], "0", float(voltage))
    for group in circuit.groups:
        first, second = group.layout.pairs()
        if group.device.trainable:
            for i, (a, b, g) in enumerate(
                zip(first, second, params[group.name].ravel(), strict=True)
            ):
                stock.R(f"{group.name}{i}", names[a], names[b], 1.0 / float(g))
        else:
            diode = PRESETS["kiraz"]
            if not any(True for _ in stock.models):
                stock.model("kiraz", "D", IS=diode.saturation_current, N=diode.emission_coefficient)
            for i, (a, b) in enumerate(zip(first, second, strict=True)):
                stock.D(f"{group.name}{i}", names[a], names[b], model="kiraz")
    for group in circuit.amplifiers:
        for i in range(len(group.inputs)):
            h, o = names[group.inputs[i]], names[group.outputs[i]]
            stock.VCVS(f"{group.name}{i}", o, "0", h, "0", float(group.gains[i]))
            stock.CCCS(f"{group.name}{i}", h, "0", f"E{group.name}{i}", -group.reflections[i])
    run = stock.simulator(temperature=27, nominal_temperature=27, simulator=simulator)
    try:
        run.operating_point()
    except (ValueError, NameError, IndexError, TypeError):
        if simulator != "ngspice-subprocess":
            raise


def main() -> None:
    """Measure and print."""
    logging.disable(logging.CRITICAL)
    rng = np.random.default_rng(0)
    engine = NgSpice()
    print(
        "CPU ms per operating point                    ours   shared (ratio)   subprocess (ratio)"
    )
    for name, (num_inputs, hidden, batch, repeats, stock_repeats) in SIZES.items():
        circuit = network(num_inputs, hidden)
        shapes = circuit.parameter_shapes()
        params = {group: rng.uniform(1e-4, 1e-2, shape) for group, shape in shapes.items()}
        inputs = rng.uniform(-2, 2, (batch, num_inputs))
        targets = rng.uniform(-1, 1, (batch, circuit.num_outputs))
        phases = [Free(), ConstantNudge(SquaredError(), targets, 1e-4)]

        def ours(circuit=circuit, params=params, inputs=inputs, phases=phases) -> None:
            for point in engine.settle(circuit, params, inputs, phases):
                assert point.converged.all()

        def stock(simulator: str, circuit=circuit, params=params, inputs=inputs) -> None:
            stock_operating_point(circuit, params, inputs[0], simulator)

        ours()
        ours_ms = 1e3 * timed(ours, repeats) / (2 * batch)
        shared = 1e3 * timed(lambda stock=stock: stock("ngspice-shared"), stock_repeats)
        sub = 1e3 * timed(lambda stock=stock: stock("ngspice-subprocess"), stock_repeats)
        print(
            f"{name:12s} batch {batch:4d}, free and nudged {ours_ms:12.4f} {shared:8.2f} "
            f"({shared / ours_ms:5.0f}x) {sub:10.2f} ({sub / ours_ms:5.0f}x)"
        )
        training_step(name, circuit, params, inputs, targets)


def training_step(name, circuit, params, inputs, targets) -> None:
    """Print the time of a whole P-EP step: both phases, contrast and update."""
    from eqprop_spice.constraints.box import Box
    from eqprop_spice.datasets.base import Data
    from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
    from eqprop_spice.training.optimizers import make_optimizer
    from eqprop_spice.training.trainer import Trainer
    from eqprop_spice.training.update import Update

    rule = EquilibriumPropagation("positive", 1e-4)
    sgd = functools.partial(make_optimizer, "sgd", num_steps=10)
    trainer = Trainer(
        Update(ResistiveNetwork(circuit, NgSpice()), rule, SquaredError(), sgd, Box(1e-5, 1e-1)),
        1e-6,
        Data(inputs, targets, inputs[:0], targets[:0], "regression"),
        batch_size=0,
        seed=0,
    )
    state, _ = trainer.epoch(trainer.init(params))
    wall = time.perf_counter()
    seconds = timed(lambda: trainer.epoch(state) and None, 1)
    wall = (time.perf_counter() - wall) / 3
    print(
        f"{'':12s} whole P-EP step: {1e3 * seconds / len(inputs):.4f} ms CPU per sample, "
        f"{len(inputs) / wall:,.0f} samples/s"
    )


if __name__ == "__main__":
    main()
