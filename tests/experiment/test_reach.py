"""Targets that no conductances bring about are told before anything runs."""

import numpy as np
import pytest

import eqprop_spice as eq
from eqprop_spice.engines.native import Native
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.experiment.reach import largest_output
from eqprop_spice.layers.bias_currents import BiasCurrents

FEATURES = np.linspace(-1.0, 1.0, 12).reshape(6, 2)

TARGETS = np.linspace(-2.0, 2.0, 6)

AS_VOLTS = eq.Volts(scale=1.0, standardize="none", target_scale=0.0)

LAYERS = [eq.Dense(3), eq.BidirectionalAmplifier(gain=4.0)]
"""No output exceeds 2 (outputs are differences) times 4 (the gain) times 1 V (the inputs)."""


def made(targets: np.ndarray, layers=LAYERS) -> Experiment:
    return eq.build(layers, eq.samples(FEATURES, targets, task="regression", volts=AS_VOLTS))


def test_arrays_out_of_reach_are_refused_with_the_bound():
    made(TARGETS)
    with pytest.raises(ConfigError, match=r"target is 20 V, but no output .* than 8 V"):
        made(10.0 * TARGETS)


def test_currents_have_no_bound():
    made(10.0 * TARGETS, [eq.Dense(3), BiasCurrents(), *LAYERS[1:]])


def test_a_regressor_refuses_to_predict_from_tiny_voltages():
    with pytest.raises(ConfigError, match="Give smaller targets, larger inputs or more gain"):
        eq.EqPropRegressor(hidden=3, scale=1e-3, epochs=1).fit(FEATURES, TARGETS)


@pytest.mark.parametrize(("factor", "refused"), [(1.0, False), (10.0, True)])
def test_a_table_out_of_reach_is_refused_at_its_place_in_the_toml(tmp_path, factor, refused):
    rows = [f"{a},{b},{c}" for (a, b), c in zip(FEATURES, factor * TARGETS, strict=True)]
    (tmp_path / "my.csv").write_text("\n".join(["a,b,y", *rows]))
    text = made(TARGETS).to_toml()
    table = f'kind = "table.Table"\npath = "{tmp_path}/my.csv"\ntarget = "y"\ntest_size = 0.0\n'
    start = text.index("[dataset]")
    volts = 'scale = 1.0\nstandardize = "none"\ntarget_scale = 0.0\n'
    end = text.find("\n[", start)
    text = f"{text[:start]}[dataset]\n{table}{volts}{text[end:]}"
    if not refused:
        Experiment.parse(text)
        return
    with pytest.raises(ConfigError, match=r"line .*dataset: The largest target is 20 V"):
        Experiment.parse(text)


def test_no_conductances_exceed_the_bound():
    circuit = made(TARGETS).circuit
    bound = largest_output(circuit, FEATURES, differential=True)
    assert bound == 8.0
    rng, engine, largest = np.random.default_rng(0), Native(), 0.0
    for _ in range(20):
        params = {
            name: 10.0 ** rng.uniform(-7.0, -3.0, shape)
            for name, shape in circuit.parameter_shapes().items()
        }
        (point,) = engine.settle(circuit, params, FEATURES, [eq.Free()])
        largest = max(largest, float(np.abs(circuit.outputs(point.voltages)).max()))
    assert 0.1 * bound < largest <= bound
