"""Flux networks as SPICE netlists: one period in `.tran`, from the first moment of an orbit."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from eqprop_spice.lagrangian.action import Action
from eqprop_spice.spice.writer import number

OPTIONS = ".options reltol=1e-7 vntol=1e-12 abstol=1e-12"

STEPS_IN_STEP = 4
"""Steps of ngspice in a time step of the action, at least: its error is then the smaller one."""

PAIRS_IN_LINE = 4
"""Pairs of time and current in a line of a source."""


def transient_netlist(action: Action, fluxes: Float[np.ndarray, "moment node"], title: str) -> str:
    """Return a netlist that follows one period; `ngspice -b` prints the fluxes.

    The voltage of node `n_a` is the rate of the flux of node a, and that of `f_a` the flux itself:
    a capacitor of 1 F integrates. Junctions draw the sine of fluxes, which is a B source.

    Args:
        action: The action, with the currents of a nudge among the others.
        fluxes: Where it is stationary.
        title: What it is; other characters than letters, digits and blanks become blanks.
    """
    network = action.network
    harmless = "".join(c if c.isascii() and c.isalnum() else " " for c in title)
    lines = [f"* eqprop_spice {' '.join(harmless.split())}", OPTIONS]
    start, rates = action.path(fluxes)[0], action.first_rates(fluxes)
    for node, flux in zip(network.nodes, start.tolist(), strict=True):
        lines += [f"cflux_{node} f_{node} 0 1 ic={number(flux)}"]
        lines += [f"gflux_{node} 0 f_{node} n_{node} 0 1"]
    lines += _elements(action, start, rates)
    for node, currents in zip(network.nodes, action.currents.T, strict=True):
        if currents.any():
            lines += _waveform(f"i_{node} 0 n_{node}", currents, action)
    end = action.step * len(action.currents)
    lines += [
        f".tran {number(action.step)} {number(end)} 0 {number(action.step / STEPS_IN_STEP)} uic",
        f".print tran {' '.join(f'v(f_{node})' for node in network.nodes)}",
        ".end",
    ]
    return "\n".join(lines) + "\n"


def _node(name: str, letter: str = "n") -> str:
    return name if name == "0" else f"{letter}_{name}"


def _elements(
    action: Action, start: Float[np.ndarray, " node"], rates: Float[np.ndarray, " node"]
) -> Iterator[str]:
    """Yield the elements with what they hold at the first moment."""
    network = action.network
    voltages = network.incidence("c") @ rates
    roots = np.sqrt(action.values["l"])
    currents = roots * (network.inverse_coupling @ (roots * (network.incidence("l") @ start)))
    states = {"c": voltages, "l": currents}
    for kind, initial in states.items():
        values = 1.0 / action.values["l"] if kind == "l" else action.values["c"]
        for element, value, held in zip(network.of_kind(kind), values, initial, strict=True):
            ends = " ".join(_node(node) for node in element.nodes)
            yield f"{element.name} {ends} {number(value)} ic={number(held)}"
    for i, (first, second, value) in enumerate(network.couplings):
        yield f"k{i} {first} {second} {number(value)}"
    for element, value in zip(network.of_kind("j"), action.values["j"], strict=True):
        ends = " ".join(_node(node) for node in element.nodes)
        phase = "-".join(f"v({_node(node, 'f')})" for node in element.nodes if node != "0")
        # A junction from ground has the flux of its other end with the opposite sign.
        phase = f"-{phase}" if element.nodes[0] == "0" else phase
        yield f"b{element.name} {ends} i={number(value)}*sin({phase})"


def _waveform(head: str, currents: Float[np.ndarray, " step"], action: Action) -> Iterator[str]:
    """Yield a piecewise linear source through the currents at midpoints."""
    count, step = len(currents), action.step
    first, last = float(currents[0]), float(currents[-1])
    if action.ring:
        first = last = 0.5 * (first + last)
    times = [0.0, *((np.arange(count) + 0.5) * step).tolist(), count * step]
    values = [first, *currents.tolist(), last]
    pairs = [f"{number(t)} {number(v)}" for t, v in zip(times, values, strict=True)]
    yield f"{head} pwl("
    for i in range(0, len(pairs), PAIRS_IN_LINE):
        yield "+ " + " ".join(pairs[i : i + PAIRS_IN_LINE])
    yield "+ )"
