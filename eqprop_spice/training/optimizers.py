"""Optimizers from optax, and learning rates that know what a conductance is."""

import difflib
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from eqprop_spice.arrays import Array
from eqprop_spice.errors import ConfigError

COMMON = ("sgd", "adam", "adamw", "rmsprop", "adagrad", "lion", "nadam")
"""Optimizers to suggest; any other that optax has works too."""

Scale = Literal["absolute", "mean_conductance"]
Schedule = Literal["constant", "cosine", "exponential"]


def scale_by_mean_conductance() -> optax.GradientTransformation:
    r"""Multiply the updates of each group by the square of its mean conductance [S^2].

    A rate alpha of $dg = -\alpha\,dC/dg$ has the unit S^2/V^2, so a value that suits conductances
    of 0.1 S is 10^4 times too large at 1 mS. With this factor the rate is in 1/V^2 and transfers
    between conductance ranges.
    """

    def update(updates, state, params=None):
        assert params is not None, "the scaling needs the conductances"
        scaled = jax.tree.map(lambda u, g: u * jnp.mean(g) ** 2, updates, params)
        return scaled, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_group(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiply the updates of each group by a factor of its own."""

    def update(updates, state, params=None):
        return {name: factors[name] * u for name, u in updates.items()}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def make_optimizer(
    kind: str,
    learning_rate: Array | float,
    *,
    num_steps: int,
    num_epochs: int = 1,
    scale: Scale = "absolute",
    schedule: Schedule = "constant",
    options: dict[str, float] | None = None,
    weight_decay: float = 0.0,
    largest_gradient: float | None = None,
    decay: float = 0.99,
    group_factors: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    r"""Return an optax optimizer by name.

    With a weight decay $\lambda$ the optimizer gets $dC/dg + \lambda g$, the gradient of
    $C + \lambda \sum g^2/2$, as SGD with weight decay has it; the decay of "adamw", which the
    optimizer does not see, is an option of it.

    Args:
        kind: Name of a function of optax that takes a learning rate, such as "sgd" or "adam".
        learning_rate: For "sgd" [S^2/V^2], or [1/V^2] when scaled by the mean conductance; for
            "adam" and its kin [S], or [1/S] when scaled.
        num_steps: Number of updates of the whole run, for the schedule.
        scale: "mean_conductance" multiplies each group's update by its mean(g)^2.
        num_epochs: Number of epochs of the whole run, for the schedule.
        schedule: "cosine" lets the rate fall to zero over the run, "exponential" by a factor at the
            end of every epoch.
        options: Further arguments of the optax function, such as momentum.
        weight_decay: Times the conductance, added to the gradient [V^2/S^2]; for rules with held
            outputs, whose estimates are in V^2, [V^2/S].
        largest_gradient: Norm over all groups to which a larger gradient is scaled down, before the
            weight decay is added.
        decay: The factor of the exponential schedule.
        group_factors: Factors of the rate by group name.

    Raises:
        ConfigError: If optax has no such optimizer or it has no such option.
    """
    factory = getattr(optax, kind, None)
    if not callable(factory):
        near = difflib.get_close_matches(kind, COMMON, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Try {', '.join(COMMON)}."
        raise ConfigError(f"optax has no optimizer named '{kind}'. {hint}")
    rate = learning_rate
    if schedule == "cosine":
        rate = optax.cosine_decay_schedule(learning_rate, max(num_steps, 1))
    elif schedule == "exponential":
        steps_per_epoch = max(num_steps // max(num_epochs, 1), 1)
        rate = optax.exponential_decay(learning_rate, steps_per_epoch, decay, staircase=True)
    try:
        base = factory(learning_rate=rate, **(options or {}))
    except TypeError as error:
        raise ConfigError(f"optax.{kind} does not take these options: {error}.") from error
    if not isinstance(base, optax.GradientTransformation):
        raise ConfigError(f"optax.{kind} is not an optimizer; try sgd or adam.")
    parts = [base]
    if weight_decay:
        parts.insert(0, optax.add_decayed_weights(weight_decay))
    if largest_gradient is not None:
        parts.insert(0, optax.clip_by_global_norm(largest_gradient))
    if scale == "mean_conductance":
        parts.append(scale_by_mean_conductance())
    if group_factors:
        parts.append(scale_by_group(group_factors))
    return optax.chain(*parts) if len(parts) > 1 else base
