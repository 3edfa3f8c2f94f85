"""The audit of systems that are no circuits: orders, references, and a rule that is none."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eqprop_spice.audit.system import audit_system
from eqprop_spice.cli import app
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment

TOY = Path(__file__).parents[1] / "substrates" / "toy_xor.toml"

DIFFERENCES = 1e-6
"""Relative error of central differences with steps of 1e-4."""


@pytest.fixture(scope="module")
def audited():
    return audit_system(Experiment.load(TOY), num_parameters=12)


def test_finite_differences_agree_and_the_bias_has_its_order(audited):
    assert audited.verdict == "OK"
    for comparison in audited.references["finite differences"].values():
        assert comparison.relative_error < DIFFERENCES
    for comparison in audited.estimates["small signal"].values():
        assert comparison.relative_error < 1e-9
    for label in ("P-EP", "N-EP"):
        assert audited.scans[label].slope == pytest.approx(1.0, abs=0.1)
    # The energy is quadratic as long as no rate meets a bound: C-EP's bias is rounding there.
    scan = audited.scans["C-EP"]
    assert np.nanmin(scan.errors) < 1e-8
    assert scan.window is not None and scan.window[0] < 1e-3 < scan.window[1]


def test_too_strong_a_nudge_is_found():
    found = audit_system(
        Experiment.load(TOY, ["rule.variant=positive", "rule.beta=3.0"]), num_parameters=3
    )
    assert found.verdict == "biased rule"


def test_the_command_prints_and_writes_its_report(tmp_path):
    arguments = ["audit", str(TOY), "--out", str(tmp_path / "audit"), "--conductances", "3"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "verdict: OK" in result.output
    report = json.loads((tmp_path / "audit" / "report.json").read_text())
    assert set(report["scans"]) == {"P-EP", "N-EP", "C-EP"}


def test_refuses_no_samples():
    with pytest.raises(ConfigError, match="--samples is 0"):
        audit_system(Experiment.load(TOY), num_samples=0)


@pytest.mark.parametrize(
    "name", [pytest.param("butterworth_3", marks=pytest.mark.slow), "josephson_pair"]
)
def test_filters_and_trajectories_are_audited(name):
    path = Path(__file__).parents[2] / "experiments" / "lagrangian" / f"{name}.toml"
    found = audit_system(Experiment.load(path), num_samples=2, num_parameters=3)
    assert found.verdict == "OK"
    for comparison in found.references["finite differences"].values():
        assert comparison.relative_error < DIFFERENCES
    assert found.scans["P-EP"].slope == pytest.approx(1.0, abs=0.1)
