"""The page of a run and its schematic: whole, self-contained, and shown by a real browser."""

import re
import shutil
import subprocess

import pytest

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.plots import write_figures
from eqprop_spice.results.report import MOST_ROWS, write_report, write_summary
from eqprop_spice.results.run import train
from eqprop_spice.results.schematic import schematic

LARGEST = 3_000_000
"""Bytes of a page."""

LOADS = re.compile(r"""(?:src|href)=["'](?!data:|#)|url\((?!#|data:|["']?#)|@import|fetch\(""")
"""What would make a browser ask for something."""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    run = train(Experiment.load("experiments/xor.toml", ["training.epochs=3"]), folder)
    return write_report(run)


@pytest.mark.ngspice
def test_a_page_is_whole_and_asks_for_nothing(page):
    text = page.read_text()
    assert page.name == "report.html" and len(text) < LARGEST
    assert not LOADS.search(text), LOADS.search(text)
    for title in ("Result", "Learning", "Predictions", "Node voltages", "Conductances", "Audit"):
        assert f"<h2>{title}</h2>" in text
    assert "kiraz" in text and "x_0" in text
    assert (page.parent / "history.csv").read_text().count("\n") == 4


def shown_by_a_browser(page, folder) -> tuple[str, list[str]]:
    """Return what a browser makes of a page, and what is wrong: complaints, and what it asked for.

    No name leads anywhere. What the browser asks for by itself is not the page's: in the browser's
    record of requests its initiator is "not an origin".
    """
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no chromium")
    quiet = "--no-first-run --disable-background-networking --disable-component-update"
    record = folder / "requests.json"
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", *quiet.split()),
            *("--disable-sync", f"--user-data-dir={folder}", "--enable-logging=stderr"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--log-net-log={record}"),
            *("--virtual-time-budget=1000", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    requests = [line for line in record.read_text().splitlines() if '"url":"http' in line]
    asked = [line for line in requests if '"initiator":' in line and "not an origin" not in line]
    return done.stdout, complaints + asked


@pytest.mark.ngspice
@pytest.mark.slow
def test_a_browser_shows_it_without_complaint(page, tmp_path):
    drawn, complaints = shown_by_a_browser(page, tmp_path)
    assert not complaints
    # The script has drawn: a path for each curve, and a point for each of three epochs.
    assert drawn.count('stroke-linecap="round"') == 3
    assert drawn.count('r="3" fill="#0072B2"') == 3 * 3


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


@pytest.mark.slow
def test_a_browser_shows_a_sweep_without_complaint(tmp_path):
    rows = [{"alpha": float(k)} for k in range(3)]
    path = write_summary(tmp_path, "title", {"rates": rows}, [], 'name = "x"')
    assert not shown_by_a_browser(path, tmp_path)[1]


@pytest.mark.parametrize(("name", "resistors"), [("xor", 3 * 3 + 3 * 2), ("digits", 3 * 3 * 2)])
def test_a_schematic_draws_the_first_devices_and_the_last(name, resistors, line_widths):
    experiment = Experiment.load(f"experiments/{name}.toml")
    drawn = schematic(experiment.circuit, experiment.initial_params(), title=name)
    assert drawn.startswith(b"<?xml") or b"<svg" in drawn[:200]
    assert len(line_widths) == resistors
    assert min(line_widths) >= 0.4 and max(line_widths) <= 3.0
    assert len(set(line_widths)) > 3
