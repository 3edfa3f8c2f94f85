"""The processes that compute cells: where their code comes from, and what is no verdict."""

import os
from pathlib import Path

import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.sweeps.supervisor import Supervisor

ROOT = Path(__file__).parents[2]
CASE_1 = (ROOT / "experiments" / "case_1.toml").read_text()


def outcome(supervisor: Supervisor, *, text: str = CASE_1, **values: str) -> tuple[str, str]:
    cell = {"training.epochs": 2, **values}
    (result,) = supervisor.compute(text, [cell], time_limit=100.0, attempts=1)
    return result.status, result.error


@pytest.fixture
def supervisor():
    supervisor = Supervisor()
    yield supervisor
    supervisor.close()


def test_nothing_is_imported_from_the_working_folder(tmp_path, monkeypatch, supervisor):
    """Neither for the module that is started, nor for an empty entry of PYTHONPATH."""
    for name in ("queue", "json", "struct", "eqprop_spice"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f":.:{ROOT}")
    assert outcome(supervisor, engine="native") == ("stalled", "")
    assert not (tmp_path / "executed").exists()


@pytest.mark.ngspice
def test_verdicts_come_from_physics_only(monkeypatch, supervisor):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", "/nowhere/libngspice.so")
    status, error = outcome(supervisor)
    assert status == "crashed" and "ngspice shared library was not found" in error
    # Without its box, conductances leave the positive numbers at this rate.
    text = CASE_1.replace("learning_rate = 5e-4", "learning_rate = 1.0")
    start, end = text.index("[constraint]"), text.index("[training]")
    status, error = outcome(supervisor, text=text[:start] + text[end:], engine="native")
    assert status == "diverged" and "Add a Box constraint" in error


def test_a_process_that_cannot_start_stops_the_sweep(tmp_path, monkeypatch, supervisor):
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    with pytest.raises(ConfigError, match="can be started: the process ended with status 3"):
        outcome(supervisor)
