"""What systems whose states are samples have in common."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from eqprop_spice.arrays import Array
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.errors import ConfigError
from eqprop_spice.sampling.diagnostics import FEWEST, describe
from eqprop_spice.sampling.draws import Draws, covariance_weights
from eqprop_spice.settled import Settled
from eqprop_spice.substrates.base import AbstractSubstrate

FEWEST_PARTS = 4
"""Parts of the draws, at least, whose spread tells the standard error of their mean."""

MIXED = 1.1
"""R-hat above which chains are said not to mix (Gelman et al. 2013)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractSampled(AbstractSubstrate):
    r"""A system whose state is a sample of $\rho \propto e^{-(E(\theta, s) + U(o(s)))/T}$.

    Its free energy $A = -T \log Z$ takes the place of an energy at its minimum: rules contrast
    averages of $\partial_\theta E$, and the contrast of two phases is the gradient of the
    difference of their free energies, exactly, whatever the nudge.

    Attributes:
        num_inputs: Number of inputs; taken from the data set if 0.
        num_outputs: Number of outputs; taken from the data set if 0.
        temperature: T, in units of the energy.
        chains: Chains per sample.
        burn_in: Steps of a chain before its first draw.
        draws: How many draws of every chain are kept.
        thinning: Steps from one draw to the next.
        common_numbers: Whether chains in different phases take the same random numbers, so that
            most of their noise cancels in a contrast.
        error: Standard error of the outputs that is asked for; samples above it count as not
            settled. 0 asks for none.
        warm_start: Whether training starts the chains of a minibatch where the last one's ended.
        readout: What is tested: the deterministic approximation that the system is without a
            random key ("mean"), or averages of its chains ("samples").

    References:
        Litman (2025), arXiv:2511.22024, theorems 3.1 and 3.4.
    """

    num_inputs: int = 0
    num_outputs: int = 0
    temperature: float = 1.0
    chains: int = 1
    burn_in: int = 10
    draws: int = 20
    thinning: int = 1
    common_numbers: bool = True
    error: float = 0.0
    warm_start: bool = False
    readout: str = "mean"

    def __post_init__(self) -> None:
        """Refuse settings that no chain can have."""
        if not (math.isfinite(self.temperature) and self.temperature > 0.0):
            raise ConfigError(
                f"temperature is {self.temperature}; it must be finite and positive. At 0 nothing "
                "is random: train a deterministic system, such as hopfield.Hopfield."
            )
        for name, least in (("chains", 1), ("draws", 1), ("thinning", 1), ("burn_in", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if not (math.isfinite(self.error) and self.error >= 0.0):
            raise ConfigError(f"error is {self.error}; it must be finite, and 0 to ask for none.")
        if self.readout not in ("mean", "samples"):
            raise ConfigError(f"readout is '{self.readout}'; it must be 'mean' or 'samples'.")

    # What the kinds differ in.

    @property
    def largest_variance(self) -> float:
        """The largest variance that an output may have; infinite where there is no bound."""
        return math.inf

    @property
    def counted(self) -> bool:
        """Whether states are a count of draws, and no whole distribution."""
        return True

    def output_draws(self, state: Draws) -> Float[Array, "batch draw output"]:
        """Return the outputs of every draw."""
        raise NotImplementedError

    # What follows.

    @property
    def random(self) -> bool:
        """Whether it draws."""
        return self.counted

    @property
    def random_tests(self) -> bool:
        """Whether tests of what was learned are drawn as well."""
        return self.readout == "samples"

    @property
    def warm(self) -> bool:
        """Whether `warm_start` is on."""
        return self.warm_start

    @property
    def abilities(self) -> frozenset[str]:
        """Averages over draws; there is no single state that responds or could be held."""
        return frozenset({"force", "spring", "sampling"})

    def check(self) -> None:
        """Refuse fewer draws than the error takes that is asked for."""
        if self.error and self.counted and math.isfinite(self.largest_variance):
            needed = math.ceil(self.largest_variance / self.error**2)
            if self.chains * self.draws < needed:
                raise ConfigError(
                    f"error is {self.error:g}, which takes {needed} independent draws of an output "
                    f"as uncertain as it can be, and chains times draws is "
                    f"{self.chains * self.draws}. Raise draws to "
                    f"{math.ceil(needed / self.chains)}, or ask for less."
                )

    def outputs(self, state: Draws) -> Float[Array, "batch output"]:
        """Return the mean outputs."""
        return state.mean(self.output_draws(state))

    def mean_cost_slope(
        self,
        params,
        inputs,
        state: Draws,
        cost: AbstractCost,
        targets,
        samples: Bool[Array, " batch"],
    ) -> dict[str, Array]:
        r"""Return the mean over samples of $-\mathrm{Cov}[C(o), \partial_\theta E]/T$."""
        costs = self._costs(state, cost, targets)
        weights = covariance_weights(state, costs, counted=self.counted)
        slopes = self.energy_gradient(params, inputs, state.reweighted(weights), samples)
        return {name: slope / -self.temperature for name, slope in slopes.items()}

    def expected_cost(self, state: Draws, cost: AbstractCost, targets) -> Float[Array, " batch"]:
        """Return the mean cost over draws."""
        return state.mean(self._costs(state, cost, targets))

    def _costs(self, state: Draws, cost: AbstractCost, targets) -> Float[Array, "batch draw"]:
        outputs = self.output_draws(state)
        wanted = jnp.broadcast_to(jnp.asarray(targets)[:, None], outputs.shape)
        flat = (array.reshape(-1, array.shape[-1]) for array in (outputs, wanted))
        return cost.value(*flat).reshape(outputs.shape[:2])

    def diagnostics(self, state: Draws) -> dict[str, float]:
        """Return how well the outputs of chains mix; nothing where there are no chains."""
        outputs = np.asarray(self.output_draws(state), float)
        count = outputs.shape[1] // self.chains
        if not self.counted or count < FEWEST:
            return {}
        series = outputs.reshape(len(outputs), self.chains, count, outputs.shape[2])
        figures = describe(series)
        stuck = figures["autocorrelation_time"] > count
        return {**figures, "not_mixed": float(figures["r_hat"] > MIXED or stuck)}

    def complaint(self, figures: dict[str, float]) -> str | None:
        """Say that chains do not mix, if they do not."""
        if not figures.get("not_mixed"):
            return None
        return (
            f"Chains do not mix: R-hat is {figures['r_hat']:.2f}, where up to {MIXED} is good, and "
            f"of {figures['autocorrelation_time']:.1f} draws one is independent. Averages depend "
            "on where chains start: raise burn_in, draws, thinning or the temperature."
        )

    def explain(self, settled: Any, sample: int) -> str:
        """Tell the standard error, and how many draws would do."""
        found = float(np.asarray(settled.residual)[sample])
        if not np.isfinite(found):
            return (
                "its chains never moved, or its state is not finite; lower the step or the "
                "learning rate, or raise burn_in"
            )
        needed = math.ceil(self.draws * (found / max(self.error, 1e-300)) ** 2)
        return (
            f"the standard error of an output is {found:.1e}, above the error of {self.error:.1e} "
            f"that is asked for; about {needed} draws per chain would do"
        )

    def _settled(self, draws: Draws, steps: Int[Array, ""] | int) -> Settled:
        """Return draws with the standard error of the outputs as their residual."""
        outputs = self.output_draws(draws)
        residual = standard_error(outputs, self.chains)
        finite = jnp.isfinite(outputs).all((1, 2))
        good = finite & (residual <= self.error) if self.error else finite
        count = jnp.broadcast_to(jnp.asarray(steps), residual.shape)
        return Settled(draws, good, residual, count)


def standard_error(
    outputs: Float[Array, "batch draw output"], chains: int
) -> Float[Array, " batch"]:
    """Return the standard error of the most uncertain mean, from the spread of parts of the draws.

    Chains, or halves and smaller parts of few chains, are taken to be independent; infinite where
    there are too few draws to tell.
    """
    batch, total, width = outputs.shape
    cuts = -(-FEWEST_PARTS // chains)
    length = total // chains // cuts
    if length == 0:
        return jnp.full(batch, jnp.inf)
    series = outputs.reshape(batch, chains, total // chains, width)[:, :, : cuts * length]
    parts = series.reshape(batch, chains * cuts, length, width).mean(2)
    return jnp.sqrt(parts.var(1, ddof=1).max(-1) / (chains * cuts))


def lane_major(values: Array) -> Array:
    """Return `draw unit phase batch chain` as `phase batch draw unit`, chain after chain."""
    count, units, phases, batch, chains = values.shape
    moved = values.transpose(2, 3, 4, 0, 1)
    return moved.reshape(phases, batch, chains * count, units)


def phase_rows(tree: Any, number: int) -> Any:
    """Return one phase of a tree of arrays `phase ...`."""
    return jax.tree.map(lambda leaf: leaf[number], tree)
