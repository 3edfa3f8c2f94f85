"""Finite-nudge equilibrium propagation along the path of nudges, by covariances."""

import dataclasses
from typing import Any

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import Free, Spring
from eqprop_spice.rules.base import AbstractRule, Estimate


@dataclasses.dataclass(frozen=True)
class PathIntegral(AbstractRule):
    r"""$\nabla J_\beta = -\frac{1}{T} \int_0^1 \mathrm{Cov}_{u\beta}[\ell, \partial_\theta E] du$.

    The integral over the strength of the nudge is a Gauss-Legendre sum; every node settles in a
    phase of its own. It equals the difference of P-EP at the same beta in the mean, but no small
    difference is divided by beta: its noise stays finite as beta goes to zero. At beta 0 it is the
    gradient of $\langle\ell\rangle$ in the free phase, from one phase alone.

    Attributes:
        beta: Strength of the nudge at the end of the path, 0 or more.
        nodes: Nodes of the sum; exact for polynomials in u of the degree 2 nodes - 1.

    References:
        Litman (2025), arXiv:2511.22024, theorem 3.4.
    """

    beta: float | Array = 1.0
    nodes: int = 4

    def __post_init__(self) -> None:
        """Refuse a path backwards, and a sum of nothing."""
        if isinstance(self.beta, int | float) and not 0.0 <= self.beta < float("inf"):
            raise ConfigError(f"beta is {self.beta}; it must be finite, and 0 or more.")
        if self.nodes < 1:
            raise ConfigError(f"nodes is {self.nodes}; it must be at least 1.")

    @property
    def nudge_strength(self) -> Any:
        """Beta."""
        return self.beta

    def nudged_by(self, beta: Any) -> "PathIntegral":
        """Return this rule with another beta."""
        return dataclasses.replace(self, beta=beta)

    @property
    def needs(self) -> frozenset[str]:
        """Springs at the outputs, and covariances of draws."""
        return frozenset({"spring", "sampling"})

    def check_cost(self, cost) -> None:
        """Refuse anything but the squared error, which a spring is the potential of."""
        if not isinstance(cost, SquaredError):
            raise ConfigError(
                f"PathIntegral nudges by a spring, whose energy is the squared error, and not by "
                f"{type(cost).__name__}. Use costs.squared_error.SquaredError."
            )

    def phases(self, targets, cost) -> list:
        """Return a spring per node; none at beta 0, where the free phase has all."""
        if isinstance(self.beta, int | float) and self.beta == 0.0:
            return []
        places, _ = np.polynomial.legendre.leggauss(self.nodes)
        return [Spring(0.5 * (1.0 + float(u)) * self.beta, targets) for u in places]

    def __call__(
        self, substrate, params, inputs, targets, cost, *, start=None, key=None
    ) -> Estimate:
        """Return the sum over nodes; see `AbstractRule`."""
        self.check_cost(cost)
        phases = self.phases(targets, cost)
        free, *nudged = substrate.settle(params, inputs, [Free(), *phases], start=start, key=key)
        shares = 0.5 * np.polynomial.legendre.leggauss(self.nodes)[1] if nudged else [1.0]
        points = nudged or [free]
        converged = free.converged
        for point in nudged:
            converged = converged & point.converged
        slopes = [
            substrate.mean_cost_slope(params, inputs, point.state, cost, targets, converged)
            for point in points
        ]
        gradient: dict[str, Array] = {name: 0.0 * slopes[0][name] for name in slopes[0]}
        for share, slope in zip(shares, slopes, strict=True):
            gradient = {
                name: total + float(share) * slope[name] for name, total in gradient.items()
            }
        return Estimate(gradient, substrate.outputs(free.state), converged, free.state)
