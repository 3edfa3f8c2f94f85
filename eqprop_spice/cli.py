"""The command line: new, list, train, sweep, compare, netlist, import, runs, show, verify, ..."""

import dataclasses
import errno
import gc
import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from eqprop_spice import __version__
from eqprop_spice.console import (
    RunReporter,
    SweepReporter,
    console,
    errors,
    print_audit,
    print_comparison,
    print_import,
    print_rates,
    print_results,
    print_rows,
    say,
    show_remarks,
)
from eqprop_spice.errors import ConfigError, ConvergenceError, NetlistError, printable
from eqprop_spice.files import write_inside, write_named

if TYPE_CHECKING:
    from eqprop_spice.experiment.experiment import Experiment
    from eqprop_spice.results.run import Run
    from eqprop_spice.sweeps.store import Store

GARBAGE = 20_000
"""New objects after which Python looks for garbage; at its own 700, a tenth of the start-up is
spent on looking through what has just been imported."""

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Simulate and train analog circuits in ngspice.",
)
NETLISTS = (".cir", ".sp", ".net", ".ckt")
"""How the names of netlists end."""

FILE = "An experiment's TOML file, or the name of one that comes along, such as xor."
FileArgument = Annotated[Path, typer.Argument(help=FILE)]
SetOption = Annotated[
    list[str], typer.Option("--set", help="Override a key: training.epochs=10. Repeatable.")
]


def _show_version(wanted: bool) -> bool:
    if wanted:
        print(f"eqprop_spice {__version__}")
        raise typer.Exit()
    return wanted


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Simulate and train analog circuits in ngspice."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the experiment; NAME.toml is written.")],
    source: Annotated[
        str, typer.Option("--from", help="An experiment that comes along; see list.")
    ] = "xor",
) -> None:
    """Write an experiment to change: a copy of one that comes along."""
    from eqprop_spice.experiment.shipped import copied

    text, path = copied(name, source), Path(f"{name}.toml")
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} exists already. Choose another name, or remove it.") from None
    say(f"{path}: train it with `eqprop-spice train {path}`")


@app.command("list")
def list_shipped() -> None:
    """List the experiments that come along, with what to expect of them and how long they take."""
    from eqprop_spice.experiment.shipped import shipped

    rows = [
        {
            "experiment": one.name,
            "command": one.command,
            "expected": one.result or one.description,
            "time": one.runtime,
        }
        for one in shipped()
    ]
    print_rows(rows)


@app.command("runs")
def list_runs(
    folder: Annotated[Path, typer.Argument(help="The folder that holds them.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the run folders in a folder, with their figures."""
    from eqprop_spice.results.catalog import runs

    rows = [{**row, "run": str(row["run"])} for row in runs(folder)]
    if as_json:
        print(json.dumps(rows, indent=2))
    elif rows:
        print_rows(rows)
    else:
        say(f"{folder} holds no run folder. `eqprop-spice train` makes one.")


@app.command()
def train(
    file: Annotated[Path | None, typer.Argument(help=FILE)] = None,
    assignments: SetOption = [],  # noqa: B006 (typer reads the default, nobody changes it)
    seed: Annotated[int | None, typer.Option(help="Seed; overrides the file's.")] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for the run.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Run folder to continue.")] = None,
) -> None:
    """Train an experiment, or continue an interrupted run."""
    from eqprop_spice.experiment.experiment import Experiment
    from eqprop_spice.results.run import Run
    from eqprop_spice.results.run import train as train_run

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
    say(f"run folder: {run.path}", errors)
    _caution(run)
    reporter = RunReporter(experiment.table.training.epochs, len(experiment.data.train_inputs))
    try:
        with reporter:
            run = train_run(resume=run.path, progress=reporter)
    except KeyboardInterrupt:
        say(f"Interrupted. Continue with: eqprop-spice train --resume {run.path}", errors)
        raise typer.Exit(130) from None
    except OSError as error:
        again = f"eqprop-spice train --resume {run.path}"
        raise ConfigError(
            f"{_reason(error, run.path)} The previous checkpoint is intact; continue with: {again}"
        ) from error
    print_results(run.results)
    say(f"figures, netlists, history and report.html: {run.path}")
    _write_report(run)


def _write_report(run: "Run") -> None:
    """Write the page of a run; one that cannot be drawn costs a message, as figures do."""
    from eqprop_spice.results.report import write_report

    try:
        write_report(run)
    except (ConfigError, ValueError, RuntimeError) as error:
        say(f"remark: report.html was not written: {error}", errors)


def _caution(run: "Run") -> None:
    """Say if samples may settle in several states."""
    from eqprop_spice.engines.uniqueness import SEVERAL

    experiment = run.experiment
    known = experiment.substrate.uniqueness(run.params, experiment.data.train_inputs)
    if known is not None and known.caution is not None:
        say(f"caution: {known.caution}", errors)
        # What the engines would say of the same, in other words.
        warnings.filterwarnings("ignore", message=re.escape(SEVERAL))


@app.command()
def netlist(
    file: FileArgument,
    assignments: SetOption = [],  # noqa: B006
    phase: Annotated[str, typer.Option(help="free or nudged")] = "free",
    sample: Annotated[int, typer.Option(help="Number of the training sample.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="File to write; standard output if none.")
    ] = None,
    dialect: Annotated[
        str, typer.Option(help="Portable form without commands: ngspice, ltspice or xyce.")
    ] = "",
    bom: Annotated[
        Path | None, typer.Option(help="CSV to write: the parts, resistors of preferred values.")
    ] = None,
    series: Annotated[str, typer.Option(help="With --bom: E12, E24 or E96.")] = "E96",
) -> None:
    """Write the netlist of a phase, with the starting conductances of the file's seed.

    Given a run folder instead of a file, the conductances are those of its last checkpoint. With
    --bom, the resistors of the netlist too have preferred values, and what that costs is printed.
    """
    from eqprop_spice.experiment.experiment import Experiment
    from eqprop_spice.results.netlists import trained_netlists
    from eqprop_spice.results.run import Run

    if phase not in ("free", "nudged"):
        raise ConfigError(f"--phase is '{phase}'; it must be free or nudged.")
    if file.is_dir():
        if assignments:
            raise ConfigError("--set changes an experiment's file; a run folder stays as it ran.")
        run = Run.open(file)
        experiment, params, marked = run.experiment, run.params, run.marked
    else:
        experiment = Experiment.load(file, assignments)
        params, marked = experiment.initial_params(), str
    count = len(experiment.data.train_inputs)
    if not 0 <= sample < count:
        raise ConfigError(f"--sample is {sample}; the dataset has samples 0 to {count - 1}.")
    if bom is not None:
        params = _with_parts(experiment, params, bom, series)
    text = marked(trained_netlists(experiment, params, sample=sample)[phase])
    if dialect:
        from eqprop_spice.spice.portable import in_dialect

        text = marked(in_dialect(text, dialect))
    if out is None:
        sys.stdout.write(text)
    else:
        write_named(out, text.encode())


def _with_parts(
    experiment: "Experiment", params: dict[str, Any], bom: Path, series: str
) -> dict[str, Any]:
    """Return parameters of preferred resistances; write the parts, and tell what it costs."""
    from eqprop_spice.results.parts import bill_of_materials, snapped

    circuit = experiment.circuit
    chosen = snapped(params, series, currents=circuit.supplied_parameters)
    write_named(bom, bill_of_materials(circuit, chosen).encode())
    test = len(experiment.data.test_inputs) > 0
    rows = [
        {"resistors": name, **experiment.trainer.evaluate(values, test=test)}
        for name, values in (("as trained", params), (series, chosen))
    ]
    say(f"parts: {bom}", errors)
    print_rows(rows, errors)
    return chosen


@app.command("import")
def import_netlist(
    file: Annotated[Path, typer.Argument(help="A netlist as others write it.")],
    include: Annotated[
        bool, typer.Option("--include", help="Read files in its folder that it includes.")
    ] = False,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave .control sections out instead of refusing them.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File for the regenerated netlist.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Tell what was understood of a netlist, and compare with plain ngspice on the original.

    Nothing in the file is executed. The exit status is 0 for TRUSTWORTHY, 1 for SUSPECT and 2 for
    FAILED.
    """
    from eqprop_spice.results.imported import EXIT, examine

    found = examine(file, include=include, skip_commands=skip)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        print_import(found.to_dict())
    if out is not None and found.netlist is not None:
        out.write_text(found.netlist)
    raise typer.Exit(EXIT[found.verdict])


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Print the final figures of a run and draw its figures again."""
    from eqprop_spice.results.plots import save_figures
    from eqprop_spice.results.run import Run

    run = Run.open(folder)
    if as_json:
        print(json.dumps(run.results, indent=2))
        return
    print_results(run.results)
    if run.results["finished"]:
        for path in save_figures(
            run.history, run.final, run.path / "figures", description=run.description
        ):
            say(str(path))


@app.command()
def schematic(
    file: Annotated[
        Path, typer.Argument(help="An experiment's TOML file, a run folder, or a netlist.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="File to write; its name ends with .svg or .png.")
    ] = None,
    inputs: Annotated[
        str, typer.Option(help="Of a netlist, its input sources with commas, such as va,vb.")
    ] = "",
    outputs: Annotated[str, typer.Option(help="Of a netlist, its output nodes with commas.")] = "",
) -> None:
    """Draw a circuit: trained conductances as line width, of large layers the first and last."""
    from eqprop_spice.experiment.experiment import Experiment
    from eqprop_spice.results.deck_schematic import deck_schematic, drawn
    from eqprop_spice.results.run import Run
    from eqprop_spice.spice.reader import read

    of_netlist = file.suffix.lower() in NETLISTS
    if (inputs or outputs) and not of_netlist:
        raise ConfigError("An experiment says itself what its inputs and outputs are.")
    default = file / "schematic.svg" if file.is_dir() else Path(f"{file.stem}.svg")
    path = out or default
    form = path.suffix[1:]
    if form not in ("svg", "png"):
        raise ConfigError(f"--out is {path}; its name must end with .svg or .png.")
    if of_netlist:
        chosen = {"inputs": _listed(inputs), "outputs": _listed(outputs)}
        deck = read(file)
        write_named(path, deck_schematic(deck, title=printable(deck.title), form=form, **chosen))
    else:
        run = Run.open(file) if file.is_dir() else None
        experiment = Experiment.load(file) if run is None else run.experiment
        params = experiment.initial_params() if run is None else run.params
        title = experiment.table.name + ("" if run is None else f": {run.name}")
        write_named(path, drawn(experiment, params, title=title, form=form))
    say(str(path))


def _listed(names: str) -> list[str]:
    return [name.strip().lower() for name in names.split(",") if name.strip()]


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
) -> None:
    """Write report.html into a run folder: one file with all that the run shows, no network."""
    from eqprop_spice.results.report import write_report
    from eqprop_spice.results.run import Run

    say(str(write_report(Run.open(folder))))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    samples: Annotated[int, typer.Option(help="How many samples to simulate.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Simulate a trained network's predictions again in ngspice, and compare."""
    from eqprop_spice.results.run import Run
    from eqprop_spice.results.verify import verify as verify_run

    run = Run.open(folder)
    _caution(run)
    result = dataclasses.asdict(verify_run(run, num_samples=samples))
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        print_results(result)


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
        str | None, typer.Option(help="Address of a dask scheduler: tls://host:8786.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine; one per core if none.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Start a very large sweep.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train an experiment over and over, with some of its keys varied."""
    from eqprop_spice.experiment.experiment import Experiment
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
    say(f"folder of the sweep: {store.path}", errors)
    _compute(store, "sweep", scheduler=scheduler, workers=workers)
    result = commands.summary(store)
    if as_json:
        print(json.dumps(result, indent=2))
        return
    from eqprop_spice.results.report import write_summary

    figures = commands.save_figures(store)
    title, toml = store.path.name, store.sweep.experiment.to_toml()
    page = write_summary(store.path, title, result, figures, toml)
    print_rates(result.pop("rates"))
    print_results(result)
    for path in [*figures, page]:
        say(str(path))


def _compute(
    store: "Store", command: str, *, workers: int | None, scheduler: str | None = None
) -> None:
    """Compute what a store misses, and say how to go on when something stops it."""
    from eqprop_spice.sweeps import commands

    again = f"eqprop-spice {command} --resume {store.path}"
    try:
        with SweepReporter(store.sweep.num_cells) as reporter:
            commands.run(store, scheduler=scheduler, num_workers=workers, progress=reporter)
    except KeyboardInterrupt:
        say(f"Interrupted. Continue with: {again}", errors)
        raise typer.Exit(130) from None
    except OSError as error:
        raise ConfigError(
            f"{_reason(error, store.path)} The cells written before are intact; continue with: "
            f"{again}"
        ) from error
    if crashed := store.counts()["crashed"]:
        say(f"{crashed} cells crashed, which says nothing of them. Try them again: {again}", errors)


@app.command()
def compare(
    file: Annotated[Path | None, typer.Argument(help=FILE)] = None,
    rules: Annotated[
        str | None, typer.Option(help="Names with commas, such as bp,c_ep; or all.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds per rule.")] = None,
    assignments: SetOption = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="New folder for the results.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder of a comparison; computes only what is missing.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine; one per core if none.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train an experiment with several learning rules, from the same seeds."""
    from eqprop_spice.compare import commands
    from eqprop_spice.experiment.experiment import Experiment

    if (file is None) == (resume is None):
        raise ConfigError("Give an experiment's file, or --resume with a folder; not both.")
    if resume is not None and (assignments or out is not None or rules or seeds):
        raise ConfigError(
            "--resume continues a comparison as it was: --rules, --seeds, --set and --out do not "
            "go."
        )
    if resume is not None:
        store = commands.open_store(resume)
    else:
        assert file is not None
        names = None if rules is None else [name.strip() for name in rules.split(",")]
        experiment = Experiment.load(file, assignments)
        store = commands.new_store(experiment, out, rules=names, seeds=seeds)
    say(f"folder of the comparison: {store.path}", errors)
    _compute(store, "compare", workers=workers)
    result = commands.result(store)
    figures = commands.save_figures(store)
    if as_json:
        print(json.dumps(result, indent=2))
        return
    from eqprop_spice.results.report import write_summary

    title, toml = store.path.name, store.sweep.experiment.to_toml()
    page = write_summary(store.path, title, result, figures, toml)
    print_comparison(result)
    for path in [*figures, page]:
        say(str(path))


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
    """Tell whether a system follows the gradient of its loss; of a circuit also why not.

    The exit status is 0 for the verdict OK and 1 for any other.
    """
    from eqprop_spice.audit.case import open_audited
    from eqprop_spice.audit.check import check_gradient
    from eqprop_spice.audit.figures import save_figures
    from eqprop_spice.audit.report import OK, Audit

    audited = open_audited(file, assignments)
    found = check_gradient(audited, num_samples=samples, num_parameters=conductances, seed=seed)
    shown = found.to_dict()
    report = json.dumps(shown, indent=2)
    folder = out or (file / "audit" if file.is_dir() else Path("audits") / shown["name"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_inside(folder.parent, f"{folder.name}/report.json", f"{report}\n".encode())
    if isinstance(found, Audit):
        save_figures(found, folder)
    if as_json:
        print(report)
    else:
        print_audit(shown)
        say(f"figures and report: {folder}")
    raise typer.Exit(0 if found.verdict == OK else 1)


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


def _reason(error: OSError, folder: Path | None = None) -> str:
    """Return what the system refused: something in the folder that is written, or elsewhere."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return "The working folder has been deleted; change to one that exists."
    if error.filename is None:
        # What this package writes into files names them.
        return f"The output cannot be printed: {error.strerror}."
    if folder is None or folder not in Path(os.fsdecode(error.filename)).parents:
        return f"{error}."
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return f"{folder} cannot be written: {error}.{' Free some space.' if full else ''}"


def main() -> None:
    """Run the command line; expected errors are one message and exit status 2."""
    gc.set_threshold(GARBAGE)
    show_remarks()
    try:
        app()
    except (ConfigError, NetlistError, ConvergenceError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(_reason(error))


def _fail(message: str) -> None:
    text = Text("error: ", style="bold red").append(message, style="not bold default")
    errors.print(text, soft_wrap=True)
    sys.exit(2)
