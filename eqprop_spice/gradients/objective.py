"""The objective of a finite nudge, and what it has to do with the loss."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.phases import Free, Spring
from eqprop_spice.substrates.base import AbstractSubstrate, Params, require


@dataclasses.dataclass(frozen=True)
class Objective:
    r"""What P-EP with the nudge beta descends, as means over samples.

    $J_\beta = (A(\beta) - A(0))/\beta$ with the free energy A. It lies between the two losses:
    $\langle\ell\rangle_\beta \le J_\beta \le \langle\ell\rangle_0$.

    Attributes:
        beta: The nudge.
        value: $J_\beta = \int_0^1 \langle\ell\rangle_{u\beta}\,du$.
        free_loss: The mean loss of the free phase.
        nudged_loss: The mean loss in the nudged phase.

    References:
        Litman (2025), arXiv:2511.22024, theorems 4.2 and 5.1.
    """

    beta: float
    value: float
    free_loss: float
    nudged_loss: float

    @property
    def divergence(self) -> float:
        r"""$J_\beta - \langle\ell\rangle_\beta = T\,\mathrm{KL}(\rho_\beta | \rho_0)/\beta$."""
        return self.value - self.nudged_loss


def objective(
    substrate: AbstractSubstrate,
    params: Params,
    inputs: Float[Array, "batch ..."],
    targets: Float[Array, "batch output"],
    *,
    cost: AbstractCost,
    beta: float,
    nodes: int = 16,
    key: Any = None,
) -> Objective:
    """Return the objective by thermodynamic integration: the mean loss along the path of nudges.

    Args:
        substrate: A system whose states are draws.
        params: Its parameters.
        inputs: Inputs.
        targets: Targets.
        cost: The squared error, which the springs of a nudge are.
        beta: The nudge, above zero.
        nodes: Nodes of the Gauss-Legendre sum.
        key: Random key, where the system is random.

    Raises:
        ConfigError: If states are no draws.
    """
    require(substrate, "sampling", "The objective of a finite nudge")
    places, weights = np.polynomial.legendre.leggauss(nodes)
    strengths = [*(0.5 * (1.0 + u) * beta for u in places.tolist()), beta]
    phases = [Free(), *(Spring(strength, targets) for strength in strengths)]
    points = substrate.settle(params, inputs, phases, key=key)
    free, *path, end = (
        float(np.asarray(substrate.expected_cost(p.state, cost, targets)).mean()) for p in points
    )
    return Objective(beta, float(0.5 * weights @ np.array(path)), free, end)
