"""Equilibrium propagation in the limit of a vanishing nudge, from one linear solve."""

import dataclasses

from eqprop_spice.rules.base import AbstractRule, Estimate, free_slopes


@dataclasses.dataclass(frozen=True)
class SmallSignal(AbstractRule):
    r"""The limit beta -> 0, exactly: $\partial C/\partial g = \omega\,\Delta V\,\delta\Delta V$.

    The circuit is linearised at the free operating point and the error $-\partial C/\partial y$ is
    injected as a small signal; in SPICE this is one `.ac` point. There is no beta to choose. For a
    reciprocal circuit this equals the exact gradient.
    """

    @property
    def bears_read_noise(self) -> bool:
        """No: the small-signal response is computed, not read."""
        return False

    def __call__(self, substrate, params, inputs, targets, cost) -> Estimate:
        """Return the gradient; see `AbstractRule`."""
        free, outputs, converged, slopes = free_slopes(substrate, params, inputs, targets, cost)
        change, valid = substrate.respond(params, inputs, free, -slopes)
        converged = converged & valid
        return Estimate(substrate.contrast_rate(free, change, converged), outputs, converged)
