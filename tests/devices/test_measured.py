"""Measured devices: points, what lies between them, files, and ngspice."""

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from eqprop_spice.devices.measured import Curve, Measured, read_points
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.results.run import Run, train
from tests.contracts import check_between_layers
from tests.references import KIRAZ

ROUNDING = 1e-13


def sampled(law, volts: np.ndarray) -> Measured:
    return Measured(Curve(tuple(volts.tolist()), tuple(np.asarray(law(volts)).tolist())))


DIODE = sampled(KIRAZ.current, np.linspace(-2.0, 0.75, 56))


def test_between_the_points_it_is_the_interpolation_of_scipy():
    curve = DIODE.curve
    reference = PchipInterpolator(curve.voltages, curve.currents)
    v = np.random.default_rng(0).uniform(-2.0, 0.75, 500)
    scale = max(map(abs, curve.currents))
    np.testing.assert_allclose(DIODE.current(v), reference(v), atol=ROUNDING * scale)
    np.testing.assert_allclose(
        DIODE.conductance(v), reference.derivative()(v), rtol=1e-9, atol=ROUNDING * scale
    )
    areas = [reference.integrate(0.0, float(volts)) for volts in v]
    np.testing.assert_allclose(DIODE.co_content(v), areas, rtol=1e-9, atol=ROUNDING * scale)
    assert (np.diff(DIODE.current(np.sort(v))) >= 0.0).all()


def test_beyond_the_points_it_goes_on_straight():
    for end, step in ((-2.0, -0.5), (0.75, 0.5)):
        at, beyond = np.array(end), np.array(end + step)
        slope = DIODE.conductance(at)
        expected = DIODE.current(at) + slope * step
        np.testing.assert_allclose(DIODE.current(beyond), expected, rtol=1e-12)
        np.testing.assert_allclose(DIODE.conductance(beyond), slope, rtol=1e-9)
        area = DIODE.co_content(at) + step * 0.5 * (DIODE.current(at) + expected)
        np.testing.assert_allclose(DIODE.co_content(beyond), area, rtol=1e-12)


@pytest.mark.ngspice
@pytest.mark.parametrize(
    "law", [DIODE, sampled(lambda v: 1e-3 * np.sinh(6 * v), np.linspace(-1, 1, 200))]
)
def test_networks_have_the_voltages_of_ngspice(law):
    check_between_layers([AntiparallelDiodes(law, 0.1)], num_samples=6, amplitude=3.0)


@pytest.mark.parametrize(
    ("voltages", "currents", "message"),
    [
        ((0.0,), (0.0,), "has 1 points; it needs at least 2"),
        ((0.0, 1.0), (0.0,), "2 voltages and 1 currents"),
        ((0.0, 1.0, 1.0), (0.0, 1.0, 2.0), "voltages .* must increase, but point 2"),
        ((0.0, 1.0, 2.0), (0.0, 1.0, 0.5), "currents .* must not decrease, but point 2"),
        ((0.0, np.nan), (0.0, 1.0), "Point 1 .* has voltage nan V"),
        (tuple(range(501)), tuple(range(501)), "at most 500"),
    ],
)
def test_points_that_are_no_device_are_refused(voltages, currents, message):
    with pytest.raises(ConfigError, match=message):
        Curve(tuple(map(float, voltages)), tuple(map(float, currents)))


def test_files_of_points_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("volts,amps\n-1,-1e-3\n0,0\n\n1,2e-3\n")
    expected = (-1.0, 0.0, 1.0), (-1e-3, 0.0, 2e-3)
    assert read_points(tmp_path / "a.csv") == expected
    np.savez(tmp_path / "a.npz", voltages=expected[0], currents=expected[1])
    assert read_points(tmp_path / "a.npz") == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"v,i\n0,0\n1;2\n", "Line 3 of .* is no voltage and current"),
        ("a.csv", b"0,0\nx,2\n", "Line 2"),
        ("a.csv", b"\xff\xfe\x00", "no CSV in UTF-8"),
        ("a.npz", b"PK", "no npz"),
        ("a.txt", b"", "must end with .csv, .npz"),
        ("b.csv", None, "No such file"),
    ],
)
def test_files_that_hold_no_points_are_refused(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        Measured.from_file(tmp_path / name)


def measured_xor(diode: str) -> str:
    text = Experiment.load("xor").to_toml()
    assert 'diode = "kiraz"' in text
    return text.replace('diode = "kiraz"', f"diode = {diode}")


@pytest.mark.slow
@pytest.mark.ngspice
def test_a_run_holds_the_points_and_needs_no_file(tmp_path):
    (tmp_path / "iv.csv").write_text("-1,-1e-6\n0,0\n0.4,1e-3\n0.5,1e-2\n")
    path = tmp_path / "measured.toml"
    path.write_text(measured_xor('{ file = "iv.csv" }'))
    experiment = Experiment.load(path, ["training.epochs=1", "engine=ngspice"])
    run = train(experiment, tmp_path / "run")
    (tmp_path / "iv.csv").unlink()
    again = Run.open(run.path).experiment.nominal_circuit
    devices = {group.device for group in again.groups if not group.device.linear}
    assert devices == {Measured(Curve((-1.0, 0.0, 0.4, 0.5), (-1e-6, 0.0, 1e-3, 1e-2)))}
    assert "bupper_1_0 n0_0 sp1 i=(v(" in (run.path / "free.cir").read_text()


@pytest.mark.parametrize(
    ("diode", "message"),
    [
        ('{ file = "../iv.csv" }', "not in the folder of the experiment"),
        ('{ file = "iv.csv" }', "line .*diode: .*No such file"),
        ("{ file = 3 }", "must be the name"),
        ("{ voltages = [0.0], currents = [0.0] }", "needs at least 2"),
        ("{ voltages = [0.0, 1.0] }", "currents: this key is missing"),
        ("{ on_conductance = -1.0 }", "positive and in ascending order"),
        ("{ on_conductance = 1.0, treshold = 0.1 }", "Did you mean 'threshold'"),
    ],
)
def test_bad_tables_are_refused_by_line(diode, message, tmp_path):
    path = tmp_path / "measured.toml"
    path.write_text(measured_xor(diode))
    with pytest.raises(ConfigError, match=message):
        Experiment.load(path)
