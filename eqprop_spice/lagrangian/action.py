r"""The discrete action of a flux network over a period, and its stationary points.

Node fluxes $\phi$ are the coordinates, voltages their rates. With midpoints m, and differences v
over the time step h, the action is $\sum_k h\,[\frac12 v_k^T C v_k - U(m_k) + i_k \cdot m_k]$: the
variational midpoint rule. The *energy* is its negative, so that what is stored without motion
counts as positive, and a spring is an inductor.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float

from eqprop_spice.lagrangian.block_tridiagonal import BlockTridiagonal
from eqprop_spice.lagrangian.network import Network

MAX_STEPS = 60
"""Newton steps until a sample is given up."""

LARGEST_STEP = 1.0
"""Of a phase across junctions in one Newton step [rad]: their current is a sine."""

RAMP = 8
"""Parts in which currents, and given ends, are turned on where Newton's method fails at once."""

FOLD = 1e-3
"""Smallest such part: where even that is too much, the branch of solutions ends in a fold."""

FOUND = 1e-9
"""A residual relative to its terms from which Newton's method has never left."""

ROUNDING = 16 * np.finfo(float).eps
"""A residual relative to its terms that no step can lower."""

RESONANCE = 1e-9
"""An eigenvalue this small relative to what inductors and junctions store is a resonance."""


@dataclasses.dataclass(frozen=True, eq=False)
class Action:
    """The action of one sample in one phase, of given values of the elements.

    Attributes:
        network: The network.
        values: Values of the elements by kind.
        step: The time step h [s].
        ring: Whether the last moment is followed by the first; else the fluxes at both ends are
            given, or none are.
        currents: What flows into the nodes at every midpoint, nudges included [A].
        stiffness: Of springs at nodes, in the energy per time step: $G/h$.
        ends: Fluxes at the beginning and the end, where they are given.
    """

    network: Network
    values: dict[str, np.ndarray]
    step: float
    ring: bool
    currents: Float[np.ndarray, "step node"]
    stiffness: Float[np.ndarray, "node node"]
    ends: Float[np.ndarray, "2 node"] | None = None

    @functools.cached_property
    def capacitances(self) -> Float[np.ndarray, "node node"]:
        """The matrix C."""
        incidence = self.network.incidence("c")
        return incidence.T @ (self.values["c"][:, None] * incidence)

    @functools.cached_property
    def springs(self) -> Float[np.ndarray, "node node"]:
        """The matrix of inverse inductances, with the springs of a nudge."""
        roots = np.sqrt(self.values["l"])[:, None] * self.network.incidence("l")
        return roots.T @ self.network.inverse_coupling @ roots + self.stiffness

    @property
    def linear(self) -> bool:
        """Whether there are no junctions."""
        return not len(self.values["j"])

    def path(self, fluxes: Float[np.ndarray, "moment node"]) -> Float[np.ndarray, "point node"]:
        """Return the fluxes at all moments, both ends of the period included."""
        if self.ring:
            return np.concatenate([fluxes, fluxes[:1]])
        if self.ends is None:
            return fluxes
        return np.concatenate([self.ends[:1], fluxes, self.ends[1:]])

    def parts(
        self, fluxes: Float[np.ndarray, "moment node"]
    ) -> tuple[Float[np.ndarray, "step node"], Float[np.ndarray, "step node"]]:
        """Return midpoints and rates."""
        path = self.path(fluxes)
        return 0.5 * (path[1:] + path[:-1]), np.diff(path, axis=0) / self.step

    def residual(
        self, fluxes: Float[np.ndarray, "moment node"]
    ) -> tuple[Float[np.ndarray, "free node"], float]:
        """Return the derivative of the energy by the fluxes that equations fix, and their size."""
        middle, rates = self.parts(fluxes)
        momenta = rates @ self.capacitances
        forces = 0.5 * self.step * (self.pull(middle) - self.currents)
        # What an interval does to its first and to its last moment.
        left, right = forces + momenta, forces - momenta
        size = float(
            abs(momenta).max() + 0.5 * self.step * (abs(self.currents).max() + abs(forces).max())
        )
        if self.ring:
            return left + np.roll(right, 1, 0), size
        return left[1:] + right[:-1], size

    def first_rates(self, fluxes: Float[np.ndarray, "moment node"]) -> Float[np.ndarray, " node"]:
        """Return the rates at the first moment, from the discrete momentum there."""
        middle, rates = self.parts(fluxes)
        force = self.pull(middle[0]) - self.currents[0]
        return rates[0] + 0.5 * self.step * np.linalg.solve(self.capacitances, force)

    def pull(self, fluxes: Float[np.ndarray, "*step node"]) -> Float[np.ndarray, "*step node"]:
        """Return the currents out of the nodes through inductors and junctions."""
        junctions = self.network.incidence("j")
        supercurrents = self.values["j"] * np.sin(fluxes @ junctions.T)
        return fluxes @ self.springs + supercurrents @ junctions

    def curvature(
        self, fluxes: Float[np.ndarray, "*step node"]
    ) -> Float[np.ndarray, "*step node node"]:
        """Return the derivative of `pull`."""
        junctions = self.network.incidence("j")
        slopes = self.values["j"] * np.cos(fluxes @ junctions.T)
        return self.springs + np.einsum("...j,ja,jb->...ab", slopes, junctions, junctions)

    def hessian(self, fluxes: Float[np.ndarray, "moment node"]) -> BlockTridiagonal:
        """Return the second derivative of the energy."""
        middle, _ = self.parts(fluxes)
        curved = self.curvature(middle)
        own = 0.25 * self.step * curved - self.capacitances / self.step
        link = 0.25 * self.step * curved + self.capacitances / self.step
        if self.ring:
            return BlockTridiagonal(own + np.roll(own, 1, 0), link, True)
        return BlockTridiagonal(own[1:] + own[:-1], link[1:-1], False)

    def energy(self, fluxes: Float[np.ndarray, "moment node"]) -> float:
        """Return the negative action."""
        middle, rates = self.parts(fluxes)
        phases = middle @ self.network.incidence("j").T
        moving = 0.5 * ((rates @ self.capacitances) * rates).sum()
        stored = 0.5 * ((middle @ self.springs) * middle).sum()
        stored += ((1.0 - np.cos(phases)) * self.values["j"]).sum()
        return self.step * float(stored - moving - (self.currents * middle).sum())

    def slopes(
        self, fluxes: Float[np.ndarray, "moment node"]
    ) -> dict[str, Float[np.ndarray, " element"]]:
        r"""Return the derivative of the energy by the value of every element, by kind.

        They are what is conjugate to the values: squared voltages of capacitors, squared fluxes of
        inductors, and $1 - \cos$ of the phases of junctions.
        """
        middle, rates = self.parts(fluxes)
        network = self.network
        fluxes_l = middle @ network.incidence("l").T
        roots = np.sqrt(self.values["l"])
        pulled = (roots * fluxes_l) @ network.inverse_coupling
        return {
            "c": -0.5 * self.step * ((rates @ network.incidence("c").T) ** 2).sum(0),
            "l": 0.5 * self.step * (pulled * fluxes_l).sum(0) / roots,
            "j": self.step * (1.0 - np.cos(middle @ network.incidence("j").T)).sum(0),
        }

    def slope_rates(
        self,
        fluxes: Float[np.ndarray, "moment node"],
        change: Float[np.ndarray, "moment node"],
    ) -> dict[str, Float[np.ndarray, " element"]]:
        """Return how `slopes` change with the fluxes; their ends, where given, stay."""
        middle, rates = self.parts(fluxes)
        still = dataclasses.replace(self, ends=None if self.ends is None else 0.0 * self.ends)
        moved, faster = still.parts(change)
        across = {kind: self.network.incidence(kind).T for kind in "clj"}
        roots, inverse = np.sqrt(self.values["l"]), self.network.inverse_coupling
        before, after = middle @ across["l"], moved @ across["l"]
        both = before * ((roots * after) @ inverse) + after * ((roots * before) @ inverse)
        return {
            "c": -self.step * ((rates @ across["c"]) * (faster @ across["c"])).sum(0),
            "l": 0.5 * self.step * both.sum(0) / roots,
            "j": self.step * (np.sin(middle @ across["j"]) * (moved @ across["j"])).sum(0),
        }

    @property
    def stored_scale(self) -> float:
        """What a radian stores in inductors and junctions over a time step, about."""
        scale = abs(self.springs).sum() + self.values["j"].sum()
        return self.step * float(scale) / self.network.size


@dataclasses.dataclass(frozen=True, eq=False)
class Extremum:
    """Where an action is stationary.

    Attributes:
        fluxes: Fluxes at the moments that are free.
        residual: Largest derivative of the action, relative to its terms.
        num_steps: Newton steps taken.
        resonance: The node and the harmonic along which the action is flat, if it is.
        hessian: The second derivative, near the end.
        share: Of the currents and given ends, up to which the branch from the start leads.
    """

    fluxes: Float[np.ndarray, "moment node"]
    residual: float
    num_steps: int
    resonance: tuple[int, int] | None
    hessian: BlockTridiagonal
    share: float = 1.0


def extremum(action: Action, start: Float[np.ndarray, "moment node"]) -> Extremum:
    """Find a stationary point by Newton's method on the whole path, whatever signs curvatures have.

    Where that fails from the start, the currents, and given ends, are turned on in parts, each
    from the last. If the branch of solutions ends on the way, the mode is named that becomes soft.
    """
    found = _newton(action, start)
    if found.residual <= FOUND or action.linear:
        return found
    last, count, share, part = found, found.num_steps, 0.0, 1.0 / RAMP
    at, action_there = start, action
    while share < 1.0 and part >= FOLD:
        trial = min(1.0, share + part)
        ends = None if action.ends is None else action.ends * trial
        weaker = dataclasses.replace(action, currents=action.currents * trial, ends=ends)
        found = _newton(weaker, at)
        count += found.num_steps
        if found.residual <= FOUND:
            last, share, at, action_there = found, trial, found.fluxes, weaker
        else:
            part *= 0.5
    if share < 1.0:
        mode = _softest(action_there, last.hessian)[1] if share else None
        missing, size = action.residual(at)
        left = float(abs(missing).max() / size) if size > 0.0 else np.inf
        return Extremum(at, max(left, 2.0 * FOUND), count, mode, last.hessian, share)
    return dataclasses.replace(last, num_steps=count)


def _newton(action: Action, start: Float[np.ndarray, "moment node"]) -> Extremum:
    """Take Newton steps until rounding leaves nothing to gain."""
    fluxes, (missing, size) = start, action.residual(start)
    hessian, best, count = action.hessian(fluxes), np.inf, 0
    for count in range(MAX_STEPS + 1):
        left = abs(missing).max() / size if size > 0.0 else 0.0
        if not np.isfinite(left) or left <= ROUNDING or count == MAX_STEPS:
            break
        if left < FOUND and left > 0.5 * best:
            break
        best = min(best, left)
        hessian = action.hessian(fluxes)
        step = hessian.solve(missing)
        if not action.linear:
            step *= min(1.0, LARGEST_STEP / max(abs(step).max(), 1e-300))
        fluxes = fluxes - step
        missing, size = action.residual(fluxes)
    relative = float(abs(missing).max() / size) if size > 0.0 else 0.0
    return Extremum(fluxes, relative, count, _resonance(action, hessian), hessian)


def _resonance(action: Action, hessian: BlockTridiagonal) -> tuple[int, int] | None:
    """Return the mode along which nothing resists, if there is one."""
    smallest, mode = _softest(action, hessian)
    rounding = ROUNDING * hessian.scale
    return mode if smallest <= RESONANCE * action.stored_scale + rounding else None


def _softest(action: Action, hessian: BlockTridiagonal) -> tuple[float, tuple[int, int]]:
    """Return the smallest eigenvalue, the node that moves most, and how often in a period."""
    smallest, vector = hessian.smallest()
    node = int(abs(vector).max(0).argmax())
    moving = vector[:, node]
    if action.ring:
        return smallest, (node, int(abs(np.fft.rfft(moving)).argmax()))
    # Half waves between fixed ends.
    return smallest, (node, int((np.diff(np.sign(moving)) != 0).sum()) + 1)
