"""Netlists of strangers: what was understood, three solutions, and a verdict."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eqprop_spice.cli import app
from eqprop_spice.results import imported
from eqprop_spice.results.imported import FAILED, SUSPECT, TRUSTWORTHY, examine

pytestmark = pytest.mark.ngspice

NETLISTS = Path(__file__).parent.parent / "spice" / "netlists"

DIVIDER = "title\nV1 a 0 5\nR1 a b 1k\nD1 b 0 m\n.model m d\n"


def written(folder: Path, text: str, name: str = "x.cir") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_three_solvers_agree():
    report = examine(NETLISTS / "common_emitter.cir")
    assert report.verdict == TRUSTWORTHY and not report.findings
    assert set(report.solutions) == {"native", "regenerated", "original"}
    found = report.to_dict()
    assert found["counts"] == {"C": 3, "D": 1, "L": 1, "Q": 1, "R": 5, "V": 2}
    assert found["voltages"]["vcc"] == dict.fromkeys(report.solutions, 12.0)
    assert found["elements"][6]["model"] == "npn"


def test_a_latch_with_another_operating_point_is_suspect(tmp_path, monkeypatch):
    path = written(tmp_path, DIVIDER + ".end\n")
    monkeypatch.setattr(imported, "_regenerated", lambda deck: {"a": 5.0, "b": 1.0})
    report = examine(path)
    assert report.verdict == SUSPECT
    assert any("differ by 0.3" in finding and "'b'" in finding for finding in report.findings)


UNSOLVED = "V1 a 0 1\nR1 a b 1k\nD1 b 0 m\n.model m d(is=1f ikf=1m)\n.end\n"
"""High-level injection, which the native engine leaves to ngspice."""


def test_what_one_engine_does_not_solve_is_suspect(tmp_path):
    report = examine(written(tmp_path, f"title\n{UNSOLVED}"))
    assert report.verdict == SUSPECT
    assert set(report.solutions) == {"regenerated", "original"}
    assert report.findings == (
        "native: x.cir:4: 'd1': the model's ikf = 0.001 is not solved by the engine.",
    )


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ("B1 a 0 v=1\n.end\n", r"x.cir:6: 'B1 a 0 v=1': behavioral"),
        ("C1 b c 1u\n.end\n", "'c' have no path"),
        ("V2 a 0 1\n.end\n", "loop"),
        (".control\nshell touch marker\n.endc\n.end\n", "never executed"),
    ],
)
def test_what_is_refused_is_a_failure(tmp_path, cards, reason):
    report = examine(written(tmp_path, DIVIDER + cards))
    assert report.verdict == FAILED and not report.solutions
    (finding,) = report.findings
    assert all(word in finding for word in reason.split("|"))


def test_control_sections_and_included_files_on_request(tmp_path):
    text = "title\nV1 a 0 5\nR1 a b 10\u00b5\nD1 b 0 m\n.include models.lib\n"
    text += ".tran 1n 1u\n.save v(a)\n+ v(b)\n.control\nshell touch marker\n.endc\n.end\n"
    path = written(tmp_path, text)
    written(tmp_path, ".model m d(is=1f n=1.2 rs=10)\n", "models.lib")
    assert examine(path).verdict == FAILED
    report = examine(path, include=True, skip_commands=True)
    assert report.verdict == TRUSTWORTHY, report.findings
    assert not list(tmp_path.glob("**/marker"))


def test_command(tmp_path):
    path = written(tmp_path, DIVIDER.replace("b", "[red]b") + ".end\n")
    out = tmp_path / "ours.cir"
    done = CliRunner().invoke(app, ["import", str(path), "--out", str(out)])
    assert done.exit_code == 0, done.stdout
    assert "[red]b" in done.stdout and "verdict: TRUSTWORTHY" in done.stdout
    assert out.read_text().endswith(".OP\n.END\n")
    done = CliRunner().invoke(app, ["import", str(written(tmp_path, f"t\n{UNSOLVED}")), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["verdict"] == SUSPECT
    done = CliRunner().invoke(app, ["import", str(written(tmp_path, "t\nB1 a 0 v=1\n.end\n"))])
    assert done.exit_code == 2
    assert "verdict: FAILED" in done.stdout
