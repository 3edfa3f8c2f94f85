"""Pulsed devices: their laws by closed forms, their statistics, and training with them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.run import train
from eqprop_spice.updates.base import AbstractPulsed, PulsedState, seeded, with_devices
from eqprop_spice.updates.published import (
    Capacitor,
    EcRam,
    Idealized,
    MetalOxideEcRam,
    PhaseChange,
    ReRamExponential,
    ReRamSoftBounds,
)
from eqprop_spice.updates.pulsed import (
    ConstantStep,
    ExponentialStep,
    LinearStep,
    PowerStep,
    SoftBounds,
)

EXACT: dict[str, Any] = {
    "lower": 1e-4,
    "upper": 2e-2,
    "num_states": 100.0,
    "step_spread": 0.0,
    "up_down_spread": 0.0,
    "cycle_spread": 0.0,
}
"""Devices that are all alike, with steps of 0.02 between -1 and 1."""

KINDS = (ConstantStep, LinearStep, SoftBounds, ExponentialStep, PowerStep)
PUBLISHED = (
    ReRamSoftBounds,
    ReRamExponential,
    EcRam,
    MetalOxideEcRam,
    Capacitor,
    Idealized,
    PhaseChange,
)


def changed(device: AbstractPulsed, start: np.ndarray, pulses: float, times: int = 1) -> np.ndarray:
    """Return w after asking some times for so many steps."""
    transformation = device.transformation()
    params: Any = {"g": device.conductance(jnp.asarray(start))}
    state = transformation.init(params)
    unit = device.step * (device.upper - device.lower) / (device.high - device.low)
    for _ in range(times):
        updates, state = transformation.update(
            {"g": jnp.full(start.shape, pulses * unit)}, state, params
        )
        params = optax.apply_updates(params, updates)
    return np.asarray(device.state_of(params["g"]))


def test_constant_steps_add_up_to_the_bounds():
    device, start = ConstantStep(**EXACT), np.array([-0.5, 0.0, 0.99])
    np.testing.assert_allclose(changed(device, start, 3.0), [-0.44, 0.06, 1.0], atol=1e-12)
    np.testing.assert_allclose(changed(device, start, -3.0), [-0.56, -0.06, 0.93], atol=1e-12)


def test_soft_bounds_are_approached_geometrically():
    # w after n pulses up: 1 - (1 - w)(1 - d)^n.
    start, d, n = np.array([-0.5, 0.0, 0.9]), 0.02, 5
    found = changed(SoftBounds(**EXACT), start, float(n))
    np.testing.assert_allclose(found, 1.0 - (1.0 - start) * (1.0 - d) ** n, atol=1e-12)
    found = changed(SoftBounds(**EXACT), start, -float(n))
    np.testing.assert_allclose(found, -1.0 + (1.0 + start) * (1.0 - d) ** n, atol=1e-12)


def test_one_pulse_of_every_kind_is_its_formula():
    w, d = 0.3, 0.02
    expected = {
        LinearStep(**EXACT, gamma_up=0.5, gamma_down=0.2): (
            d * (1 - 0.5 * w),
            d * (1 + 0.2 * w),
        ),
        PowerStep(**EXACT, gamma=2.0): (d * 0.35**2, d * 0.65**2),
        ExponentialStep(
            **EXACT, amplitude_up=0.1, gamma_up=2.0, amplitude_down=0.2, gamma_down=3.0
        ): (
            d * (1 - 0.1 * np.exp(2.0 * (0.244 * w + 0.2425))),
            d * (1 - 0.2 * np.exp(-3.0 * (0.244 * w + 0.2425))),
        ),
    }
    for device, (up, down) in expected.items():
        start = np.array([w])
        assert changed(device, start, 1.0)[0] - w == pytest.approx(up, rel=1e-9)
        assert w - changed(device, start, -1.0)[0] == pytest.approx(down, rel=1e-9)


def test_up_and_down_differ_as_they_are_told():
    device, start = ConstantStep(**EXACT, up_down=0.25), np.array([0.0])
    assert changed(device, start, 1.0)[0] == pytest.approx(0.02 * 1.25)
    assert changed(device, start, -1.0)[0] == pytest.approx(-0.02 * 0.75)


def test_stochastic_rounding_is_right_on_average_and_nearest_is_not():
    start = np.zeros(20_000)
    found = changed(ConstantStep(**EXACT), start, 0.3)
    # Of a Bernoulli variable: standard error sqrt(0.3 0.7 / 20000) d.
    assert found.mean() == pytest.approx(0.3 * 0.02, abs=5 * 0.02 * np.sqrt(0.21 / 20_000))
    assert set(np.round(found / 0.02, 9)) == {0.0, 1.0}
    assert not changed(ConstantStep(**EXACT, rounding="nearest"), start, 0.3).any()


def test_mixed_precision_owes_what_it_has_not_made():
    device = ConstantStep(**EXACT, mixed_precision=True)
    found = [changed(device, np.zeros(1), 0.3, times=k)[0] / 0.02 for k in (3, 4, 7)]
    np.testing.assert_allclose(found, [0.0, 1.0, 2.0], atol=1e-9)


def test_spreads_are_those_of_the_chip():
    many = (20_000,)
    spread = {**EXACT, "step_spread": 0.2, "bound_spread": 0.1, "up_down_spread": 0.05}
    made = ConstantStep(**spread).devices(many, jax.random.key(0))
    assert float(made.high.std()) == pytest.approx(0.1, rel=0.05)
    size = np.asarray(0.5 * (made.up + made.down)) / 0.02
    assert size.std() == pytest.approx(0.2, rel=0.05)
    assert (np.asarray(made.up / made.down) - 1.0).std() == pytest.approx(0.1, rel=0.1)
    noisy = ConstantStep(**{**EXACT, "cycle_spread": 0.3})
    found = changed(noisy, np.zeros(many), 4.0) / 0.02
    assert found.mean() == pytest.approx(4.0, abs=0.03)
    assert found.std() == pytest.approx(0.3 * 2.0, rel=0.05)


def test_time_alone_moves_devices():
    start = np.array([-0.5, 0.5])
    leaking = ConstantStep(**EXACT, lifetime=10.0)
    np.testing.assert_allclose(changed(leaking, start, 0.0, 5), start * np.exp(-0.5), rtol=1e-9)
    drifting = ConstantStep(**EXACT, drift=0.1)
    ratio = drifting.conductance(changed(drifting, start, 0.0, 7)) / drifting.conductance(start)
    np.testing.assert_allclose(ratio, 8.0**-0.1, rtol=1e-9)


def test_write_noise_comes_with_a_pulse_and_stays_until_the_next():
    device = ConstantStep(**{**EXACT, "write_noise": 2.0})
    start = np.zeros(20_000)
    assert not changed(device, start, 0.0).any()
    found = changed(device, start, 1.0) / 0.02
    assert found.mean() == pytest.approx(1.0, abs=0.08)
    assert found.std() == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("kind", [*KINDS, *PUBLISHED])
def test_every_kind_keeps_conductances_positive_under_compilation(kind):
    device = kind(lower=1e-4, upper=2e-2)
    transformation = with_devices(optax.sgd(1.0), device)
    params: Any = {"g": jnp.linspace(1e-4, 2e-2, 50)}
    state = seeded(transformation.init(params), 3)
    step = jax.jit(transformation.update)
    for sign in (1.0, -1.0, -1.0):
        updates, state = step({"g": jnp.full(50, 3e-3 * sign)}, state, params)
        params = optax.apply_updates(params, updates)
        values = np.asarray(params["g"])
        assert np.isfinite(values).all() and (values > 0.0).all()
    (inner,) = [part for part in state if isinstance(part, PulsedState)]
    assert int(inner.seed) == 3 and int(inner.count) == 3


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"lower": 0.0}, "must be positive and in ascending order"),
        ({"upper": 1e-5}, "must be positive and in ascending order"),
        ({"low": 0.1}, "0 must lie between them"),
        ({"num_states": 1.0}, "needs two states"),
        ({"max_pulses": 0}, "needs two states and a pulse"),
        ({"cycle_spread": -0.1}, "cycle_spread is -0.1"),
    ],
)
def test_what_is_no_device_is_refused(values, reason):
    with pytest.raises(ConfigError, match=reason):
        ConstantStep(**(EXACT | values))


FILE = """
name = "pulsed"
engine = "native"
[dataset]
kind = "logic.SingleSample"
inputs = [1.0]
targets = [0.2]
[circuit]
differential = false
layers = [{ kind = "dense.Dense", num_outputs = 1, bias = [-1.0] }]
[initializer]
kind = "uniform.Uniform"
lower = 1e-4
upper = 1e-2
[rule]
kind = "small_signal.SmallSignal"
[optimizer]
learning_rate = 1e-4
[update]
kind = "published.EcRam"
lower = 1e-4
upper = 2e-2
[training]
epochs = 12
"""


def test_a_run_with_devices_resumes_exactly(tmp_path):
    (tmp_path / "x.toml").write_text(FILE)
    whole = train(Experiment.load(tmp_path / "x.toml"), tmp_path / "whole")
    steps = []

    def stop(epoch: int, figures: dict[str, float]) -> None:
        steps.append(epoch)
        if epoch == 5 and len(steps) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Experiment.load(tmp_path / "x.toml"), tmp_path / "part", progress=stop)
    resumed = train(resume=tmp_path / "part")
    for name, values in whole.params.items():
        assert np.array_equal(values, resumed.params[name])


def test_seeds_are_chips():
    device = dataclasses.replace(ConstantStep(**EXACT), step_spread=0.3)
    transformation = device.transformation()
    params = {"g": jnp.full(5, 1e-2)}
    found = []
    for seed in (0, 0, 1):
        state = seeded(transformation.init(params), seed)
        changes: Any = transformation.update({"g": jnp.full(5, 1e-3)}, state, params)[0]
        found.append(np.asarray(changes["g"]))
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])
