"""The page of a run and its schematic: whole, self-contained, and shown by a real browser."""

import os
from pathlib import Path

import pytest

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.plots import write_figures
from eqprop_spice.results.report import MOST_ROWS, write_report, write_summary
from eqprop_spice.results.run import train
from eqprop_spice.results.schematic import schematic
from tests.pages import BROWSER, LOADS, check_page, shown_by_a_browser

MNIST_FILES = Path(os.environ.get("EQPROP_DATA", "")) / "mnist"

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    run = train(Experiment.load("experiments/xor.toml", ["training.epochs=3"]), folder)
    return write_report(run)


@pytest.mark.ngspice
@pytest.mark.slow
def test_a_page_is_whole_and_shown_without_complaint(page, tmp_path):
    drawn = check_page(page, tmp_path)
    text = page.read_text()
    assert page.name == "report.html"
    for title in ("Result", "Learning", "Predictions", "Node voltages", "Conductances", "Audit"):
        assert f"<h2>{title}</h2>" in text
    assert "kiraz" in text and "x_0" in text
    assert (page.parent / "history.csv").read_text().count("\n") == 4
    if BROWSER is not None:
        # The script has drawn: a path for each curve, and a point for each of three epochs.
        assert drawn.count('stroke-linecap="round"') == 3
        assert drawn.count('r="3" fill="#0072B2"') == 3 * 3


@pytest.mark.slow
@pytest.mark.skipif(not MNIST_FILES.is_dir(), reason="no files of MNIST")
def test_the_page_of_a_large_circuit_is_small_and_shown_without_complaint(tmp_path, monkeypatch):
    # No page shows them, and their 161,000 resistors take most of the time.
    monkeypatch.setattr("eqprop_spice.results.run.trained_netlists", lambda *_: {})
    few = ["dataset.per_class=[50, 1]", "training.epochs=1"]
    run = train(Experiment.load("mnist_100", few), tmp_path / "run")
    check_page(write_report(run), tmp_path)


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize(
    "asks",
    [
        '<img src="http://example.org/a.png">',
        '<link rel="stylesheet" href="http://example.org/a.css">',
    ],
)
def test_a_browser_would_complain_of_a_request(asks, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f'<!DOCTYPE html><html><link rel="icon" href="data:,">{asks}</html>')
    profile = tmp_path / "profile"
    profile.mkdir()
    assert "example.org" in " ".join(shown_by_a_browser(page, profile)[1])


def test_the_page_of_a_sweep_holds_its_rows_and_figures(tmp_path):
    from matplotlib.figure import Figure

    def empty() -> Figure:
        figure = Figure()
        figure.subplots().plot([0, 1])
        return figure

    figures = write_figures({"map": empty}, tmp_path / "figures")
    rows = [{"alpha": float(k), "nested": {}} for k in range(MOST_ROWS + 5)]
    result = {"name": "a<b", "rates": rows}
    path = write_summary(tmp_path, "title", result, figures, 'name = "x"')
    text = path.read_text()
    assert "a&lt;b" in text and text.count("<tr>") == 1 + 1 + MOST_ROWS
    assert "<svg" in text and not LOADS.search(text)
    # Many rows lie below the figures.
    assert text.index("<svg") < text.index("<td>1</td>")


@pytest.mark.parametrize(("name", "resistors"), [("xor", 3 * 3 + 3 * 2), ("digits", 3 * 3 * 2)])
def test_a_schematic_draws_the_first_devices_and_the_last(name, resistors, line_widths):
    experiment = Experiment.load(f"experiments/{name}.toml")
    drawn = schematic(experiment.circuit, experiment.initial_params(), title=name)
    assert drawn.startswith(b"<?xml") or b"<svg" in drawn[:200]
    assert len(line_widths) == resistors
    assert min(line_widths) >= 0.4 and max(line_widths) <= 3.0
    assert len(set(line_widths)) > 3
