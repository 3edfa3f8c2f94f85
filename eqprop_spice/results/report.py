"""report.html: everything that a run shows, in one file that opens anywhere without a network."""

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eqprop_spice.errors import ConfigError
from eqprop_spice.files import read_bounded, write_atomically
from eqprop_spice.notebook import shown
from eqprop_spice.results.deck_schematic import drawn
from eqprop_spice.results.plots import arranged, prediction_figure, voltage_figure
from eqprop_spice.results.run import Run

FILE = "report.html"

MOST_POINTS = 600
"""Points of a curve; a screen shows no more."""

MOST_AUDIT_BYTES = 10_000_000

MOST_FIGURE_BYTES = 20_000_000

MOST_ROWS = 200
"""Rows of a table; a sweep may have thousands."""

ROW_DIGITS = 4
"""Digits of the numbers in it."""

CURVES = {
    "loss": ("training loss", "V²"),
    "test_loss": ("test loss", "V²"),
    "accuracy": ("training error", "%"),
    "test_accuracy": ("test error", "%"),
    "max_error": ("largest error", "V"),
}
"""What is drawn over epochs, with names and units; an accuracy as the share that is wrong."""

LOGARITHMIC = {"V²", "V"}

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse}td,th{padding:.1rem .8rem .1rem 0;text-align:left;vertical-align:top}
pre{background:#f4f4f4;padding:.6rem;overflow-x:auto;font-size:.85rem}svg,img{max-width:100%;height:auto}
.curves{border:1px solid #ccc}.said{min-height:1.5em;color:#555}h2{margin-top:2rem}
"""

SCRIPT = """
for (const box of document.querySelectorAll('.curves')) {
  const lines = JSON.parse(box.dataset.curves), log = box.dataset.log === '1';
  const W = 800, H = 300, L = 70, B = 40, colors = ['#0072B2', '#D55E00', '#009E73', '#CC79A7'];
  const f = y => log ? Math.log10(y) : y, fine = y => y !== null && (!log || y > 0);
  // Steps of 1, 2 or 5 times a power of ten, of which about so many fit.
  const steps = (a, b, count, whole) => {
    const raw = Math.max((b - a) / count, whole ? 1 : 0), power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= raw * 0.999), found = [];
    for (let k = Math.ceil(a / step - 1e-9); k * step <= b + 1e-9 * step; k++) found.push(k * step);
    return found;
  };
  const ys = lines.flatMap(l => l.y.filter(fine).map(f));
  const xs = lines.flatMap(l => l.x);
  let x0 = Math.min(...xs), x1 = Math.max(...xs);
  if (x0 === x1) { x0 -= 1; x1 += 1; }
  let y0 = Math.min(...ys, log ? Infinity : 0), y1 = Math.max(...ys);
  if (!ys.length) { y0 = 0; y1 = 1; }
  if (log) { y0 = Math.floor(y0); y1 = Math.ceil(y1); }
  if (y1 - y0 < 1e-12) y1 = y0 + 1;
  const X = x => L + (x - x0) / (x1 - x0) * (W - L - 20);
  const at = v => H - B - (v - y0) / (y1 - y0) * (H - B - 20), Y = y => at(f(y));
  const NS = 'http://www.w3.org/2000/svg';
  const svg = box.appendChild(document.createElementNS(NS, 'svg'));
  svg.setAttribute('viewBox', `0 0 ${W} ${H}`);
  const add = (name, at, text) => {
    const e = svg.appendChild(document.createElementNS(NS, name));
    for (const k in at) e.setAttribute(k, at[k]);
    if (text !== undefined) e.textContent = text;
    return e;
  };
  for (const v of steps(y0, y1, 5, log)) {
    add('line', {x1: L, x2: W - 20, y1: at(v), y2: at(v), stroke: '#ddd'});
    const shown = log ? (10 ** v).toExponential(0) : +v.toPrecision(6);
    add('text', {x: L - 6, y: at(v) + 4, 'text-anchor': 'end', 'font-size': 12}, shown);
  }
  for (const v of steps(Math.min(...xs), Math.max(...xs), 8, true)) {
    add('line', {x1: X(v), x2: X(v), y1: H - B, y2: H - B + 4, stroke: '#888'});
    add('text', {x: X(v), y: H - B + 17, 'text-anchor': 'middle', 'font-size': 12}, v);
  }
  add('text', {x: (L + W) / 2, y: H - 6, 'text-anchor': 'middle', 'font-size': 12}, 'epoch');
  lines.forEach((l, i) => {
    let d = '';
    l.x.forEach((x, k) => {
      if (fine(l.y[k])) d += (d ? 'L' : 'M') + X(x) + ' ' + Y(l.y[k]);
    });
    const color = colors[i % 4];
    add('path', {d, fill: 'none', stroke: color, 'stroke-width': 2, 'stroke-linecap': 'round'});
    // A single point has no line.
    if (l.x.length <= 30) l.x.forEach((x, k) => {
      if (fine(l.y[k])) add('circle', {cx: X(x), cy: Y(l.y[k]), r: 3, fill: color});
    });
    add('text', {x: L + 10 + 180 * i, y: 13, fill: color, 'font-size': 13}, l.name);
  });
  const mark = add('line', {y1: 20, y2: H - B, stroke: '#888', visibility: 'hidden'});
  const said = box.appendChild(document.createElement('div'));
  said.className = 'said';
  svg.addEventListener('mousemove', event => {
    const r = svg.getBoundingClientRect(), at = (event.clientX - r.left) / r.width * W;
    const far = x => Math.abs(X(x) - at);
    const nearest = l => l.x.reduce((b, x, k) => far(x) < far(l.x[b]) ? k : b, 0);
    const k = nearest(lines[0]), place = X(lines[0].x[k]);
    mark.setAttribute('x1', place); mark.setAttribute('x2', place);
    mark.setAttribute('visibility', 'visible');
    said.textContent = 'epoch ' + lines[0].x[k] + ': ' + lines.map(l => {
      const y = l.y[nearest(l)];
      return l.name + ' ' + (y === null ? '-' : y.toPrecision(4)) + ' ' + box.dataset.unit;
    }).join(', ');
  });
}
"""


def write_report(run: Run) -> Path:
    """Write the page of a run that has ended into its folder; return the file.

    Raises:
        ConfigError: If the run has not ended, or a file of it is damaged.
    """
    path = run.path / FILE
    write_atomically(path, page(run).encode())
    return path


def write_summary(
    folder: Path, title: str, result: dict[str, Any], figures: Sequence[Path], toml: str = ""
) -> Path:
    """Write the page of a sweep or a comparison into its folder; return the file.

    Args:
        folder: Where to put it.
        title: What it is called.
        result: Figures by name; rows of a table are lists of dictionaries.
        figures: The PNG files of its figures, beside which lie the SVG files.
        toml: Its experiment.
    """
    plain = {k: v for k, v in result.items() if not isinstance(v, list | dict)}
    rows = [_rows(v) for v in result.values() if isinstance(v, list) and v]
    parts = [_section("Result", _table(plain))]
    parts += [_section(path.stem.capitalize(), _embedded(path)) for path in figures]
    # Below the figures: a sweep may have hundreds.
    parts += [_section("Table", *rows)] if rows else []
    parts.append(_section("Experiment", f"<pre>{html.escape(toml)}</pre>"))
    write_atomically(folder / FILE, _whole(title, "", parts).encode())
    return folder / FILE


def _rows(rows: list[dict[str, Any]]) -> str:
    """Return a table with a row for each dictionary; what is nested is left to result.json."""
    names = [k for k, v in rows[0].items() if not isinstance(v, list | dict)]
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in names)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{shown(str(n), row.get(n), ROW_DIGITS)}</td>" for n in names)
        + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _embedded(path: Path) -> str:
    """Return a figure that lies in a file: its lines, or its pixels where those are fewer bytes."""
    lines = read_bounded(path.with_suffix(".svg"), limit=MOST_FIGURE_BYTES).decode()
    pixels = read_bounded(path, limit=MOST_FIGURE_BYTES)
    if len(lines) < 2 * len(pixels):
        return lines[lines.index("<svg") :]
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(pixels).decode()}">'


def page(run: Run) -> str:
    """Return the page of a run as HTML."""
    history, final, experiment = run.history, run.final, run.experiment
    name = f"{experiment.table.name}: {run.name}"
    parts = [
        _section("Result", _table(run.results)),
        _section("Learning", *_curves(history)),
        _section("Predictions", _svg(prediction_figure(final))),
        _section("Node voltages", _svg(voltage_figure(final))),
        _section("Conductances", _svg(_heat_maps(run.params))),
        _section("Circuit", _schematic(run)),
        _section("Audit", _audit(run)),
        _section("Commands", _commands(run)),
        _section("Experiment", f"<pre>{html.escape(experiment.to_toml())}</pre>"),
        _section("Provenance", _table(_provenance(history))),
    ]
    return _whole(name, experiment.table.description, parts)


def _whole(title: str, description: str, parts: Sequence[str]) -> str:
    title = html.escape(title)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style></head><body><h1>{title}</h1>'
        f"<p>{html.escape(description)}</p>{''.join(parts)}<script>{SCRIPT}</script></body></html>\n"
    )


def _section(title: str, *content: str) -> str:
    return f"<section><h2>{title}</h2>{''.join(content)}</section>"


def _table(values: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(str(k))}</th><td>{shown(str(k), v)}</td></tr>"
        for k, v in values.items()
    )
    return f"<table>{rows}</table>"


def _curves(history: xr.Dataset) -> list[str]:
    """Return the boxes that the script draws curves into: one for every unit."""
    boxes = {}
    epochs = history["epoch"].values
    picked = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), MOST_POINTS)).astype(int))
    for name, (label, unit) in CURVES.items():
        if name in history and len(epochs):
            values = history[name].values
            values = 100.0 * (1.0 - values) if unit == "%" else values
            # Tests are not made in every epoch.
            known = (
                picked if np.isfinite(values[picked]).all() else np.flatnonzero(np.isfinite(values))
            )
            curve = {"name": label, "x": epochs[known].tolist(), "y": values[known].tolist()}
            boxes.setdefault(unit, []).append(curve)
    return [
        f'<p>{", ".join(c["name"] for c in curves)} [{unit}]</p><div class="curves" '
        f'data-unit="{unit}" data-log="{int(unit in LOGARITHMIC)}" '
        f'data-curves="{html.escape(json.dumps(curves))}"></div>'
        for unit, curves in boxes.items()
    ]


def _svg(figure: Figure) -> str:
    """Return a figure as an inline image, of bounded size whatever it holds."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        arranged(figure).savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _heat_maps(params: dict[str, np.ndarray]) -> Figure:
    """Draw the conductances of every group as a map [S]."""
    figure = Figure(figsize=(4.6 * len(params), 3.6), layout="constrained")
    for axes, (name, values) in zip(
        np.ravel(figure.subplots(1, len(params))), params.items(), strict=True
    ):
        table = np.asarray(values).reshape(len(values), -1)
        image = axes.imshow(table, aspect="auto", cmap="viridis", interpolation="nearest")
        axes.set(title=name, xlabel="Output node", ylabel="Input node")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        figure.colorbar(image, ax=axes, label="Conductance [S]")
    return figure


def _schematic(run: Run) -> str:
    try:
        picture = drawn(run.experiment, run.params).decode()
    except ConfigError as error:
        return f"<p>{html.escape(str(error))}</p>"
    return picture[picture.index("<svg") :]


def _audit(run: Run) -> str:
    """Return the verdict of `eqprop-spice audit RUN`, if that was asked for."""
    path = run.path / "audit" / "report.json"
    command = f"eqprop-spice audit {run.name}"
    if not path.is_file():
        return f"<p>Not audited. <code>{html.escape(command)}</code> does it.</p>"
    try:
        found = json.loads(read_bounded(path, limit=MOST_AUDIT_BYTES))
        causes = [f"{c['code']}: {c['finding']} {c['remedy']}" for c in found.get("causes", [])]
        listed = "".join(f"<li>{html.escape(cause)}</li>" for cause in causes)
        return f"<p>Verdict: <b>{html.escape(str(found['verdict']))}</b></p><ul>{listed}</ul>"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"<p>{html.escape(str(path))} is damaged: {html.escape(str(error))}</p>"


def _commands(run: Run) -> str:
    lines = (
        f"eqprop-spice train {run.name}/experiment.toml --out again",
        f"eqprop-spice verify {run.name}",
        f"ngspice -b {run.name}/free.cir",
    )
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def _provenance(history: xr.Dataset) -> dict[str, Any]:
    return {str(k): v for k, v in history.attrs.items() if k not in ("experiment", "run")}
