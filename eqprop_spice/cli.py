"""The command line: train, sweep, netlist, show, verify, audit, doctor."""

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from eqprop_spice.errors import ConfigError, ConvergenceError, NetlistError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Simulate and train analog circuits in ngspice.",
)
console = Console()
errors = Console(stderr=True)

PLAIN_REPORTS = 20
"""Lines a run prints when it is not on a terminal."""

MAX_ROWS = 60
"""Rates that a sweep prints."""

RATE_SMOOTHING = 0.2
"""Share of the newest epoch in the shown samples per second."""

FileArgument = Annotated[Path, typer.Argument(help="An experiment's TOML file.")]
SetOption = Annotated[
    list[str], typer.Option("--set", help="Override a key: training.epochs=10. Repeatable.")
]


def _decibels(loss: float) -> float:
    return 10.0 * math.log10(loss) if loss > 0 else -math.inf


def _described(figures: dict[str, float]) -> str:
    """Return an epoch's figures as a line."""
    parts = [f"loss {_decibels(figures['loss']):7.2f} dB"]
    if "accuracy" in figures:
        parts.append(f"accuracy {100 * figures['accuracy']:5.1f} %")
    if "test_accuracy" in figures:
        parts.append(f"test {100 * figures['test_accuracy']:5.1f} %")
    if figures.get("num_unconverged"):
        parts.append(f"unconverged {figures['num_unconverged']:.0f}")
    return "  ".join(parts)


class _Reporter:
    """Shows the epochs: a live bar on a terminal, a few plain lines elsewhere."""

    def __init__(self, epochs: int, num_samples: int) -> None:
        self._epochs, self._num_samples = epochs, num_samples
        self._seconds: float | None = None
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("epoch {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._task = self._progress.add_task("", total=epochs)

    def __enter__(self) -> "_Reporter":
        self._progress.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._progress.stop()

    def __call__(self, epoch: int, figures: dict[str, float]) -> None:
        """Show an epoch."""
        if self._seconds is None:
            # A resumed run does not begin at the first epoch.
            self._seconds = figures["seconds"]
            self._progress.reset(self._task, completed=epoch - 1)
        # The first epochs compile; a running mean forgets them.
        self._seconds += RATE_SMOOTHING * (figures["seconds"] - self._seconds)
        rate = self._num_samples / max(self._seconds, 1e-9)
        line = f"{_described(figures)}  {rate:,.0f} samples/s"
        if self._live:
            self._progress.update(self._task, completed=epoch, description=line)
        elif epoch == 1 or epoch == self._epochs or epoch % -(-self._epochs // PLAIN_REPORTS) == 0:
            print(f"epoch {epoch}/{self._epochs}  {line}", flush=True)


@app.command()
def train(
    file: Annotated[Path | None, typer.Argument(help="An experiment's TOML file.")] = None,
    assignments: SetOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    seed: Annotated[int | None, typer.Option(help="Seed; overrides the file's.")] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for the run.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Run folder to continue.")] = None,
) -> None:
    """Train an experiment, or continue an interrupted run."""
    from eqprop_spice.experiment import Experiment
    from eqprop_spice.run import Run
    from eqprop_spice.run import train as train_run

    if (file is None) == (resume is None):
        raise ConfigError("Give an experiment's file, or --resume with a run folder; not both.")
    if resume is not None and (assignments or seed is not None or out is not None):
        raise ConfigError("--resume continues a run as it was: --set, --seed and --out do not go.")
    if resume is not None:
        experiment, run = Run.open(resume).experiment, Run.open(resume)
    else:
        assert file is not None
        chosen = [*assignments, *([f"seed={seed}"] if seed is not None else [])]
        experiment = Experiment.load(file, chosen)
        run = Run.create(experiment, out)
    _say(f"run folder: {run.path}", errors)
    reporter = _Reporter(experiment.table.training.epochs, len(experiment.data.train_inputs))
    try:
        with reporter:
            run = train_run(resume=run.path, progress=reporter)
    except KeyboardInterrupt:
        _say(f"Interrupted. Continue with: eqprop-spice train --resume {run.path}", errors)
        raise typer.Exit(130) from None
    except OSError as error:
        raise ConfigError(
            f"{run.path} cannot be written: {error}. The previous checkpoint is intact; free some "
            f"space and continue with: eqprop-spice train --resume {run.path}"
        ) from error
    _print_results(run.results)
    _say(f"figures, netlists and history: {run.path}")


def _say(text: str, where: Console = console) -> None:
    """Print a line as it is: no wrapping, and no markup in the brackets of a path."""
    where.print(text, highlight=False, soft_wrap=True, markup=False)


def _print_results(results: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in results.items():
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        table.add_row(name, shown)
    console.print(table)


@app.command()
def netlist(
    file: FileArgument,
    assignments: SetOption = [],  # noqa: B006
    phase: Annotated[str, typer.Option(help="free or nudged")] = "free",
    sample: Annotated[int, typer.Option(help="Number of the training sample.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="File to write; standard output if none.")
    ] = None,
) -> None:
    """Write the netlist of a phase, with the starting conductances of the file's seed.

    Given a run folder instead of a file, the conductances are those of its last checkpoint.
    """
    from eqprop_spice.experiment import Experiment
    from eqprop_spice.run import Run, trained_netlists

    if phase not in ("free", "nudged"):
        raise ConfigError(f"--phase is '{phase}'; it must be free or nudged.")
    if file.is_dir():
        if assignments:
            raise ConfigError("--set changes an experiment's file; a run folder stays as it ran.")
        run = Run.open(file)
        experiment, params = run.experiment, run.params
    else:
        experiment = Experiment.load(file, assignments)
        params = experiment.initial_params()
    count = len(experiment.data.train_inputs)
    if not 0 <= sample < count:
        raise ConfigError(f"--sample is {sample}; the dataset has samples 0 to {count - 1}.")
    text = trained_netlists(experiment, params, sample=sample)[phase]
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text)


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Print the final figures of a run and draw its figures again."""
    from eqprop_spice.plots import save_figures
    from eqprop_spice.run import Run

    run = Run.open(folder)
    if as_json:
        print(json.dumps(run.results, indent=2))
        return
    _print_results(run.results)
    if run.results["finished"]:
        for path in save_figures(run.history, run.final, run.path / "figures"):
            _say(str(path))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    samples: Annotated[int, typer.Option(help="How many samples to simulate.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Simulate a trained network's predictions again in ngspice, and compare."""
    from eqprop_spice.run import Run
    from eqprop_spice.verify import verify as verify_run

    result = dataclasses.asdict(verify_run(Run.open(folder), num_samples=samples))
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        _print_results(result)


class _SweepReporter:
    """Shows how many cells are done: a live bar on a terminal, a few plain lines elsewhere."""

    def __init__(self, num_cells: int) -> None:
        self._num_cells, self._shown = num_cells, -1
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("cells {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=errors,
            transient=True,
            disable=not self._live,
        )
        self._task = self._progress.add_task("", total=num_cells)

    def __enter__(self) -> "_SweepReporter":
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
            _say(f"cells {done}/{self._num_cells}  {line}", errors)
        self._shown = done


def _print_rates(rows: list[dict[str, Any]]) -> None:
    """Print how many starts learn for every combination of the other axes."""
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows[:MAX_ROWS]:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)
    if len(rows) > MAX_ROWS:
        _say(f"... and {len(rows) - MAX_ROWS} more; --json lists them")


@app.command()
def sweep(
    file: Annotated[
        Path | None, typer.Argument(help="An experiment's TOML file with a [sweep] table.")
    ] = None,
    assignments: SetOption = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="New folder for the results.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder of a sweep; computes only what is missing.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask scheduler: tcp://host:8786.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine; one per core if none.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Start a very large sweep.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train an experiment over and over, with some of its keys varied."""
    from eqprop_spice.experiment import Experiment
    from eqprop_spice.sweeps import commands

    if (file is None) == (resume is None):
        raise ConfigError("Give an experiment's file, or --resume with a sweep's folder; not both.")
    if resume is not None and (assignments or out is not None):
        raise ConfigError("--resume continues a sweep as it was: --set and --out do not go.")
    if resume is not None:
        store = commands.open_store(resume)
    else:
        assert file is not None
        planned = commands.plan(Experiment.load(file, assignments))
        if not yes and commands.is_very_large(planned):
            question = commands.large_question(planned, workers)
            if not (sys.stdin.isatty() and typer.confirm(question + " Start it?")):
                raise ConfigError(f"{question} Give --yes to start it, or fewer values.")
        store = commands.new_store(planned, out)
    _say(f"folder of the sweep: {store.path}", errors)
    try:
        with _SweepReporter(store.sweep.num_cells) as reporter:
            commands.run(store, scheduler=scheduler, num_workers=workers, progress=reporter)
    except KeyboardInterrupt:
        _say(f"Interrupted. Continue with: eqprop-spice sweep --resume {store.path}", errors)
        raise typer.Exit(130) from None
    except OSError as error:
        raise ConfigError(
            f"{store.path} cannot be written: {error}. The cells written before are intact; free "
            f"some space and continue with: eqprop-spice sweep --resume {store.path}"
        ) from error
    result = commands.summary(store)
    if as_json:
        print(json.dumps(result, indent=2))
        return
    _print_rates(result.pop("rates"))
    _print_results(result)
    for path in commands.save_figures(store):
        _say(str(path))


@app.command()
def audit(
    file: Annotated[Path, typer.Argument(help="An experiment's TOML file, or a run folder.")],
    assignments: SetOption = [],  # noqa: B006
    samples: Annotated[int, typer.Option(help="Training samples to use.")] = 16,
    conductances: Annotated[int, typer.Option(help="Conductances to vary one by one.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of that choice.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for figures and report.json.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Tell whether a circuit follows the gradient of its loss, and if not, why not.

    The exit status is 0 for the verdict OK and 1 for any other.
    """
    from eqprop_spice.audit.case import Case, open_audited
    from eqprop_spice.audit.figures import save_figures
    from eqprop_spice.audit.report import OK
    from eqprop_spice.audit.report import audit as audit_case

    experiment, params = open_audited(file, assignments)
    case = Case.from_experiment(
        experiment,
        params=params,
        num_samples=samples,
        num_conductances=conductances,
        seed=seed,
    )
    found = audit_case(case)
    report = json.dumps(found.to_dict(), indent=2)
    folder = out or (file / "audit" if file.is_dir() else Path("audits") / case.name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(report + "\n")
    save_figures(found, folder)
    if as_json:
        print(report)
    else:
        _print_audit(found.to_dict())
        _say(f"figures and report: {folder}")
    raise typer.Exit(0 if found.verdict == OK else 1)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _print_audit(report: dict[str, Any]) -> None:
    """Print an audit's report for a reader."""
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
    table = Table("cause", *report["varied"], title="error budget: share of each layer's gradient")
    for stage, shares in report["budget"].items():
        table.add_row(stage, *(_number(v) for v in shares.values()))
    console.print(table)
    table = Table("rule", "order", "noise x beta", "best beta", "range", title="nudge [S]")
    for label, curve in report["scans"].items():
        window = "none" if curve["window"] is None else " ... ".join(map(_number, curve["window"]))
        table.add_row(label, *(_number(curve[k]) for k in ("slope", "noise", "best")), window)
    console.print(table)
    _print_circuit(report)
    for remark in report["remarks"]:
        _say(f"remark: {remark}")
    for cause in report["causes"]:
        _say(f"cause: {cause['code']}. {cause['finding']}\n  remedy: {cause['remedy']}")
    _say(f"verdict: {report['verdict']}")


def _print_circuit(report: dict[str, Any]) -> None:
    """Print what an audit found of the circuit itself."""
    weights, unique = report["weights"], report["uniqueness"]
    if weights is None:
        lines = [f"no reciprocity weights exist; asymmetry {_number(report['asymmetry'])}"]
    else:
        values = "; ".join(f"{k} {', '.join(map(_number, v))}" for k, v in weights.items())
        lines = [f"reciprocity weights: {values}"]
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
        _say(line)


@app.command()
def doctor() -> None:
    """Tell what is installed, and whether a test circuit solves to 1e-9 V."""
    from eqprop_spice.doctor import diagnose

    table = Table(show_header=False, box=None, pad_edge=False)
    report = diagnose()
    for name, value in report.findings.items():
        table.add_row(name, value)
    console.print(table)
    if not report.healthy:
        raise NetlistError("The test circuit does not solve to 1e-9 V; see above.")


def main() -> None:
    """Run the command line; expected errors are one message and exit status 2."""
    try:
        app()
    except (ConfigError, NetlistError, ConvergenceError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error}.")


def _fail(message: str) -> None:
    text = Text("error: ", style="bold red").append(message, style="not bold default")
    errors.print(text, soft_wrap=True)
    sys.exit(2)
