"""What rules have in common that differentiate the cost by computation: no physical system does."""

import dataclasses

from eqprop_spice.errors import ConfigError
from eqprop_spice.rules.base import AbstractRule, Estimate, settle_free
from eqprop_spice.settled import Relaxation


@dataclasses.dataclass(frozen=True)
class AbstractBackpropagation(AbstractRule):
    """Differentiates the cost at the free state, exactly or through a relaxation."""

    @property
    def relaxation(self) -> Relaxation | None:
        """The relaxation that is differentiated through; None for the settled state itself."""
        return None

    @property
    def needs(self) -> frozenset[str]:
        """The gradient is computed, from the settled state or through a relaxation."""
        return frozenset({"adjoint" if self.relaxation is None else "relaxation"})

    @property
    def allows_read_noise(self) -> bool:
        """No: the gradient is computed, not read."""
        return False

    def __call__(
        self, substrate, params, inputs, targets, cost, *, start=None, key=None
    ) -> Estimate:
        """Return the gradient; see `AbstractRule`."""
        free = settle_free(substrate, params, inputs, targets, cost=cost, start=start)
        gradient, converged = substrate.cost_gradient(
            params, inputs, free.state, free.slopes, free.converged, self.relaxation
        )
        return Estimate(gradient, free.outputs, converged, free.state)


@dataclasses.dataclass(frozen=True)
class AbstractTruncated(AbstractBackpropagation):
    """Differentiates through some iterations of a relaxation.

    Attributes:
        num_iterations: Iterations that are differentiated through.
    """

    num_iterations: int = 15

    def __post_init__(self) -> None:
        """Refuse a gradient through nothing."""
        if self.num_iterations < 1:
            raise ConfigError(
                f"num_iterations is {self.num_iterations}; it must be at least 1, such as 15."
            )
