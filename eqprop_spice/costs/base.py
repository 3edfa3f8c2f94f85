"""What a cost is: how far the outputs of one sample are from its targets."""

import dataclasses

from jaxtyping import Float

from eqprop_spice.arrays import Array


@dataclasses.dataclass(frozen=True)
class AbstractCost:
    """The cost of one output vector; the loss is its mean over samples at the free state."""

    def value(
        self, outputs: Float[Array, "batch output"], targets: Float[Array, "batch output"]
    ) -> Float[Array, " batch"]:
        """Return the cost of each sample."""
        raise NotImplementedError

    def gradient(
        self, outputs: Float[Array, "batch output"], targets: Float[Array, "batch output"]
    ) -> Float[Array, "batch output"]:
        """Return the derivative of the cost by each output [1/V times the cost's unit]."""
        raise NotImplementedError
