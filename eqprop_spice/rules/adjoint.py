"""The exact gradient, by the adjoint of Kirchhoff's equations: "backprop"."""

import dataclasses

from eqprop_spice.phases import Free
from eqprop_spice.rules.base import AbstractRule, Estimate


@dataclasses.dataclass(frozen=True)
class Adjoint(AbstractRule):
    r"""The gradient that every other rule estimates; a reference, not something a circuit does.

    At a free operating point $f(u, g) = 0$ it solves $J^T \lambda = \partial C/\partial u$ and
    returns $dC/dg = -\lambda^T \partial f/\partial g$. It needs neither a nudge nor reciprocity.
    """

    @property
    def bears_read_noise(self) -> bool:
        """No: the adjoint is computed, not read."""
        return False

    def __call__(self, substrate, params, inputs, targets, cost) -> Estimate:
        """Return the gradient; see `AbstractRule`."""
        (free,) = substrate.settle(params, inputs, [Free()])
        outputs = substrate.outputs(free)
        converged = substrate.converged(free)
        xp = outputs.__array_namespace__()
        slopes = xp.where(converged[:, None], cost.gradient(outputs, targets), 0.0)
        gradient, converged = substrate.cost_gradient(params, inputs, free, slopes, converged)
        return Estimate(gradient, outputs, converged)
