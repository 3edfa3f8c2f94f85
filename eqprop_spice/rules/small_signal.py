"""Equilibrium propagation in the limit of a vanishing nudge, from one linear solve."""

import dataclasses

from eqprop_spice.rules.base import AbstractRule, Estimate, settle_free


@dataclasses.dataclass(frozen=True)
class SmallSignal(AbstractRule):
    r"""The limit beta -> 0, exactly: $\partial C/\partial g = \omega\,\Delta V\,\delta\Delta V$.

    The circuit is linearised at the free operating point and the error $-\partial C/\partial y$ is
    injected as a small signal; in SPICE this is one `.ac` point. There is no beta to choose. For a
    reciprocal circuit this equals the exact gradient.
    """

    @property
    def needs(self) -> frozenset[str]:
        """The response is computed."""
        return frozenset({"response"})

    @property
    def allows_read_noise(self) -> bool:
        """No: the small-signal response is computed, not read."""
        return False

    def __call__(
        self, substrate, params, inputs, targets, cost, *, start=None, key=None
    ) -> Estimate:
        """Return the gradient; see `AbstractRule`."""
        free = settle_free(substrate, params, inputs, targets, cost=cost, start=start)
        change, valid = substrate.respond(params, inputs, free.state, -free.slopes)
        converged = free.converged & valid
        gradient = substrate.contrast_rate(params, inputs, free.state, change, converged)
        return Estimate(gradient, free.outputs, converged, free.state)
