import json
import sys
from pathlib import Path

import pytest

from eqprop_spice.cli import main
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.sweeps import commands
from eqprop_spice.sweeps.store import Store
from tests.pages import check_page

pytestmark = [pytest.mark.ngspice, pytest.mark.slow]

CASE_1 = Path(__file__).parent.parent.parent / "experiments" / "case_1.toml"


def run(monkeypatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["eqprop-spice", "sweep", *map(str, arguments)])
    main()


def experiment_file(tmp_path: Path, table: str) -> Path:
    file = tmp_path / "sweep.toml"
    file.write_text(f"{CASE_1.read_text()}\n[sweep]\n{table}\n")
    return file


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        ("betta = [1.0]", [], "axis 'betta' at 1.0"),
        ("beta = []", [], "the axis is empty"),
        ("start = { seeds = 3 }", ["--resume", "{folder}"], "not both"),
        ("start = { seeds = 3 }", ["--out", "{folder}"], "exists already"),
    ],
)
def test_bad_input_is_one_message_and_nothing_runs(
    table, arguments, message, tmp_path, monkeypatch, capsys
):
    file = experiment_file(tmp_path, table)
    chosen = [argument.format(folder=tmp_path) for argument in arguments]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        run(monkeypatch, file, *chosen)
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ") and message in line
    assert list(tmp_path.iterdir()) == [file]


def test_a_million_cells_are_not_started_by_accident(tmp_path, monkeypatch, capsys):
    file = experiment_file(
        tmp_path, "beta = { logspace = [1e-7, 1e-1, 1000] }\nstart = { seeds = 1000 }"
    )
    with pytest.raises(SystemExit) as exit_:
        run(monkeypatch, file, "--out", tmp_path / "store", "--workers", "2")
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert "1,000,000 cells (beta 1000 x start 1000) and would take about" in said
    assert "with 2 processes" in said
    assert "--yes" in said
    assert not (tmp_path / "store").exists()


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(commands.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'eqprop_spice\[sweep\]'"):
        commands.plan(Experiment.load(CASE_1))


@pytest.mark.parametrize(
    ("seconds", "words"), [(30.0, "30 seconds"), (600.0, "10 minutes"), (3e5, "3 days")]
)
def test_durations_have_a_unit_that_suits(seconds, words):
    assert commands.duration(seconds) == words


def test_a_sweep_prints_its_rates_and_draws_its_figures(tmp_path, monkeypatch, capsys):
    file = experiment_file(tmp_path, "alpha = [1e-4, 5e-4]\nbeta = [1e-5, 1e-3]\nstart = [0, 1]")
    store = tmp_path / "store"
    run_quietly = ["--set", "training.epochs=60", "--workers", "1", "--out", store]
    with pytest.raises(SystemExit) as exit_:
        run(monkeypatch, file, *run_quietly)
    assert exit_.value.code == 0
    captured = capsys.readouterr()
    assert "cells 8/8  learned" in captured.err
    assert "median_epochs" in captured.out
    assert {path.name for path in (store / "figures").glob("*.png")} == {
        "errors.png",
        "success.png",
        "map.png",
    }
    page = check_page(store / "report.html", tmp_path)
    assert page.count("<tr>") > 4 and "<h2>Map</h2>" in page
    dataset = Store.open(store).dataset()
    assert dict(dataset.sizes) == {"alpha": 2, "beta": 2, "start": 2, "epoch": 61}
    assert dataset["loss"].attrs["units"] == "V^2"
    assert dataset["alpha"].attrs["keys"] == ["optimizer.learning_rate"]
    assert Experiment.parse(dataset.attrs["experiment"]).table.training.epochs == 60
    with pytest.raises(SystemExit):
        run(monkeypatch, "--resume", store, "--json")
    figures = json.loads(capsys.readouterr().out)
    assert figures["missing"] == 0
    assert len(figures["rates"]) == 4
    assert sum(row["cells"] for row in figures["rates"]) == figures["cells"] == 8
