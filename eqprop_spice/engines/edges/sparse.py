r"""Operating points of large networks of transistors: one factorization serves a batch.

The samples of a batch differ in their inputs alone, and so do their Jacobians by little. So the
Jacobian of their mean is factorized, and every sample takes steps with it, corrected by what its
own steps have taught (Broyden's method). Where that is too slow it is factorized anew, at last for
every sample by itself (Newton's method).

References:
    Kelley (1995), Iterative Methods for Linear and Nonlinear Equations, chapters 5 and 7.
"""

import dataclasses
import functools
from itertools import pairwise

import jax
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Bool, Float
from threadpoolctl import threadpool_limits

from eqprop_spice.engines.edges.dense import (
    CURRENT_FLOOR,
    LARGEST_STEP,
    MAX_STEPS,
    RESIDUAL_TOLERANCE,
)
from eqprop_spice.engines.edges.network import EdgeNetwork

STEP_TOLERANCE = 1e-12
"""A step of a voltage [V] after which chords have arrived: they close in more slowly than Newton's
method does."""

SLOW = 0.3
"""Ratio of two chord steps above which another factorization is worth its time."""

SMALLEST_SHARE = 0.1
"""Of a chord's step, below which Broyden's correction is not believed."""

MAX_FACTORIZATIONS = 12
"""Of means, before every sample gets its own."""

REFINED = 1e-13
"""Relative change at which a linear solution is not refined any more."""

MAX_REFINEMENTS = 40


@dataclasses.dataclass(frozen=True, eq=False)
class SparseSolver:
    """Solves one network; what it has compiled lives as long as it does.

    Attributes:
        network: The network.
    """

    network: EdgeNetwork

    @functools.cached_property
    def _residual(self):
        return jax.jit(self.network.residual)

    @functools.cached_property
    def _slopes(self):
        return jax.jit(self.network.slopes)

    @functools.cached_property
    def _scale(self):
        return jax.jit(self.network.scale)

    @functools.cached_property
    def _pattern(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row indices and column starts of the Jacobian, and where every slope is in its data."""
        size = self.network.num_free
        rows, columns, _ = self.network.pattern
        own = np.arange(size)
        places = np.concatenate([columns * size + rows, own * size + own])
        unique, positions = np.unique(places, return_inverse=True)
        starts = np.searchsorted(unique // size, np.arange(size + 1))
        return (unique % size).astype(np.int32), starts.astype(np.int32), positions

    def _factorized(self, slopes: Float[np.ndarray, " slope"], springs, fixed: np.ndarray):
        """Return the factors of a Jacobian from the slopes of all edges."""
        network = self.network
        rows, starts, positions = self._pattern
        values = np.concatenate(
            [slopes[network.pattern[2]], np.full(network.num_free, network.leak)]
        )
        data = np.bincount(positions, values, minlength=len(rows))
        shape = (network.num_free,) * 2
        matrix = scipy.sparse.csc_array((data, rows, starts), shape)
        if springs is not None:
            matrix = (matrix + springs).tocsc()
        if fixed.any():
            free = scipy.sparse.diags_array((~fixed).astype(float))
            matrix = (free @ matrix + scipy.sparse.diags_array(fixed.astype(float))).tocsc()
        try:
            # The diagonal dominates its column, so no pivot is sought beside it.
            return scipy.sparse.linalg.splu(
                matrix,
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
        except RuntimeError:
            return None

    def solve(
        self,
        gates: Float[np.ndarray, " edge"],
        held: Float[np.ndarray, "batch source"],
        injected: Float[np.ndarray, "batch free"],
        springs,
        fixed: Bool[np.ndarray, " free"],
        start: Float[np.ndarray, "batch free"],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Find operating points; see `dense.solve`."""
        free = np.array(start, float)
        steps = np.zeros(len(free), int)
        load = (gates, held, injected, springs, fixed)
        # Threads of BLAS lose more in waiting for each other than such small systems gain.
        with np.errstate(all="ignore"), threadpool_limits(1, "blas"):
            if len(free) > 1:
                free += self._mean_solution(load, free) - free.mean(axis=0)
            lost = ~self._chords(load, free, steps, np.arange(len(free)))
            for sample in np.flatnonzero(lost):
                self._chords(load, free, steps, np.array([sample]))
            voltages = np.concatenate([held, free], axis=1)
            excess = self._excess(load, free, np.arange(len(free)))
            scale = self._scale(voltages, gates) + abs(injected) + CURRENT_FLOOR
            residual = (np.abs(excess) / scale).max(axis=1, initial=0.0)
        residual = np.where(np.isfinite(residual), residual, np.inf)
        converged = residual <= RESIDUAL_TOLERANCE
        return np.where(converged[:, None], free, np.nan), converged, residual, steps

    def _mean_solution(self, load, free: np.ndarray) -> np.ndarray:
        """Return the operating point for the mean of the sources, to start all samples near it."""
        gates, held, injected, springs, fixed = load
        middle = free.mean(axis=0, keepdims=True)
        mean = gates, held.mean(0, keepdims=True), injected.mean(0, keepdims=True), springs, fixed
        found, steps = middle.copy(), np.zeros(1, int)
        self._chords(mean, found, steps, np.array([0]))
        return np.where(np.isfinite(found), found, middle)[0]

    def _excess(self, load, free: np.ndarray, rows: np.ndarray) -> np.ndarray:
        gates, held, injected, springs, fixed = load
        voltages = np.concatenate([held[rows], free[rows]], axis=1)
        found = np.array(self._residual(voltages, gates, injected[rows]))
        if springs is not None:
            found += (springs @ free[rows].T).T
        found[:, fixed] = 0.0
        return found

    def _chords(self, load, free: np.ndarray, steps: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Iterate on some samples in place; return which of all arrived."""
        gates, held, _, springs, fixed = load
        arrived = np.zeros(len(free), bool)
        factors, before, used, past = None, np.inf, 0, []
        own = len(rows) == 1
        while len(rows) and steps[rows].max() < MAX_STEPS:
            if factors is None or own:
                if used > MAX_FACTORIZATIONS and not own:
                    break
                voltages = np.concatenate([held[rows], free[rows]], axis=1).mean(0, keepdims=True)
                slopes = np.concatenate(self._slopes(voltages, gates), axis=1)[0]
                factors, used, past = self._factorized(slopes, springs, fixed), used + 1, []
                if factors is None:
                    break
            change = _broyden(-factors.solve(self._excess(load, free, rows).T).T, past)
            change = np.clip(change, -LARGEST_STEP, LARGEST_STEP)
            free[rows] += change
            steps[rows] += 1
            sizes = np.abs(change).max(axis=1, initial=0.0)
            going = sizes > STEP_TOLERANCE
            arrived[rows[~going]] = True
            if sizes.max() > SLOW * before:
                factors = None
            past = [one[going] for one in (*past, change)]
            before, rows = sizes.max(), rows[going]
        return arrived

    def linear_solve(
        self,
        gates: Float[np.ndarray, " edge"],
        voltages: Float[np.ndarray, "batch node"],
        right: Float[np.ndarray, "batch free"],
        *,
        transposed: bool,
    ) -> Float[np.ndarray, "batch free"]:
        """Solve the Jacobian at operating points, or its transpose: factorized once, refined."""
        network = self.network
        fixed = np.zeros(network.num_free, bool)
        slopes = [np.asarray(s) for s in self._slopes(voltages, gates)]
        mean = np.concatenate([s.mean(axis=0) for s in slopes])
        factors = self._factorized(mean, None, fixed)
        found = np.full_like(right, np.nan)
        if factors is None:
            return found
        trans = "T" if transposed else "N"
        found = factors.solve(right.T, trans).T
        change = found
        for _ in range(MAX_REFINEMENTS):
            change = factors.solve((right - self._product(slopes, found, transposed)).T, trans).T
            found = found + change
            if np.abs(change).max(initial=0.0) <= REFINED * np.abs(found).max(initial=0.0):
                return found
        for k in range(len(found)):
            # Jacobians that differ too much for one to stand for the others.
            own = self._factorized(np.concatenate([s[k] for s in slopes]), None, fixed)
            found[k] = np.nan if own is None else own.solve(right[k], trans)
        return found

    def _product(self, slopes, vectors: np.ndarray, transposed: bool) -> np.ndarray:
        """Return the Jacobians, or their transposes, times vectors."""
        network = self.network
        full = np.pad(vectors, ((0, 0), (network.num_sources, 0)))
        drain, source = full[:, network.drains], full[:, network.sources]
        dd, ds, sd, ss = slopes
        if transposed:
            ds, sd = sd, ds
        found = network.gathered(dd * drain + ds * source, sd * drain + ss * source)
        return np.asarray(found + network.leak * vectors)


def _broyden(change: np.ndarray, past: list[np.ndarray]) -> np.ndarray:
    """Return a chord's step with what the steps since the factorization have taught.

    This is Broyden's method in the form that needs the steps alone (Kelley 1995, section 7.3).
    """
    for one, following in pairwise(past):
        change = change + following * _share(one, change)
    if past:
        last = past[-1]
        left = 1.0 - _share(last, change)
        change = change / np.where(np.abs(left) > SMALLEST_SHARE, left, 1.0)
    return change


def _share(step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return how much of a step is in a change, `batch 1`."""
    size = np.maximum((step**2).sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return (step * change).sum(axis=1, keepdims=True) / size
