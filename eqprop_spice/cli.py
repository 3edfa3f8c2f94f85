"""The command line: train, sweep, netlist, show, verify, doctor."""

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
