"""A TOML with a layer of transistors, from the file to the verdict."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eqprop_spice.cli import app

TOML = Path(__file__).with_name("transistors.toml")


@pytest.mark.slow
@pytest.mark.ngspice
def test_the_audit_says_that_there_is_no_energy_and_by_how_much_ep_is_off(tmp_path):
    folder = tmp_path / "audit"
    arguments = ["audit", TOML, "--conductances", "1", "--out", folder]
    text = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False).stdout
    report = json.loads((folder / "report.json").read_text())
    assert report["without_energy"] == {"edge_1": "Mosfet"}
    assert "devices without an energy: edge_1 (Mosfet); asymmetry" in text
    assert "no energy, because of edge_1 (Mosfet)" in " ".join(text.split())
    assert {edge["name"].rsplit("_", 1)[0] for edge in report["edges"]} == {"edge_1"}
    assert 0.0 < report["edges"][0]["asymmetry"] < 1.0
    assert f"most asymmetric of {len(report['edges'])} devices: edge_1_" in text
    bias = report["budget"]["not reciprocal"]
    assert set(bias) == {"dense_0", "dense_3"} and 1e-3 < max(bias.values()) < 1.0
    # What is measured is the distance of a vanishing nudge from what finite differences confirm.
    for label in ("finite differences, native", "finite differences, ngspice"):
        for layer in report["references"][label].values():
            assert layer["relative_error"] < 1e-4
    for name, layer in report["estimates"]["small signal"].items():
        assert layer["relative_error"] == pytest.approx(bias[name], rel=1e-3)
