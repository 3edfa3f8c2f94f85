"""The exact gradient, by the adjoint of Kirchhoff's equations: "backprop"."""

import dataclasses

from eqprop_spice.errors import ConfigError
from eqprop_spice.phases import Free
from eqprop_spice.relaxation import Relaxation
from eqprop_spice.rules.base import AbstractRule, Estimate


@dataclasses.dataclass(frozen=True)
class Adjoint(AbstractRule):
    r"""The gradient that every other rule estimates; a reference, not something a circuit does.

    At a free operating point $f(u, g) = 0$ it solves $J^T \lambda = \partial C/\partial u$ and
    returns $dC/dg = -\lambda^T \partial f/\partial g$. It needs neither a nudge nor reciprocity.
    """

    @property
    def relaxation(self) -> Relaxation | None:
        """The relaxation that is differentiated through; None for the adjoint system itself."""
        return None

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
        gradient, converged = substrate.cost_gradient(
            params, inputs, free, slopes, converged, self.relaxation
        )
        return Estimate(gradient, outputs, converged)


def check_iterations(num_iterations: int) -> None:
    """Refuse a number of iterations that leaves no gradient.

    Raises:
        ConfigError: If so.
    """
    if num_iterations < 1:
        raise ConfigError(f"num_iterations is {num_iterations}; it must be at least 1, such as 15.")
