"""Symmetric block-tridiagonal matrices, closed to a ring or not: solved in linear time."""

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import get_lapack_funcs

FACTOR, SOLVE = get_lapack_funcs(("gbtrf", "gbtrs"), dtype=np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class BlockTridiagonal:
    """A symmetric matrix of blocks next to its diagonal, indefinite in general.

    A ring is folded: its blocks in the order 0, n - 1, 1, n - 2, ... have no neighbor further than
    two places away. So LAPACK's banded LU with row pivoting solves it, whatever the signs of its
    eigenvalues, and no part of it needs to be regular by itself.

    Attributes:
        diagonal: Blocks on the diagonal.
        upper: Block j couples j with j + 1; the last of a ring couples the last with the first.
        ring: Whether it is a ring, of at least three blocks.
    """

    diagonal: Float[np.ndarray, "block d d"]
    upper: Float[np.ndarray, "link d d"]
    ring: bool

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""
        return len(self.diagonal)

    @functools.cached_property
    def _places(self) -> Int[np.ndarray, " block"]:
        """Where in the folded order each block stands."""
        count = self.num_blocks
        if not self.ring:
            return np.arange(count)
        places = np.empty(count, int)
        first = (count + 1) // 2
        places[:first] = 2 * np.arange(first)
        places[first:] = 2 * np.arange(count - first)[::-1] + 1
        return places

    @property
    def _width(self) -> int:
        """Number of subdiagonals."""
        return (3 if self.ring else 2) * self.diagonal.shape[1] - 1

    def _banded(self) -> Float[np.ndarray, "row column"]:
        """Return the folded matrix as LAPACK stores it, with room for the rows of pivoting."""
        d, width, count = self.diagonal.shape[1], self._width, self.num_blocks
        stored = np.zeros((3 * width + 1, d * count), order="F")
        here, following = self._places, np.roll(self._places, -1)[: len(self.upper)]

        def put(rows: np.ndarray, columns: np.ndarray, block: np.ndarray) -> None:
            for a in range(d):
                for b in range(d):
                    lines = 2 * width + (rows - columns) * d + a - b
                    stored[lines, columns * d + b] = block[:, a, b]

        put(here, here, self.diagonal)
        here = here[: len(self.upper)]
        put(here, following, self.upper)
        put(following, here, self.upper.transpose(0, 2, 1))
        return stored

    @functools.cached_property
    def _factors(self) -> tuple[Any, Any]:
        width = self._width
        factors, pivots, failed = FACTOR(self._banded(), width, width, overwrite_ab=1)
        if failed > 0:
            # Exactly singular: a nearby matrix still shows along what.
            nudged = self._banded()
            nudged[2 * width] += np.finfo(float).eps * self.scale
            factors, pivots, _ = FACTOR(nudged, width, width, overwrite_ab=1)
        return factors, pivots

    @property
    def scale(self) -> float:
        """The largest sum of magnitudes in a row, about."""
        sums = abs(self.diagonal).sum(2).max()
        return float(sums + 2.0 * abs(self.upper).sum(2).max())

    def solve(self, values: Float[np.ndarray, "block d"]) -> Float[np.ndarray, "block d"]:
        """Return the solution of a system; not finite if the matrix is singular."""
        factors, pivots = self._factors
        folded = np.empty_like(values)
        folded[self._places] = values
        found, _ = SOLVE(factors, self._width, self._width, folded.reshape(-1, 1), pivots)
        return found.reshape(values.shape)[self._places]

    def __matmul__(self, values: Float[np.ndarray, "block d"]) -> Float[np.ndarray, "block d"]:
        """Return a product."""
        product = np.einsum("nij,nj->ni", self.diagonal, values)
        count = len(self.upper)
        following = np.roll(values, -1, 0)[:count]
        product[:count] += np.einsum("nij,nj->ni", self.upper, following)
        back = np.einsum("nij,ni->nj", self.upper, values[:count])
        if self.ring:
            return product + np.roll(back, 1, 0)
        product[1:] += back
        return product

    def smallest(self, steps: int = 3) -> tuple[float, Float[np.ndarray, "block d"]]:
        """Return about the smallest magnitude of an eigenvalue, and its vector, by iteration."""
        vector = np.random.default_rng(0).standard_normal(self.diagonal.shape[:2])
        size = 1.0
        for _ in range(steps):
            vector = vector / np.linalg.norm(vector)
            with np.errstate(over="ignore", invalid="ignore"):
                vector = self.solve(vector)
            size = float(np.linalg.norm(vector))
            if not np.isfinite(size):
                return 0.0, np.zeros(self.diagonal.shape[:2])
        return 1.0 / size, vector / size

    def num_negative(self) -> int:
        """Return how many eigenvalues are negative, by Sylvester's law of inertia.

        Blocks j and n - 1 - j together make a plain block-tridiagonal matrix of any ring.
        """
        diagonal, upper = self._paired() if self.ring else (list(self.diagonal), list(self.upper))
        count, pivot = 0, diagonal[0]
        for block, link in zip([*diagonal[1:], None], [*upper, None], strict=True):
            count += int((np.linalg.eigvalsh(pivot) < 0.0).sum())
            if block is not None and link is not None:
                pivot = block - link.T @ np.linalg.solve(pivot, link)
        return count

    def _paired(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the blocks of the matrix that pairs of blocks of a ring make."""
        count, d = self.num_blocks, self.diagonal.shape[1]
        zero = np.zeros((d, d))
        half = count // 2
        low, high = self.diagonal[:half], self.diagonal[count - half :][::-1]
        diagonal = [np.block([[a, zero], [zero, b]]) for a, b in zip(low, high, strict=True)]
        links = [
            np.block([[self.upper[j], zero], [zero, self.upper[count - 2 - j].T]])
            for j in range(half - 1)
        ]
        closing = np.block([[zero, self.upper[-1].T], [self.upper[-1], zero]])
        diagonal[0] = diagonal[0] + closing
        if count % 2:
            diagonal.append(self.diagonal[half])
            links.append(np.concatenate([self.upper[half - 1], self.upper[half].T]))
        else:
            meeting = self.upper[half - 1]
            inner = np.block([[zero, meeting], [meeting.T, zero]])
            diagonal[-1] = diagonal[-1] + inner
        return diagonal, links
