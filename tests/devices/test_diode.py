"""Diodes: the law that ngspice computes, and its consistency."""

import math
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqprop_spice.devices.diode import PRESETS, Shockley
from eqprop_spice.errors import ConfigError
from tests.references import diode_law

NGSPICE = 1e-9
"""Relative error against ngspice with reltol 1e-10: its last Newton step, squared, and sixteen
printed digits lie far below; the physical constants, if off by 1e-8, far above."""

LEAKAGE = 1e-21
"""Absolute error of a current [A]: rounding of the 1e-12 S junction conductance's current."""

DERIVATIVE = 1e-6
"""Relative error of a central difference with a step of 1e-4 N vt: truncation 2e-9, rounding of a
current of 1e-16 relative divided by 1e-4, times the largest cancellation in the sweep."""

IDENTITY = 1e-12
"""Relative error of the junction's voltage balance: rounding, with room for the exponent."""

diodes = pytest.mark.parametrize("diode", PRESETS.values(), ids=PRESETS.keys())


def sweep_end(diode: Shockley) -> float:
    """Return the voltage at which the diode carries 1 A, rounded down to 1 mV."""
    nvt = diode.emission_voltage
    volts = nvt * math.log(1.0 / diode.saturation_current) + diode.series_resistance
    return math.floor(volts * 1e3) / 1e3


def ngspice_currents(
    diode: Shockley, span: tuple[float, float], folder, *, behavioral: bool = False
) -> np.ndarray:
    """Return the sweep `[voltage, current]` of 61 points that plain ngspice prints."""
    (start, stop), step = span, (span[1] - span[0]) / 60
    device = [str(diode.model_card()), diode.card("1", ["a", "0"])]
    if behavioral:
        device = diode.behavioral_cards("1", ["a", "0"])
    path = folder / "sweep.cir"
    path.write_text(
        "\n".join(
            [
                "* one diode",
                ".options reltol=1e-10 vntol=1e-13 abstol=1e-18 gmin=1e-12",
                *device,
                "v1 a 0 0",
                ".control",
                "set numdgt=16",
                f"dc v1 {start!r} {stop!r} {step!r}",
                "print v(a) i(v1)",
                "quit 0",
                ".endc",
                ".end",
                "",
            ]
        )
    )
    done = subprocess.run(
        ["ngspice", "-b", str(path)],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    numbers = [row for row in rows if len(row) >= 4 and row[0].isdigit()]
    return np.array([[float(row[-2]), -float(row[-1])] for row in numbers])


@pytest.mark.ngspice
@diodes
@pytest.mark.parametrize("region", ["forward", "knee", "reverse"])
@pytest.mark.parametrize("behavioral", [False, True])
def test_current_equals_that_of_ngspice(diode, region, behavioral, tmp_path):
    end, nvt = sweep_end(diode), diode.emission_voltage
    start, stop = {
        "forward": (0.0, end),
        "knee": (-8.0 * nvt, nvt),
        "reverse": (-5.0, -4.0 * nvt),
    }[region]
    table = ngspice_currents(diode, (start, stop), tmp_path, behavioral=behavioral)
    assert len(table) >= 60
    voltage, current = table.T
    # ngspice's current is that of the series resistance, between two rounded node voltages.
    rounding = 0.0
    if diode.series_resistance:
        rounding = 8 * np.finfo(float).eps * np.abs(voltage).max() / diode.series_resistance
    np.testing.assert_allclose(
        diode.current(voltage), current, rtol=NGSPICE, atol=LEAKAGE + rounding
    )


@diodes
def test_current_equals_a_second_writing_of_the_law(diode):
    v = np.concatenate([np.linspace(-5, 0, 101), np.linspace(0, sweep_end(diode), 101)])
    current, conductance = diode_law(diode, v)
    np.testing.assert_allclose(diode.current(v), current, rtol=1e-11, atol=LEAKAGE)
    np.testing.assert_allclose(diode.conductance(v), conductance, rtol=1e-11)


@diodes
def test_law_is_continuous_at_the_knee(diode):
    knee = -3.0 * diode.emission_voltage
    near = np.array([knee - 1e-12 * abs(knee), knee + 1e-12 * abs(knee)])
    for law in (diode.current, diode.conductance, diode.co_content):
        below, above = law(near)
        assert below == pytest.approx(above, rel=1e-10)


@diodes
def test_current_is_derivative_of_co_content_and_conductance_of_current(diode):
    nvt = diode.emission_voltage
    v = np.concatenate(
        [np.linspace(-20 * nvt, -3.5 * nvt, 20), np.linspace(-2.5 * nvt, sweep_end(diode), 40)]
    )
    h = 1e-4 * nvt
    co_content_slope = (diode.co_content(v + h) - diode.co_content(v - h)) / (2 * h)
    # Where the co-content is much larger than its change over a step, its rounding dominates.
    noise = np.abs(diode.co_content(v)).max() * 1e-16 / h
    np.testing.assert_allclose(
        diode.current(v), co_content_slope, rtol=DERIVATIVE, atol=10 * noise * 1e-3
    )
    current_slope = (diode.current(v + h) - diode.current(v - h)) / (2 * h)
    noise = diode.saturation_current * 1e-15 / h
    np.testing.assert_allclose(diode.conductance(v), current_slope, rtol=DERIVATIVE, atol=noise)


@diodes
def test_co_content_is_zero_without_voltage_and_never_negative(diode):
    v = np.linspace(-5.0, sweep_end(diode), 400)
    assert diode.co_content(np.zeros(1))[0] == 0.0
    assert (diode.co_content(v) >= 0).all()


@given(st.floats(-1000.0, 1000.0), st.sampled_from([0.051, 0.568, 50.0]))
def test_current_through_series_resistance_is_that_of_the_junction(voltage, resistance):
    bare = Shockley("bare", 2.52e-9, 1.752)
    diode = Shockley("series", 2.52e-9, 1.752, resistance)
    v = np.array([voltage])
    current = diode.current(v)
    junction = diode.junction_voltage(v)
    np.testing.assert_allclose(bare.current(junction), current, rtol=IDENTITY, atol=LEAKAGE)
    balance = junction + resistance * current
    np.testing.assert_allclose(balance, v, rtol=IDENTITY, atol=IDENTITY)


@given(st.floats(-1000.0, 1000.0), st.sampled_from(list(PRESETS)))
def test_diodes_are_passive_and_monotone(voltage, name):
    diode = PRESETS[name]
    limit = 600 * diode.emission_voltage if diode.series_resistance == 0 else 1000.0
    v = np.array([min(voltage, limit)])
    assert (v * diode.current(v) >= 0).all()
    assert (diode.conductance(v) > 0).all()


@diodes
def test_numpy_and_jax_agree(diode):
    v = np.linspace(-5.0, sweep_end(diode), 301)
    for law in (diode.current, diode.conductance, diode.co_content):
        # Two implementations of exp differ in the last digit, the exponent amplifies it.
        np.testing.assert_allclose(law(jnp.asarray(v)), law(v), rtol=1e-12, atol=LEAKAGE)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"saturation_current": 0.0}, "saturation_current"),
        ({"saturation_current": -1e-9}, "saturation_current"),
        ({"saturation_current": math.nan}, "saturation_current"),
        ({"saturation_current": 1e-9, "emission_coefficient": 0.0}, "emission_coefficient"),
        ({"saturation_current": 1e-9, "emission_coefficient": math.inf}, "emission_coefficient"),
        ({"saturation_current": 1e-9, "series_resistance": -1.0}, "series_resistance"),
        ({"saturation_current": 1e-9, "series_resistance": math.nan}, "series_resistance"),
    ],
)
def test_bad_parameters_are_refused_by_name(values, word):
    with pytest.raises(ConfigError, match=word):
        Shockley("bad", **values)


@pytest.mark.parametrize("model", ["two words", "x d(is=1)\n.control", "Upper", "1n4148", ""])
def test_unsafe_model_names_are_refused(model):
    """The model's name is written into the netlist, and ngspice executes what follows a newline."""
    with pytest.raises(ValueError):
        Shockley(model, 1e-9)


def test_anode_comes_first_and_numbers_keep_their_digits():
    diode = Shockley("d", np.float64(0.1) / 3, 1.1, 0.2)
    assert diode.card("x_0", ["anode", "cathode"]) == "dx_0 anode cathode d"
    card = diode.model_card()
    assert "np." not in card
    assert f"is={0.1 / 3!r}" in card and "n=1.1" in card and "rs=0.2" in card
