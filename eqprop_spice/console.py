"""What the command line shows: progress of runs and sweeps, results and reports."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eqprop_spice.errors import Remark, printable
from eqprop_spice.notebook import with_unit
from eqprop_spice.progress import RunBar, bar

# Names of files and keys may hold brackets, which are no markup.
console = Console(markup=False, emoji=False)
errors = Console(stderr=True, markup=False, emoji=False)

PLAIN_REPORTS = 20
"""Lines a run prints when it is not on a terminal."""

LISTED_DIGITS = 4
"""Digits of the figures in a list of several things."""

SHORT, WIDEST = 16, 1000
"""Characters up to which a cell of a list stays on one line; most that a line gets in a file."""

MAX_ROWS = 60
"""Rates that a sweep prints."""

COMPARISON_WIDTH = 140
"""Characters that the table of a comparison needs in a line."""


def say(text: str, where: Console = console) -> None:
    """Print a line as it is: no wrapping, and no markup in the brackets of a path."""
    lines = "\n".join(map(printable, text.split("\n")))
    where.print(lines, highlight=False, soft_wrap=True)


def show_remarks() -> None:
    """Show every remark of the package as one line among the errors, each once."""
    others, shown = warnings.showwarning, set()

    def show(message, category, *place, **more) -> None:
        if issubclass(category, Remark):
            if str(message) not in shown:
                say(f"remark: {message}", errors)
            shown.add(str(message))
        else:
            others(message, category, *place, **more)

    warnings.showwarning = show


class RunReporter:
    """Shows the epochs: a live bar on a terminal, a few plain lines elsewhere."""

    def __init__(self, epochs: int, num_samples: int) -> None:
        self._epochs = epochs
        self._bar = RunBar(epochs, num_samples, console)

    def __enter__(self) -> "RunReporter":
        self._bar.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)

    def __call__(self, epoch: int, figures: dict[str, float]) -> None:
        """Show an epoch."""
        line = self._bar(epoch, figures)
        few = epoch == 1 or epoch == self._epochs or epoch % -(-self._epochs // PLAIN_REPORTS) == 0
        if few and not self._bar.live:
            print(f"epoch {epoch}/{self._epochs}  {line}", flush=True)


class SweepReporter:
    """Shows how many cells are done: a live bar on a terminal, a few plain lines elsewhere."""

    def __init__(self, num_cells: int) -> None:
        self._num_cells, self._shown = num_cells, -1
        self._live = errors.is_terminal
        self._progress, self._task = bar("cells", num_cells, where=errors, live=self._live)

    def __enter__(self) -> "SweepReporter":
        self._progress.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._progress.stop()

    def __call__(self, done: int, counts: Mapping[str, int]) -> None:
        """Show the cells done, and of them those that learned and those that failed."""
        failed = counts["unconverged"] + counts["crashed"]
        line = f"learned {counts['learned']}  failed {failed}"
        step = max(self._num_cells // PLAIN_REPORTS, 1)
        if self._live:
            self._progress.update(self._task, completed=done, description=line)
        elif done // step > self._shown // step or (done == self._num_cells > self._shown):
            say(f"cells {done}/{self._num_cells}  {line}", errors)
        self._shown = done


def print_results(results: dict[str, Any]) -> None:
    """Print figures by name."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in results.items():
        table.add_row(printable(name), with_unit(name, value))
    console.print(table)


def print_rows(rows: Sequence[Mapping[str, Any]], where: Console = console) -> None:
    """Print a row for each of several things, under the names that any of them has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = [[with_unit(name, row.get(name), LISTED_DIGITS) for row in rows] for name in names]
    for name, cells in zip(names, columns, strict=True):
        # What is too long for the terminal goes on in the next line; nothing is cut off.
        short = max(map(len, cells), default=0) <= SHORT
        table.add_column(name.replace("_", "\n"), overflow="fold", no_wrap=short)
    for cells in zip(*columns, strict=True):
        # Names of files may look like markup.
        table.add_row(*map(Text, cells))
    if not where.is_terminal:
        # What is no terminal has no width: a line for each, which grep finds.
        stderr = where is errors
        where = Console(width=WIDEST, stderr=stderr, markup=False, emoji=False)
    where.print(table)


def print_rates(rows: list[dict[str, Any]]) -> None:
    """Print how many starts learn for every combination of the other axes."""
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows[:MAX_ROWS]:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)
    if len(rows) > MAX_ROWS:
        say(f"... and {len(rows) - MAX_ROWS} more; --json lists them")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _spread(figures: dict[str, float | None]) -> str:
    """Return a mean with its standard error, and the standard deviation in brackets."""
    mean, deviation, error = (
        _number(figures[k]) for k in ("mean", "standard_deviation", "standard_error")
    )
    return mean if figures["standard_error"] is None else f"{mean} ± {error} ({deviation})"


def print_comparison(result: dict[str, Any]) -> None:
    """Print a row per rule, and how far C-EP is from the exact gradient."""
    unit = result["units"]["error"]
    labels = {row["rule"]: row["label"] for row in result["rules"]}
    reference = labels.get(result["reference"], "reference")
    table = Table(
        "rule",
        "seeds",
        "train loss [V²]",
        f"{result['measure']} [{unit}]",
        f"minus {reference} [{unit}]",
        "learned [%]",
        "unconverged",
        "s per run",
        title=f"{result['name']}: mean over seeds ± standard error (standard deviation)",
        box=None,
        title_justify="left",
    )
    for row in result["rules"]:
        failed = f" ({row['failed']} failed)" if row["failed"] else ""
        table.add_row(
            row["label"],
            f"{row['seeds']}{failed}",
            _spread(row["train_loss"]),
            _spread(row["error"]),
            _spread(row["difference"]) if row["difference"] else "-",
            "-" if row["learned"] is None else f"{100 * row['learned']:.0f}",
            str(row["num_unconverged"]),
            _number(row["seconds"]),
        )
    # On a narrow terminal, lines that break are better than columns that are cut off.
    Console(width=max(console.width, COMPARISON_WIDTH), markup=False).print(table)
    for row in result["rules"]:
        found = row["difference"]
        if row["rule"] == "c_ep" and found and found["within"] is not None:
            say(
                f"{row['label']} lies {'within' if found['within'] else 'beyond'} one standard "
                f"error of {reference}."
            )


def print_audit(report: dict[str, Any]) -> None:
    """Print an audit's report for a reader; that of a circuit says more."""
    _print_gradients(report)
    if "power" not in report and report["edges"]:
        say(_worst_edges(report["edges"]))
    if "power" in report:
        table = Table(
            "cause", *report["varied"], title="error budget: share of each layer's gradient"
        )
        for stage, shares in report["budget"].items():
            table.add_row(stage, *(_number(v) for v in shares.values()))
        console.print(table)
        _print_circuit(report)
        for remark in report["remarks"]:
            say(f"remark: {remark}")
        for cause in report["causes"]:
            say(f"cause: {cause['code']}. {cause['finding']}\n  remedy: {cause['remedy']}")
    say(f"verdict: {report['verdict']}")


def _print_gradients(report: dict[str, Any]) -> None:
    """Print what an audit found of gradients and nudges."""
    for title, section in (
        ("the references, against the adjoint", "references"),
        ("the estimates, against the adjoint", "estimates"),
    ):
        columns = ("cosine", "norm_ratio", "relative_error", "largest_error")
        table = Table("gradient", "layer", *(c.replace("_", " ") for c in columns), title=title)
        for label, layers in report[section].items():
            for i, (layer, c) in enumerate(layers.items()):
                shown = (_number(c[k]) for k in columns)
                table.add_row(label if i == 0 else "", layer, *shown)
        console.print(table)
    table = Table("rule", "order", "noise x beta", "best beta", "range", title="nudge [S]")
    for label, curve in report["scans"].items():
        window = "none" if curve["window"] is None else " ... ".join(map(_number, curve["window"]))
        table.add_row(label, *(_number(curve[k]) for k in ("slope", "noise", "best")), window)
    console.print(table)


MOST_EDGES = 5
"""Of the most asymmetric devices, so many are named."""


def _worst_edges(edges: list[dict[str, Any]]) -> str:
    """Return which devices are least reciprocal."""
    named = ", ".join(
        f"{edge['name']} {_number(edge['asymmetry'])} of {_number(edge['conductance'])} S"
        for edge in edges[:MOST_EDGES]
    )
    return f"most asymmetric of {len(edges)} devices: {named}"


def print_import(report: dict[str, Any]) -> None:
    """Print what was understood of a netlist."""
    if "elements" in report:
        table = Table("element", "nodes", "value", "model", box=None, pad_edge=False)
        for row in report["elements"][:MAX_ROWS]:
            sizes = " ".join(f"{name}={value:g}" for name, value in row["parameters"].items())
            value = "" if row["value"] is None else f"{row['value']:g}"
            model = f"{row['model'] or ''} {sizes}".strip()
            # Names of strangers may look like markup.
            table.add_row(*map(Text, (row["name"], " ".join(row["nodes"]), value, model)))
        console.print(table)
        table = Table("node", "native [V]", "regenerated [V]", "original [V]", box=None)
        for node, found in list(report["voltages"].items())[:MAX_ROWS]:
            shown = (found.get(solver) for solver in ("native", "regenerated", "original"))
            table.add_row(Text(node), *("-" if v is None else f"{v:.9g}" for v in shown))
        console.print(table)
        if max(len(report["elements"]), len(report["voltages"])) > MAX_ROWS:
            say(f"... only the first {MAX_ROWS} are shown; --json lists all")
        counts = ", ".join(f"{count} {kind}" for kind, count in report["counts"].items())
        say(f"elements: {counts}; temperature {report['temperature']:g} degC")
        for note in report["notes"]:
            say(f"note: {note}")
    for finding in report["findings"]:
        say(f"finding: {finding}")
    say(f"verdict: {report['verdict']}")


def _print_circuit(report: dict[str, Any]) -> None:
    """Print what an audit found of the circuit itself."""
    weights, unique = report["weights"], report["uniqueness"]
    if weights is None:
        lines = [f"no reciprocity weights exist; asymmetry {_number(report['asymmetry'])}"]
    else:
        values = "; ".join(f"{k} {', '.join(map(_number, v))}" for k, v in weights.items())
        lines = [f"reciprocity weights: {values}"]
    if report["without_energy"]:
        names = ", ".join(f"{name} ({kind})" for name, kind in report["without_energy"].items())
        lines.append(
            f"devices without an energy: {names}; asymmetry {_number(report['asymmetry'])}"
        )
        lines.append(_worst_edges(report["edges"]))
    lines.append(
        f"largest error of a voltage by the configured solver: {_number(report['solver_error'])} V"
    )
    lines.append(
        f"operating points per sample: {unique['most_points']} found from {unique['num_starts']} "
        f"starts; a single one is {'' if unique['guaranteed'] else 'not '}guaranteed"
    )
    table = Table("power [W]", *report["power"], title="where the power goes")
    for kind in report["power"]["free"]["powers"]:
        table.add_row(kind, *(_number(p["powers"][kind]) for p in report["power"].values()))
    table.add_row("sum / magnitudes", *(_number(p["tellegen"]) for p in report["power"].values()))
    for label, key in (
        ("co-content slope - w dV^2/2", "co_content_slope_error"),
        ("dissipation slope - dV^2", "dissipation_slope_error"),
    ):
        table.add_row(label, *(_number(p[key]) for p in report["power"].values()))
    console.print(table)
    for line in lines:
        say(line)
