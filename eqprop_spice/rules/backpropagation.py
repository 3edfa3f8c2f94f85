"""What rules have in common that differentiate the cost by computation: no physical system does."""

import dataclasses

from eqprop_spice.engines.relaxation import Relaxation
from eqprop_spice.errors import ConfigError
from eqprop_spice.rules.base import AbstractRule, Estimate, free_slopes


@dataclasses.dataclass(frozen=True)
class AbstractBackpropagation(AbstractRule):
    """Differentiates the cost at the free state, exactly or through a relaxation."""

    @property
    def relaxation(self) -> Relaxation | None:
        """The relaxation that is differentiated through; None for the settled state itself."""
        return None

    @property
    def bears_read_noise(self) -> bool:
        """No: the gradient is computed, not read."""
        return False

    def __call__(self, substrate, params, inputs, targets, cost) -> Estimate:
        """Return the gradient; see `AbstractRule`."""
        free, outputs, converged, slopes = free_slopes(substrate, params, inputs, targets, cost)
        gradient, converged = substrate.cost_gradient(
            params, inputs, free, slopes, converged, self.relaxation
        )
        return Estimate(gradient, outputs, converged)


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
