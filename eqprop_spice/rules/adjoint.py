"""The exact gradient, by the adjoint of Kirchhoff's equations: "backprop"."""

import dataclasses

from eqprop_spice.rules.backpropagation import AbstractBackpropagation


@dataclasses.dataclass(frozen=True)
class Adjoint(AbstractBackpropagation):
    r"""The gradient that every other rule estimates; a reference, not something a circuit does.

    At a free operating point $f(u, g) = 0$ it solves $J^T \lambda = \partial C/\partial u$ and
    returns $dC/dg = -\lambda^T \partial f/\partial g$. It needs neither a nudge nor reciprocity.
    """
