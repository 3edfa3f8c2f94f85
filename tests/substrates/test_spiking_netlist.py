"""Comparators with a noise source and RC traces in ngspice, against the native spiking units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.hopfield.layers import Dense
from eqprop_spice.phases import Free, Spring
from eqprop_spice.sampling.spiking import THRESHOLD
from eqprop_spice.substrates.spiking import SpikingNetwork
from eqprop_spice.substrates.spiking_netlist import (
    LATCHED,
    Recorded,
    recorded,
    spiking_netlist,
)

STANDARD_ERRORS = 5.0
"""More than elsewhere: the noise of ngspice depends on what ran before, for all its seed."""

PERIODS = 1500

BURN_IN = 100

RUNS = 64
"""Native runs of the same length, whose spread is the error of one."""

AHEAD = 1.1 * 0.1 * LATCHED
"""How far a trace is ahead where its latch closes: a spike may show as soon as it opens. A tenth is
for the solver."""

PARAMS = {
    "weight_1": np.array([[0.5, -0.4], [0.3, 0.6]]),
    "bias_1": np.array([0.3, 0.5]),
    "weight_2": np.array([[0.7], [-0.5]]),
    "bias_2": np.array([0.4]),
}

INPUTS = np.array([[0.4, -0.2]])

PHASES = {"free": Free(), "nudged": Spring(0.5, np.array([[0.2]]))}


def network(**changes) -> SpikingNetwork:
    settings = {
        "layers": (Dense(2),),
        "num_inputs": 2,
        "num_outputs": 1,
        "noise": "normal",
        "width": 0.4,
        "alpha": 0.1,
        "precision": "float64",
    }
    return SpikingNetwork(**settings | changes)


@pytest.fixture(scope="module")
def runs() -> dict[str, Recorded]:
    circuit = network().circuit
    found = {}
    for seed, (name, phase) in enumerate(PHASES.items(), start=1):
        text = spiking_netlist(
            circuit, PARAMS, INPUTS[0], phase, periods=PERIODS, seed=seed, title=name
        )
        found[name] = recorded(text, circuit, PERIODS)
    return found


def drives(traces: np.ndarray, name: str) -> np.ndarray:
    """What units feel of `period unit` traces, written out once more."""
    hidden, output = traces[:, :2], traces[:, 2:]
    first = INPUTS @ PARAMS["weight_1"] + output @ PARAMS["weight_2"].T + PARAMS["bias_1"]
    last = hidden @ PARAMS["weight_2"] + PARAMS["bias_2"]
    if name == "nudged":
        last = last + 0.5 * (0.2 - output)
    return np.concatenate([first, last], axis=1)


@pytest.mark.ngspice
@pytest.mark.slow
@pytest.mark.parametrize("name", list(PHASES))
def test_comparators_take_the_steps_of_spiking_units(runs, name):
    run = runs[name]
    above = drives(run.traces, name) + run.noise - THRESHOLD
    clear = np.abs(above) > 0.02
    assert clear.mean() > 0.9
    # While a latch is open the noise moves on by a share of 0.02, and rarely past the threshold.
    np.testing.assert_allclose(run.spikes[clear], above[clear] > 0.0, atol=1e-3)
    following = run.traces[:-1] + 0.1 * (run.spikes[:-1] - run.traces[:-1])
    np.testing.assert_allclose(run.traces[1:], following, rtol=0.0, atol=AHEAD)
    count = run.noise.size
    assert run.noise.std() == pytest.approx(0.4, rel=STANDARD_ERRORS / np.sqrt(2 * count))
    assert abs(run.noise.mean()) < STANDARD_ERRORS * 0.4 / np.sqrt(count)


@pytest.mark.ngspice
@pytest.mark.slow
@pytest.mark.parametrize("name", list(PHASES))
def test_mean_traces_are_the_rates_of_the_mean_field(runs, name):
    found = runs[name].traces[BURN_IN:].mean(0)
    spikes = network(steps=PERIODS - BURN_IN, burn_in=BURN_IN)

    def traces(key):
        (run,) = spikes.settle(PARAMS, INPUTS, [PHASES[name]], key=key)
        return jnp.concatenate([layer[0] for layer in run.state])

    native = np.asarray(jax.jit(jax.vmap(traces))(jax.random.split(jax.random.key(0), RUNS)))
    error = native.std(0, ddof=1)
    (rates,) = network(mode="mean").settle(PARAMS, INPUTS, [PHASES[name]])
    still = np.concatenate([np.asarray(layer)[0] for layer in rates.state])
    for expected in (native.mean(0), still):
        assert (np.abs(found - expected) < STANDARD_ERRORS * error).all()
    assert error.max() < 0.03


@pytest.mark.ngspice
@pytest.mark.slow
def test_the_nudge_shows_in_ngspice(runs):
    assert runs["nudged"].traces[BURN_IN:, 2].mean() < runs["free"].traces[BURN_IN:, 2].mean() - 0.1


def test_a_network_writes_its_netlist_or_is_refused():
    text = network().netlist(PARAMS, INPUTS, PHASES["nudged"], "one")
    assert "trnoise(" in text and "rt2_0 s2_0 t2_0" in text and "gn2_0" in text
    assert "netlist" in network().abilities
    for changes in ({"noise": "logistic"}, {"alpha": 1.0}):
        other = network(**changes)
        assert "netlist" not in other.abilities
        with pytest.raises(ConfigError, match='noise = "normal"'):
            other.netlist(PARAMS, INPUTS, Free(), "none")
