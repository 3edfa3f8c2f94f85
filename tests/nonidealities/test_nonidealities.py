"""Every non-ideality: against its closed form, ngspice's own, and the netlist that users get."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.phases import Free
from eqprop_spice.results.netlists import trained_netlists
from eqprop_spice.results.run import train
from eqprop_spice.spice.writer import netlist
from eqprop_spice.sweeps.batch import run_batch
from eqprop_spice.sweeps.cell import run_cell

pytestmark = pytest.mark.ngspice

CASE_1 = Path(__file__).parent.parent.parent / "experiments" / "case_1.toml"

SOLVER = 1e-9
"""Largest voltage error [V] of either engine at its tolerances, with a wide margin."""

SPICE_CONSTANTS = 1e-6
"""Largest difference [V] to ngspice's own temperature: it compiles in a value of k/q for the energy
gap that differs from ours by 3e-5 of itself, times 26 mV."""

CHIP = {
    "mismatch": '{ kind = "mismatch.ConductanceMismatch", deviation = 0.1, seed = 2 }',
    "quantized": '{ kind = "quantization.QuantizedConductances", levels = 8, lower = 1e-4, '
    'upper = 0.1, spacing = "logarithmic" }',
    "stuck": '{ kind = "stuck.StuckDevices", fraction = 0.3, conductance = 1e-4, seed = 1 }',
    "noise": '{ kind = "read_noise.ReadNoise", deviation = 1e-5 }',
    "amplifiers": '{ kind = "amplifier_spread.AmplifierSpread", gain_deviation = 0.05, '
    "offset_deviation = 0.01 }",
    "diodes": '{ kind = "diode_spread.SaturationSpread", deviation = 0.5 }',
    "temperature": '{ kind = "temperature.Temperature", kelvin = 350.0 }',
}


def experiment(*names: str, **values) -> Experiment:
    chip = ", ".join(CHIP[name] for name in names)
    overrides = [f"nonidealities=[{chip}]", "training.epochs=20"]
    return Experiment.load(CASE_1, overrides, values=values)


def weak(chosen: Experiment) -> dict[str, np.ndarray]:
    """Return conductances so small that the diodes decide [S]."""
    return {name: 1e-3 * g for name, g in chosen.initial_params().items()}


def printed(text: str, tmp_path: Path) -> dict[str, float]:
    """Return the node voltages that plain ngspice prints."""
    file = tmp_path / "circuit.cir"
    file.write_text(text)
    done = subprocess.run(
        ["ngspice", "-b", str(file)], capture_output=True, text=True, check=True, timeout=60
    )
    return {n: float(v) for n, v in re.findall(r"v\((\w+)\) = (\S+)", done.stdout)}


@pytest.mark.parametrize("name", ["mismatch", "quantized", "stuck", "amplifiers", "diodes"])
@pytest.mark.parametrize("engine", ["native", "ngspice"])
def test_the_netlist_is_the_circuit_that_is_trained(name, engine, tmp_path):
    """Plain ngspice knows neither the engine nor the non-ideality."""
    chosen = experiment(name, engine=engine)
    ideal = Experiment.load(CASE_1)
    params = weak(chosen)
    (point,) = chosen.network.settle(params, chosen.data.train_inputs, [Free()])
    (other,) = ideal.network.settle(params, ideal.data.train_inputs, [Free()])
    assert bool(np.asarray(point.converged).all())
    voltages = printed(trained_netlists(chosen, params)["free"], tmp_path)
    assert voltages
    for node, value in voltages.items():
        index = chosen.circuit.node_names.index(node)
        assert float(np.asarray(point.voltages)[0, index]) == pytest.approx(value, abs=SOLVER)
    nodes = [chosen.circuit.node_names.index(node) for node in voltages]
    change = np.asarray(point.voltages)[0, nodes] - np.asarray(other.voltages)[0, nodes]
    assert np.abs(change).max() > 1e-3


@pytest.mark.parametrize("kelvin", [253.15, 350.0])
def test_temperature_is_that_of_ngspice(kelvin, tmp_path):
    chosen = experiment("temperature", **{"nonidealities.0.kelvin": kelvin})
    params, inputs = weak(chosen), chosen.data.train_inputs
    (point,) = chosen.network.settle(params, inputs, [Free()])
    cold = netlist(chosen.nominal_circuit, params, inputs[0], Free())
    voltages = printed(cold.replace(".options ", f".options temp={kelvin - 273.15!r} "), tmp_path)
    same = printed(cold, tmp_path)
    for node, value in voltages.items():
        index = chosen.circuit.node_names.index(node)
        assert point.voltages[0, index] == pytest.approx(value, abs=SPICE_CONSTANTS)
    assert max(abs(voltages[node] - same[node]) for node in same) > 500 * SPICE_CONSTANTS


def test_mismatch_is_fixed_and_has_its_deviation():
    chosen = experiment("mismatch")
    params = {name: np.full((200, 100), 1e-3) for name in chosen.circuit.parameter_shapes()}
    first, again = (chosen.network.devices(params) for _ in range(2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
        ratio = np.log(np.asarray(values) / 1e-3)
        # Four standard errors of the mean and of the deviation of 20,000 draws.
        assert abs(ratio.mean()) < 4 * 0.1 / np.sqrt(ratio.size)
        assert abs(ratio.std() - 0.1) < 4 * 0.1 / np.sqrt(2 * ratio.size)
    one, other = first.values()
    assert not np.array_equal(one, other)


def test_quantized_conductances_are_levels():
    chosen = experiment("quantized")
    params = {"dense_0": np.geomspace(1e-5, 1.0, 300)}
    values = np.unique(np.asarray(chosen.network.devices(params)["dense_0"]))
    np.testing.assert_allclose(values, np.geomspace(1e-4, 0.1, 8), rtol=1e-12)
    linear = experiment("quantized", **{"nonidealities.0.spacing": "linear"})
    values = np.unique(np.asarray(linear.network.devices({"d": np.linspace(0, 1, 999)})["d"]))
    np.testing.assert_allclose(values, np.linspace(1e-4, 0.1, 8), rtol=1e-12)


def test_stuck_devices_do_not_move():
    chosen = experiment("stuck")
    shape = (100, 100)
    low, high = (
        np.asarray(chosen.network.devices({"dense_0": np.full(shape, g)})["dense_0"])
        for g in (1e-3, 1e-2)
    )
    stuck = low == high
    assert (low[stuck] == 1e-4).all() and (low[~stuck] == 1e-3).all()
    assert abs(stuck.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / stuck.size)


def test_read_noise_has_its_deviation_and_repeats():
    """The voltages themselves, with which the nudge is made, are not touched."""
    chosen = experiment("noise")
    params, data, trainer = chosen.initial_params(), chosen.data, chosen.trainer
    exact = chosen.network.settle(params, data.train_inputs, [Free()])[0].voltages
    keys = [trainer.key(epoch, 0) for epoch in range(300)]
    read = np.array([chosen.network._read(_point(chosen, exact), k).voltages for k in keys])
    errors = (read - exact).ravel()
    assert abs(errors.std() - 1e-5) < 4 * 1e-5 / np.sqrt(2 * errors.size)
    assert abs(errors.mean()) < 4 * 1e-5 / np.sqrt(errors.size)
    once, again = (run_cell(experiment("noise", seed=3)).figures["loss"] for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, run_cell(experiment(seed=3)).figures["loss"], equal_nan=True)


def _point(chosen: Experiment, voltages):
    (point,) = chosen.engine.settle(
        chosen.circuit, chosen.initial_params(), chosen.data.train_inputs, [Free()]
    )
    np.testing.assert_array_equal(point.voltages, voltages)
    return point


@pytest.mark.slow
def test_a_batch_reads_the_same_noise():
    values = {"engine": "native", "nonidealities.0.deviation": 1e-3, "goal.stop": False}
    cells = [{"seed": 5}, {"seed": 6}]
    batched = run_batch(experiment("noise", "mismatch", **values), cells)
    for cell, result in zip(cells, batched, strict=True):
        alone = run_cell(experiment("noise", "mismatch", **values, **cell))
        # A difference of rounding, carried on by 20 updates.
        np.testing.assert_allclose(result.figures["loss"], alone.figures["loss"], rtol=1e-6)


def test_unequal_gains_are_trained_with_the_weights_of_equal_ones(tmp_path):
    chosen = experiment("amplifiers", "diodes", "mismatch", **{"training.epochs": 200})
    weights = {name: np.asarray(w) for name, w in chosen.network.group_weights.items()}
    ideal = Experiment.load(CASE_1).network.group_weights
    for name, weight in weights.items():
        np.testing.assert_array_equal(weight, ideal[name])
    run = train(chosen, tmp_path / "run")
    assert run.results["learned"]
    assert ".model kiraz_upper_1_0 " in (run.path / "free.cir").read_text()
    assert "_offset_amp_2_0" in (run.path / "free.cir").read_text()


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("mismatch", {"deviation": -0.1}, "finite and not negative"),
        ("mismatch", {"seed": -1}, "seed -1"),
        ("quantized", {"levels": 1}, "at least two"),
        ("stuck", {"fraction": 1.5}, "from 0 to 1"),
        ("stuck", {"conductance": 0.0}, "must be positive"),
        ("temperature", {"kelvin": 27.0}, "27 degC is 300.15 K"),
        ("temperature", {"celsius": 27.0}, "unknown key"),
    ],
)
def test_bad_values_are_refused(name, values, message):
    with pytest.raises(ConfigError, match=message):
        experiment(name, **{f"nonidealities.0.{k}": v for k, v in values.items()})


@pytest.mark.parametrize(
    "kind",
    [
        "small_signal.SmallSignal",
        "adjoint.Adjoint",
        "coupled_learning.CoupledLearning",
        "contrastive_learning.ContrastiveLearning",
    ],
)
def test_rules_that_compare_no_readings_refuse_noise(kind):
    with pytest.raises(ConfigError, match="does not compare readings"):
        experiment("noise", rule={"kind": kind})
