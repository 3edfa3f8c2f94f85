r"""Motion of a flux network from given initial values, and its echo: the same motion run back.

With the discrete momenta (charges) $p_k = C v_k + f_k$ and $p_{k+1} = C v_k - f_k$ at the two ends
of a time step, $f_k = \frac{h}{2}(\nabla U(m_k) - i_k)$, the midpoint rule is reversible: from
$(\phi_N, -p_N)$ under the currents in reverse order it comes back to $(\phi_0, -p_0)$.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from eqprop_spice.lagrangian.action import FOUND, ROUNDING, Action, Extremum

TINY = np.finfo(float).tiny

MAX_ITERATIONS = 30
"""Newton steps within a time step until a sample is given up."""


def motion(
    action: Action, fluxes: Float[np.ndarray, " node"], charges: Float[np.ndarray, " node"]
) -> Extremum:
    """Follow a network for all time steps, each by Newton's method on the midpoint rule.

    Args:
        action: The action.
        fluxes: Fluxes at the first moment.
        charges: Charges of the nodes there: the momenta.

    Returns:
        The motion; not finite from a time step on that was not solved.
    """
    mass, half, size = action.capacitances / action.step, 0.5 * action.step, len(fluxes)
    path = np.full((len(action.currents) + 1, size), np.nan)
    path[0], count = fluxes, 0
    for k, current in enumerate(action.currents):
        old = path[k]
        # The first guess moves on as the momentum says.
        new, last = old + np.linalg.solve(mass, charges), np.inf
        for _ in range(MAX_ITERATIONS):
            middle = 0.5 * (old + new)
            force = half * (action.pull(middle) - current)
            missing = mass @ (new - old) + force - charges
            left = abs(missing).max() / max(abs(mass @ new).max(), abs(charges).max(), TINY)
            if not left < np.inf or left <= ROUNDING or (left < FOUND and left > 0.5 * last):
                break
            last, count = left, count + 1
            new = new - np.linalg.solve(mass + 0.5 * half * action.curvature(middle), missing)
        if not left <= FOUND:
            break
        path[k + 1], charges = new, mass @ (new - old) - force
    return judged(action, path, count)


def judged(action: Action, path: Float[np.ndarray, "moment node"], count: int) -> Extremum:
    """Return a motion with what it leaves of the equations of motion."""
    missing, size = action.residual(path)
    relative = float(abs(missing).max() / size) if size != 0.0 else 0.0
    return Extremum(path, relative, count, None, action.hessian(path))


def last_charges(
    action: Action, fluxes: Float[np.ndarray, "moment node"]
) -> Float[np.ndarray, " node"]:
    """Return the charges of the nodes at the last moment of a motion."""
    middle, rates = action.parts(fluxes)
    force = 0.5 * action.step * (action.pull(middle[-1]) - action.currents[-1])
    return rates[-1] @ action.capacitances - force


def echo(action: Action, free: Action, fluxes: Float[np.ndarray, "moment node"]) -> Extremum:
    """Run back from the end of a motion, its charges reversed, under another action.

    In the order of the first motion, this is one that ends as that one does.

    Args:
        action: That of the way back.
        free: That of the first motion.
        fluxes: The first motion.
    """
    reverse = dataclasses.replace(action, currents=action.currents[::-1])
    back = motion(reverse, fluxes[-1], -last_charges(free, fluxes))
    return judged(action, back.fluxes[::-1], back.num_steps)


def echo_response(
    action: Action,
    fluxes: Float[np.ndarray, "moment node"],
    currents: Float[np.ndarray, "step node"],
) -> Float[np.ndarray, "moment node"]:
    """Return the change of an echo under small currents; at the end it has none."""
    mass, half = action.capacitances / action.step, 0.5 * action.step
    middle, _ = action.parts(fluxes)
    change = np.zeros_like(np.asarray(fluxes))
    charges = np.zeros(change.shape[1])
    for k in range(len(middle) - 1, -1, -1):
        slope = 0.5 * half * action.curvature(middle[k])
        after, push = change[k + 1], half * currents[k]
        change[k] = np.linalg.solve(mass + slope, (mass - slope) @ after - charges + push)
        charges = mass @ (after - change[k]) + slope @ (after + change[k]) - push
    return change
