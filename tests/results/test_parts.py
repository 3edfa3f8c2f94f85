"""Preferred values, and the parts of a trained circuit."""

import csv
import io

import numpy as np
import pytest
from typer.testing import CliRunner

from eqprop_spice.cli import app
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.parts import VALUES, bill_of_materials, preferred, snapped
from eqprop_spice.spice.reader import read_text


def test_series_have_the_values_of_the_standard():
    assert [len(VALUES[name]) for name in ("E12", "E24", "E96")] == [12, 24, 96]
    assert {1.0, 1.02, 1.05, 3.01, 4.99, 9.76} <= set(VALUES["E96"])
    assert VALUES["E12"] == (1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2)


@pytest.mark.parametrize("series", VALUES)
def test_the_nearest_by_ratio_is_taken(series):
    ohms = 10.0 ** np.random.default_rng(0).uniform(-1, 8, 500)
    found = preferred(ohms, series)
    every = np.array([v * 10.0**e for e in range(-2, 9) for v in VALUES[series]])
    distance = np.abs(np.log(ohms[:, None] / every)).min(axis=1)
    np.testing.assert_allclose(np.abs(np.log(ohms / found)), distance, atol=1e-12)
    np.testing.assert_array_equal(preferred(found, series), found)
    assert preferred(np.array([4990.3, 9.99e5]), "E96").tolist() == [4990.0, 1e6]


def test_the_bill_holds_every_part_once():
    experiment = Experiment.load("xor")
    circuit, params = experiment.circuit, experiment.initial_params()
    chosen = snapped(params, "E24")
    rows = list(csv.DictReader(io.StringIO(bill_of_materials(circuit, chosen))))
    names = [name for row in rows for name in row["names"].split()]
    assert len(set(names)) == len(names) == sum(int(row["quantity"]) for row in rows)
    resistors = [row for row in rows if row["kind"] == "resistor"]
    count = sum(values.size for values in params.values())
    assert sum(int(row["quantity"]) for row in resistors) == count
    values = [float(row["value"].split()[0]) for row in resistors]
    assert values == sorted(values)
    np.testing.assert_allclose(preferred(np.array(values), "E24"), values, rtol=1e-9)
    kinds = {row["kind"] for row in rows}
    assert kinds == {"resistor", "Shockley", "amplifier", "voltage source"}


def test_the_command_writes_what_is_built_and_what_it_costs(tmp_path):
    bom, out = tmp_path / "parts.csv", tmp_path / "xor.cir"
    arguments = ["netlist", "xor", "--out", str(out), "--bom", str(bom)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "as trained" in done.output and "E96" in done.output and "loss" in done.output
    deck = read_text(out.read_text(), skip_commands=True)
    ohms = [e.value for e in deck.elements if e.name[0] == "r"]
    np.testing.assert_allclose(preferred(np.array(ohms), "E96"), ohms, rtol=1e-9)
    assert bom.read_text().startswith("quantity,kind,value,names\n")


def test_a_series_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="one of E12, E24, E96"):
        preferred(np.ones(1), "E97")
