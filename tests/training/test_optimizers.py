"""Optimizers: the update in closed form, units of the rate, and bad names."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.training.optimizers import make_optimizer

PARAMS = {"a": jnp.array([1e-3, 3e-3]), "b": jnp.array([[0.1]])}
GRADIENT = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([[0.5]])}


def updated(optimizer: optax.GradientTransformation, steps: int = 1) -> dict[str, np.ndarray]:
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(steps):
        updates, state = optimizer.update(GRADIENT, state, params)
        params = optax.apply_updates(params, updates)
    return {name: np.asarray(value) for name, value in params.items()}  # pyright: ignore


def test_sgd_subtracts_the_gradient():
    after = updated(make_optimizer("sgd", 1e-4, num_steps=10))
    np.testing.assert_allclose(after["a"], [9e-4, 3.2e-3], rtol=1e-14)
    np.testing.assert_allclose(after["b"], [[0.09995]], rtol=1e-14)


def test_mean_conductance_makes_the_rate_dimensionless_in_the_conductance():
    after = updated(make_optimizer("sgd", 2.0, num_steps=10, scale="mean_conductance"))
    np.testing.assert_allclose(after["a"] - PARAMS["a"], -2.0 * 4e-6 * GRADIENT["a"], rtol=1e-9)
    np.testing.assert_allclose(after["b"] - PARAMS["b"], -2.0 * 1e-2 * GRADIENT["b"], rtol=1e-9)


def test_scaling_all_conductances_scales_the_scaled_update_alike():
    """A gradient has the unit V^2/S: conductances ten times larger have one ten times smaller."""
    optimizer = make_optimizer("sgd", 2.0, num_steps=1, scale="mean_conductance")
    changes = []
    for factor in (1.0, 10.0):
        params = {"a": factor * PARAMS["a"]}
        updates, _ = optimizer.update({"a": GRADIENT["a"] / factor}, optimizer.init(params), params)
        changes.append(np.asarray(updates["a"]) / np.asarray(params["a"]))  # pyright: ignore
    np.testing.assert_allclose(changes[0], changes[1], rtol=1e-12)


def test_cosine_schedule_ends_at_rest():
    optimizer = make_optimizer("sgd", 1e-4, num_steps=5, schedule="cosine")
    after, later = updated(optimizer, 5), updated(optimizer, 8)
    np.testing.assert_allclose(after["a"], later["a"], rtol=1e-12)
    assert (after["a"] != np.asarray(PARAMS["a"])).all()


def test_options_reach_optax():
    plain = updated(make_optimizer("sgd", 1e-4, num_steps=5), 2)
    heavy = updated(make_optimizer("sgd", 1e-4, num_steps=5, options={"momentum": 0.9}), 2)
    moved = heavy["b"] - np.asarray(PARAMS["b"])
    np.testing.assert_allclose(moved, 1.45 * (plain["b"] - np.asarray(PARAMS["b"])), rtol=1e-9)


@pytest.mark.parametrize("scale", ["absolute", "mean_conductance"])
def test_weight_decay_is_the_gradient_of_half_the_squared_conductances(scale):
    rate, decay = 1e-4, 50.0
    after = updated(make_optimizer("sgd", rate, num_steps=10, scale=scale, weight_decay=decay))
    for name, before in PARAMS.items():
        factor = float(before.mean()) ** 2 if scale == "mean_conductance" else 1.0
        expected = before - rate * factor * (GRADIENT[name] + decay * before)
        np.testing.assert_allclose(after[name], expected, rtol=1e-14)


def test_a_large_gradient_is_scaled_down_before_the_decay():
    norm = np.sqrt(sum((values**2).sum() for values in GRADIENT.values()))
    for largest in (0.5 * norm, 2.0 * norm):
        optimizer = make_optimizer(
            "sgd", 1e-4, num_steps=10, weight_decay=50.0, largest_gradient=float(largest)
        )
        after = updated(optimizer)
        for name, before in PARAMS.items():
            expected = before - 1e-4 * (min(largest / norm, 1.0) * GRADIENT[name] + 50.0 * before)
            np.testing.assert_allclose(after[name], expected, rtol=1e-14)


def test_the_optimizer_sees_the_decay():
    """Adam's first step has the sign of the gradient with its decay, not of the gradient."""
    decay = 1e4
    after = updated(make_optimizer("adam", 1e-5, num_steps=10, weight_decay=decay))
    for name, before in PARAMS.items():
        signs = np.sign(GRADIENT[name] + decay * before)
        np.testing.assert_allclose(after[name], before - 1e-5 * signs, rtol=1e-9)
    assert (after["a"] < np.asarray(PARAMS["a"])).all()  # the gradient of one of them is negative


@pytest.mark.parametrize("kind", ["adam", "adamw", "rmsprop", "lion", "sgd"])
def test_recommended_optimizers_exist(kind):
    after = updated(make_optimizer(kind, 1e-5, num_steps=5))
    assert (after["a"][0] < 1e-3) and (after["a"][1] > 2.9e-3)


def test_unknown_names_and_options_are_refused():
    with pytest.raises(ConfigError, match="no optimizer named 'sdg'"):
        make_optimizer("sdg", 1.0, num_steps=1)
    with pytest.raises(ConfigError, match="does not take these options"):
        make_optimizer("sgd", 1.0, num_steps=1, options={"momentun": 0.9})
    with pytest.raises(ConfigError):
        make_optimizer("cosine_decay_schedule", 1.0, num_steps=1)
    with pytest.raises(ConfigError):
        make_optimizer("global_norm", 1.0, num_steps=1)
    with pytest.raises(ConfigError):
        make_optimizer("__name__", 1.0, num_steps=1)


def test_the_exponential_schedule_falls_once_per_epoch():
    optimizer = make_optimizer(
        "sgd", 1e-4, num_steps=6, num_epochs=2, schedule="exponential", decay=0.5
    )
    # Three updates per epoch: three whole steps, then one of half the size.
    after = updated(optimizer, 4)["a"] - PARAMS["a"]
    # optax computes schedules in single precision.
    np.testing.assert_allclose(after, -3.5 * 1e-4 * GRADIENT["a"], rtol=1e-6)


def test_every_group_has_its_own_factor():
    after = updated(make_optimizer("sgd", 1e-4, num_steps=1, group_factors={"b": 3.0, "a": 0.5}))
    np.testing.assert_allclose(after["a"] - PARAMS["a"], -0.5e-4 * GRADIENT["a"], rtol=1e-9)
    np.testing.assert_allclose(after["b"] - PARAMS["b"], -3.0e-4 * GRADIENT["b"], rtol=1e-9)
