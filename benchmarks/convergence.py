"""Convergence of the native engine on random layered networks.

    python -m benchmarks.convergence

Every network has its own conductances, each anywhere within five decades, and its own inputs of up
to 10 V; it is settled free and with a nudge as large as the currents that flow anyway. With a
negative reflection, networks that could have several operating points are left out: some node's
linear conductance is not positive there.
"""

import dataclasses
import itertools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.engines.layered.chain import recognize
from eqprop_spice.engines.layered.equations import build_network
from eqprop_spice.engines.layered.plan import LayeredPlan
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.phases import Force, Free

Kind = Literal["transformer", "kendall", "published"]
Params = dict[str, np.ndarray]

KINDS: tuple[Kind, ...] = ("transformer", "kendall", "published")
HIDDEN = ((2,), (5,), (16,), (3, 2), (8, 6), (2, 2, 2), (3, 3, 3), (10, 8, 6))
DIODES = ("kiraz", "d1n4148")
NUM_NETWORKS = 10_000
NUM_SAMPLES = 2
NUM_INPUTS = 3
AT_ONCE = 250
"""Networks solved side by side: the slowest of them sets the pace."""

DEEPER = 30.0
"""Factor by which the conductances of a negative reflection fall from layer to layer, since a node
must load the layer before it less than it is driven itself."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of some networks.

    Attributes:
        num_networks: How many there were, each with its own conductances.
        num_failures: How many points did not converge.
        max_steps: The most Newton steps that one took.
    """

    num_networks: int
    num_failures: int
    max_steps: int


def random_circuit(hidden: tuple[int, ...], diode: str, kind: Kind) -> Circuit:
    """Return a circuit with antiparallel pairs and amplifiers of gain 4 at every hidden node."""
    layers = []
    for size in hidden:
        layers += [Dense(size, (1.0,)), AntiparallelDiodes(PRESETS[diode], 0.3)]
        layers.append(BidirectionalAmplifier(4.0, kind))
    return layered_circuit([*layers, Dense(2, (1.0,))], num_inputs=NUM_INPUTS, num_outputs=1)


def draw(circuit: Circuit, rng: np.random.Generator, count: int, factor: float) -> Params:
    """Return conductances of several networks [S], between 1 nS and 1 kS, `network input output`.

    Args:
        circuit: The circuit.
        rng: What draws.
        count: How many networks.
        factor: Ratio of one layer's conductances to the next one's.
    """
    lowest = rng.uniform(-9.0, -2.0, (count, 1, 1))
    return {
        name: 10.0 ** rng.uniform(lowest, lowest + 5.0, (count, *shape)) * factor**-depth
        for depth, (name, shape) in enumerate(circuit.parameter_shapes().items())
    }


def are_sound(plan: LayeredPlan, params: Params) -> Bool[np.ndarray, " network"]:
    """Return in which networks every node's linear conductance is positive."""

    def smallest(params):
        network = build_network(plan.chain, params, jnp.zeros((1, 1)), fold=False)
        return jnp.stack([c.min() for c in network.linear]).min()

    return np.asarray(jax.vmap(smallest)(params)) > 0.0


def try_networks(circuit: Circuit, num_networks: int, rng: np.random.Generator) -> Outcome:
    """Settle random networks of one circuit, at least as many as asked for."""
    chain = recognize(circuit)
    assert chain is not None, "the circuits here are layered"
    plan = LayeredPlan(circuit, chain)
    factor = DEEPER if any((layer.ratios < 0.0).any() for layer in chain.layers) else 1.0

    @jax.jit
    @jax.vmap
    def settle(params, inputs, nudge):
        return plan.settle(params, inputs, [Free(), Force(nudge)])

    tried = failures = max_steps = 0
    waiting = draw(circuit, rng, 0, factor)
    while tried < num_networks:
        drawn = draw(circuit, rng, AT_ONCE, factor)
        good = are_sound(plan, drawn)
        waiting = {name: np.concatenate([waiting[name], drawn[name][good]]) for name in drawn}
        if len(next(iter(waiting.values()))) < AT_ONCE:
            continue
        params = {name: values[:AT_ONCE] for name, values in waiting.items()}
        waiting = {name: values[AT_ONCE:] for name, values in waiting.items()}
        inputs = rng.uniform(-10.0, 10.0, (AT_ONCE, NUM_SAMPLES, NUM_INPUTS))
        last = list(params.values())[-1].mean(axis=(1, 2))[:, None, None]
        nudge = last * rng.uniform(-10.0, 10.0, (AT_ONCE, NUM_SAMPLES, circuit.num_outputs))
        for point in settle(params, inputs, nudge):
            failures += point.num_unconverged
            max_steps = max(max_steps, int(np.max(np.asarray(point.num_steps))))
        tried += AT_ONCE
    return Outcome(tried, failures, max_steps)


def main() -> None:
    """Try and print."""
    cases = list(itertools.product(HIDDEN, DIODES))
    share = -(-NUM_NETWORKS // len(cases))
    for kind in KINDS:
        rng = np.random.default_rng(0)
        outcomes = [try_networks(random_circuit(h, d, kind), share, rng) for h, d in cases]
        networks = sum(o.num_networks for o in outcomes)
        failures = sum(o.num_failures for o in outcomes)
        print(
            f"{kind:12s} {networks:6,d} networks, {2 * NUM_SAMPLES * networks:6,d} operating "
            f"points: {failures} unconverged, at most {max(o.max_steps for o in outcomes)} steps"
        )


if __name__ == "__main__":
    main()
