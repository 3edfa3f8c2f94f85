r"""What devices do while time passes: charge themselves, and change their states.

A step that weighs the rates at its end by w takes states to $x = \hat x + w\,r(v, x)$. That is an
equation of one device alone: solved for every instance by Newton's method, it leaves a current
$i(v, x(v))$ with the slope
$\partial i/\partial v + \partial i/\partial x\,(1 - w\,\partial r/\partial x)^{-1}
w\,\partial r/\partial v$.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from eqprop_spice.devices.base import AbstractDevice
from eqprop_spice.engines.general.equations import Structure

MAX_STEPS = 25
"""Newton steps of the states of one device; a step of time that needs more is too long."""

STEP_TOLERANCE = 1e-9
"""A Newton step of a state after which the error, its square, is rounding."""


@dataclasses.dataclass(frozen=True, eq=False)
class Moved:
    """The branches at the end of a step, NaN where the states found no solution.

    Attributes:
        currents: Their currents [A].
        slopes: The derivatives of the currents by the drops [S].
        charges: Their charges [C].
        capacitances: The derivatives of the charges [F].
        states: The states of each group that has some.
    """

    currents: Float[np.ndarray, "batch branch"]
    slopes: Float[np.ndarray, "batch slope"]
    charges: Float[np.ndarray, "batch branch"]
    capacitances: Float[np.ndarray, "batch slope"]
    states: dict[str, Float[np.ndarray, "batch state instance"]]


def move(
    structure: Structure,
    params: Mapping[str, np.ndarray],
    drops: Float[np.ndarray, "batch branch"],
    before: Mapping[str, Float[np.ndarray, "batch state instance"]],
    weight: float,
) -> Moved:
    r"""Return what the branches are at given drops.

    Args:
        structure: The structure of a circuit in motion.
        params: Conductances [S] by group name.
        drops: Voltages of the branches [V].
        before: $\hat x$ of each group that has states.
        weight: w [s].
    """
    parts: list[list[np.ndarray]] = [[np.zeros((len(drops), 0))] for _ in range(4)]
    states = {}
    for group, ports in zip(structure.groups, structure.split(drops), strict=True):
        law, moves = group.law(params), None
        if group.name in before:
            x, moves = _solve_states(law, ports, before[group.name], weight)
            law, states[group.name] = _at(law, x), x
        slopes = _flat(law.slopes(*ports))
        if moves is not None:
            by_state = _stack(law.state_slopes(*ports))
            through = np.einsum("pkbi,kqbi->pqbi", by_state, moves)
            slopes = [one + other for one, other in zip(slopes, _flat(through), strict=True)]
        found = law.currents(*ports), slopes, law.charges(*ports), _flat(law.capacitances(*ports))
        for part, values in zip(parts, found, strict=True):
            part += map(np.asarray, values)
    currents, slopes, charges, capacitances = (np.concatenate(part, axis=1) for part in parts)
    return Moved(currents, slopes, charges, capacitances, states)


def _flat(rows) -> list[np.ndarray]:
    return [entry for row in rows for entry in row]


def _stack(rows) -> Float[np.ndarray, "row column batch instance"]:
    return np.array(rows, float)


def _at(law: AbstractDevice, states: Float[np.ndarray, "batch state instance"]) -> AbstractDevice:
    """Return a device in given states."""
    moved = {name: states[:, k] for k, name in enumerate(law.states)}
    return dataclasses.replace(law, **moved)


def _solve_states(
    law: AbstractDevice,
    ports: Sequence[np.ndarray],
    before: Float[np.ndarray, "batch state instance"],
    weight: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the states at the end of a step, and their derivatives by the drops."""
    x, count = before, before.shape[1]
    for _ in range(MAX_STEPS):
        here = _at(law, x)
        excess = x - before - weight * np.stack([np.asarray(r) for r in here.rates(*ports)], 1)
        slopes = weight * _stack(here.rate_slopes(*ports))
        by_drops, by_states = slopes[:, : len(ports)], slopes[:, len(ports) :]
        matrices = np.eye(count) - np.moveaxis(by_states, (0, 1), (-2, -1))
        step = np.linalg.solve(matrices, np.moveaxis(excess, 1, -1)[..., None])[..., 0]
        x = x - np.moveaxis(step, -1, 1)
        if not np.abs(step).max(initial=0.0) > STEP_TOLERANCE:
            moves = np.linalg.solve(matrices, np.moveaxis(by_drops, (0, 1), (-2, -1)))
            return x, np.moveaxis(moves, (-2, -1), (0, 1))
    return np.full_like(x, np.nan), np.full(by_drops.shape, np.nan)


def first_states(
    structure: Structure, batch: int
) -> dict[str, Float[np.ndarray, "batch state instance"]]:
    """Return the states of each group as they are in the circuit."""
    states = {}
    for group in structure.groups:
        names = group.device.states
        if names:
            law, size = group.law({}), (batch, group.num_instances)
            rows = [np.broadcast_to(np.asarray(getattr(law, n), float), size) for n in names]
            states[group.name] = np.stack(rows, axis=1)
    return states
