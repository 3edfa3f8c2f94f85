r"""Spiking units: comparators whose threshold is noisy, and traces of what they fire.

At every step unit i fires with the probability $p_i = \sigma(d_i)$ of its drive, and its trace
moves by $\alpha\,(\text{spike} - \text{trace})$. The noise of a threshold is logistic or normal.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float

from eqprop_spice.arrays import Array
from eqprop_spice.sampling.generator import step_keys, uniforms

THRESHOLD = 0.5
"""Drive at which a unit fires half of the time."""

State = tuple[Array, ...]
"""One number per unit of every layer, `batch ...` each."""

Drive = Callable[[State], State]
"""What every unit feels of the traces."""


@dataclasses.dataclass(frozen=True)
class Comparator:
    """A unit that fires if its drive and a random number are above a threshold.

    Attributes:
        noise: The distribution of the random number.
        width: Its scale: of a logistic number s in $1/(1 + e^{-x/s})$, of a normal its deviation.
    """

    noise: Literal["logistic", "normal"]
    width: float

    def probability(self, drive: Array) -> Array:
        """Return how often a unit fires."""
        above = (drive - THRESHOLD) / self.width
        return (
            jax.nn.sigmoid(above) if self.noise == "logistic" else jax.scipy.stats.norm.cdf(above)
        )

    def potential(self, rate: Array) -> Array:
        r"""Return $\int_0^r \sigma^{-1}(q)\,dq$: what an energy needs to be stationary at rates."""
        if self.noise == "logistic":
            entropy = jax.scipy.special.xlogy(rate, rate)
            entropy = entropy + jax.scipy.special.xlog1py(1.0 - rate, -rate)
            return THRESHOLD * rate + self.width * entropy
        quantile = jax.scipy.special.ndtri(rate)
        return THRESHOLD * rate - self.width * jax.scipy.stats.norm.pdf(quantile)

    @property
    def slope(self) -> float:
        """How steeply the rate rises with the drive at the threshold."""
        return (0.25 if self.noise == "logistic" else 0.3989422804014327) / self.width


@dataclasses.dataclass(frozen=True)
class Spiking:
    """How long units fire, and what is kept.

    Attributes:
        comparator: The unit.
        alpha: Share of the way to a spike that a trace moves.
        steps: Steps whose traces are averaged.
        burn_in: Steps before.
    """

    comparator: Comparator
    alpha: float
    steps: int
    burn_in: int

    def run(self, drive: Drive, start: State, key: Array, *, shared: int) -> State:
        """Return the mean traces.

        Args:
            drive: What units feel.
            start: Traces to start from.
            key: Random key.
            shared: How many rows, the first ones, have random numbers of their own; the others
                take theirs in turn.
        """

        def step(traces: State, key: Array) -> State:
            moved, offset = [], 0
            for trace, felt in zip(traces, drive(traces), strict=True):
                units = trace[0].size
                numbers = uniforms(key, (shared, units), offset=offset)
                numbers = jnp.tile(numbers, (len(trace) // shared, 1)).reshape(trace.shape)
                offset += shared * units
                spikes = (numbers < self.comparator.probability(felt)).astype(trace.dtype)
                moved.append(trace + self.alpha * (spikes - trace))
            return tuple(moved)

        def averaged(carry, key):
            traces = step(carry[0], key)
            return (traces, jax.tree.map(jnp.add, carry[1], traces)), None

        keys = step_keys(key, self.burn_in + self.steps)
        traces, _ = jax.lax.scan(lambda t, k: (step(t, k), None), start, keys[: self.burn_in])
        begin = traces, jax.tree.map(jnp.zeros_like, traces)
        (_, sums), _ = jax.lax.scan(averaged, begin, keys[self.burn_in :])
        return jax.tree.map(lambda total: total / self.steps, sums)


def mean_rates(
    comparator: Comparator, drive: Drive, start: State, *, tolerance: float, most: int
) -> tuple[State, Float[Array, " row"], Array]:
    """Return rates that are each other's, how far each row is from that, and steps taken.

    All rates move half of the way at once, which damps pairs that would swing.

    Args:
        comparator: The unit.
        drive: What units feel.
        start: Rates to start from.
        tolerance: Largest distance.
        most: After how many steps it ends in any case.
    """

    def distance(rates: State) -> tuple[State, Array]:
        changes = tuple(
            comparator.probability(felt) - rate
            for rate, felt in zip(rates, drive(rates), strict=True)
        )
        largest = [jnp.abs(c).reshape(len(c), -1).max(1) for c in changes]
        return changes, jnp.stack(largest).max(0)

    def step(carry):
        rates, changes, _, count = carry
        rates = jax.tree.map(lambda r, c: r + 0.5 * c, rates, changes)
        return rates, *distance(rates), count + 1

    begin = start, *distance(start), jnp.asarray(0)
    rates, _, residual, count = jax.lax.while_loop(
        lambda carry: (carry[2] > tolerance).any() & (carry[3] < most), step, begin
    )
    return rates, residual, count
