"""The netlist of a network of transistors: every gate has a source of its own."""

import numpy as np
from jaxtyping import Float, Int

from eqprop_spice.engines.edges.network import EdgeDevice, EdgeNetwork
from eqprop_spice.phases import AbstractPhase
from eqprop_spice.spice.deck import Deck, Element, Model, frozen
from eqprop_spice.spice.portable import portable_netlist

CARD = {
    "threshold": "vto",
    "transconductance": "kp",
    "body_effect": "gamma",
    "surface_potential": "phi",
    "channel_modulation": "lambda",
    "bulk_current": "is",
}
"""Fields of a transistor with their names in a .model card."""


def node_names(network: EdgeNetwork) -> list[str]:
    """Return the names of the sources' nodes and of the free ones."""
    sources = [f"x{k}" for k in range(network.num_sources)]
    return sources + [f"n{k}" for k in range(network.num_free)]


def _transistors(
    network: EdgeNetwork, device: EdgeDevice, gates: np.ndarray, prefix: str
) -> tuple[list[Element], list[Model]]:
    """Return the transistors of all edges with their gates' sources, and the models they need."""
    names, law = node_names(network), device.law
    elements, models = [], {}
    bulk = f"{prefix}bulk" if device.bulk else "0"
    if device.bulk:
        elements.append(Element(f"v{prefix}bulk", (bulk, "0"), device.bulk))
    columns = [np.broadcast_to(getattr(law, f), len(gates)).tolist() for f in CARD]
    size = frozen({"w": float(np.ravel(law.width)[0]), "l": float(np.ravel(law.length)[0])})
    for k, (row, gate) in enumerate(zip(zip(*columns, strict=True), gates.tolist(), strict=True)):
        if row not in models:
            parameters = dict(zip(CARD.values(), row, strict=True))
            name = f"{law.model}_{len(models)}"
            models[row] = Model(name, law.channel, frozen(parameters))
        node = f"{prefix}{k}"
        value = device.gate_scale * gate + device.gate_offset
        nodes = names[network.drains[k]], node, names[network.sources[k]], bulk
        elements.append(Element(f"v{prefix}{k}", (node, "0"), value))
        elements.append(Element(f"m{prefix}{k}", nodes, model=models[row].name, parameters=size))
    return elements, list(models.values())


def edges_netlist(
    network: EdgeNetwork,
    gates: Float[np.ndarray, " edge"],
    held: Float[np.ndarray, " source"],
    outputs: Int[np.ndarray, "output two"],
    phase: AbstractPhase,
    held_free: Float[np.ndarray, " free"] | None,
    *,
    title: str,
) -> str:
    """Return the netlist of one sample in a phase.

    Args:
        network: The equations.
        gates: Gate voltage of every edge [V].
        held: Voltages of the sources [V].
        outputs: Free nodes of every output; -1 for the ground.
        phase: What is attached to the outputs.
        held_free: Voltages that the output nodes are held at [V], in a phase that holds them.
        title: What the circuit is.
    """
    names = node_names(network)
    free = names[network.num_sources :]
    elements = [Element(f"vx{k}", (f"x{k}", "0"), v) for k, v in enumerate(held.tolist())]
    models: list[Model] = []
    for device, prefix in zip(network.devices, ("g", "p"), strict=False):
        more = _transistors(network, device, gates, prefix)
        elements += more[0]
        models += more[1]
    if network.leak:
        leaks = enumerate(free)
        elements += [Element(f"rleak{k}", (node, "0"), 1.0 / network.leak) for k, node in leaks]
    if held_free is not None:
        chosen = np.unique(outputs[outputs >= 0]).tolist()
        values = held_free.tolist()
        elements += [Element(f"vhold{k}", (free[k], "0"), values[k]) for k in chosen]
    else:
        currents = np.asarray(phase.source_currents(1, len(outputs)), float)[0].tolist()
        stiffness = float(phase.conductance)
        for k, (pair, current) in enumerate(zip(outputs.tolist(), currents, strict=True)):
            plus, minus = (free[node] if node >= 0 else "0" for node in pair)
            if current:
                elements.append(Element(f"inudge{k}", (minus, plus), current))
            if stiffness:
                elements.append(Element(f"rspring{k}", (plus, minus), 1.0 / stiffness))
    nodes = {node for element in elements for node in element.nodes} - {"0"}
    deck = Deck(
        title=title,
        elements=tuple(elements),
        models=frozen({model.name: model for model in models}),
        nodes=frozen({node: node for node in sorted(nodes)}),
        parameters=frozen({}),
    )
    return portable_netlist(deck, title=title)
