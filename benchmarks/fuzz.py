"""Attacks the package with damaged experiments, run folders and stores, and counts what happens.

    python -m benchmarks.fuzz [--experiments 20000] [--runs 5000] [--stores 2000] [--seed 0]

Every case ends in one of: accepted; a message; or a failure, which is printed with the file that
brings it about. Failures are tracebacks, more than 20 s of CPU, more than 2 GB of memory, anything
executed, any file outside of the case's folder written, and messages that nobody can read.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.mutations import BAIT, apply, damage, damaged_experiment
from eqprop_spice.errors import LONGEST, ConfigError, ConvergenceError, NetlistError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.files import locked
from eqprop_spice.results.run import Run, train

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ROOT / "experiments"

CPU_SECONDS = 20
"""A case that takes more hangs; the kernel then ends the process, whatever it is in."""

WAITING_SECONDS = 120
"""A case that takes so long by the clock waits for something that does not come, such as a pipe."""

MEMORY = 2 * 1024**3
"""Bytes of a process that holds no more than it should."""

DRAWN = 10_000_000
"""Parameters up to which they are drawn: larger networks take the memory that they ask for."""

LAST_CASE = "last_case"
"""File that says what was tried when a process ended."""

BATCH = 250
"""Cases per process."""

EXECUTING = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty",
             "subprocess.Popen", "pty.spawn", "pickle.find_class", "socket.connect", "socket.bind",
             "marshal.loads", "code.__new__")  # fmt: skip
"""Audit events of Python that stand for running something, or reaching something."""

CHANGING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink",
            "os.truncate", "os.chmod", "os.chown", "shutil.rmtree", "shutil.move")  # fmt: skip
"""Audit events that change the file system, with paths as arguments."""


class Watch:
    """Notes what is executed, and what is written outside of a folder, while it is looking."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.found: list[str] = []
        sys.addaudithook(self._hear)

    @contextlib.contextmanager
    def looking(self, folder: Path) -> Iterator[None]:
        """Look while a case is tried in a folder."""
        self.found, self.folder = [], folder
        try:
            yield
        finally:
            self.folder = None

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        imported = event == "import" and arguments[0] == BAIT
        if imported or (event in EXECUTING and not self._importing()):
            self.found.append(f"executed: {event} {str(arguments)[:200]}")
        elif event == "open" and isinstance(arguments[2], int):
            if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self._note_outside(event, arguments[:1])
        elif event in CHANGING:
            self._note_outside(event, arguments)

    def _note_outside(self, event: str, paths: tuple[Any, ...]) -> None:
        assert self.folder is not None
        for path in paths:
            # Names relative to an opened folder cannot be told apart; what lies outside is
            # compared before and after.
            if isinstance(path, str | os.PathLike) and os.path.isabs(path):
                if not Path(path).is_relative_to(self.folder):
                    self.found.append(f"outside: {event} {path}")

    @staticmethod
    def _importing() -> bool:
        """Whether a module is being imported, whose code is read from its cache."""
        frame = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False


@dataclasses.dataclass(frozen=True)
class Target:
    """What is attacked.

    Attributes:
        prepare: Makes the good folder from which the cases are made.
        cases: The strategy of cases for that folder.
        place: Puts a case into its folder; `outside` is a file that is none of its own.
        attempt: Does with that folder what a user would do.
    """

    prepare: Callable[[Path], None]
    cases: Callable[[Path], st.SearchStrategy[Any]]
    place: Callable[[Any, Path, Path, Path], None]
    attempt: Callable[[Path], None]


def _attempt_experiment(folder: Path) -> None:
    from eqprop_spice.sweeps.axes import sweep_of

    experiment = Experiment.load(folder / "experiment.toml", trusted=False)
    shapes = experiment.substrate.parameter_shapes()
    if sum(math.prod(shape) for shape in shapes.values()) <= DRAWN:
        experiment.initial_params()
    if experiment.table.sweep is not None:
        sweep_of(experiment)


def _place_text(text: str, good: Path, folder: Path, outside: Path) -> None:
    (folder / "experiment.toml").write_bytes(text.encode("utf-8", "surrogatepass"))


def _train_a_run(folder: Path) -> None:
    overrides = ["training.epochs=2", "goal.stop=false"]
    train(Experiment.load(EXPERIMENTS / "case_1.toml", overrides), folder / "good")


def _attempt_run(folder: Path) -> None:
    """Read everything of a run, each on its own, and write its checkpoint again."""
    _each(
        lambda: Run.open(folder / "good").params,
        lambda: Run.open(folder / "good").results,
        lambda: Run.open(folder / "good").history,
        lambda: Run.open(folder / "good").final,
        lambda: _rewrite(Run.open(folder / "good")),
    )


def _rewrite(run: Run) -> None:
    with locked(run.path):
        run.save_checkpoint(*run.load_checkpoint(run.experiment))


def _write_a_store(folder: Path) -> None:
    from eqprop_spice.sweeps.axes import sweep_of
    from eqprop_spice.sweeps.cell import CellResult
    from eqprop_spice.sweeps.store import Store

    text = (EXPERIMENTS / "case_1.toml").read_text()
    table = "\n[sweep]\nbeta = [1e-5, 1e-4]\nstart = { seeds = 2 }\n"
    sweep = sweep_of(Experiment.parse(text + table, overrides=["training.epochs=3"]))
    store = Store.create(sweep, folder / "good")
    figures = {name: np.ones(4) for name in ("loss", "max_error", "num_unconverged")}
    store.write([0, 1], [CellResult(figures, "learned", "", 0.1)] * 2)


def _attempt_store(folder: Path) -> None:
    """Read a store as a resumed sweep and its figures do, and write a cell."""
    from eqprop_spice.sweeps import commands
    from eqprop_spice.sweeps.cell import CellResult
    from eqprop_spice.sweeps.store import Store

    path = folder / "good"
    figures = {"loss": np.ones(4)}
    _each(
        lambda: Store.open(path).missing(),
        lambda: commands.summary(Store.open(path)),
        lambda: Store.open(path).write([2], [CellResult(figures, "stalled", "", 0.1)]),
    )


def _each(*calls: Callable[[], object]) -> None:
    """Make every call, and raise the first message once all have been made."""
    first: Exception | None = None
    for call in calls:
        try:
            call()
        except MESSAGES as error:
            first = first or error
    if first is not None:
        raise first


MESSAGES = (ConfigError, NetlistError, ConvergenceError)

EXTRA_FILES = ("lock", "figures/loss.png", "audit/report.json", "good.partial")
ZARR_FILES = ("cells.zarr/.zarray", "cells.zarr/status/.zarray", "cells.zarr/loss/.zarray",
              "cells.zarr/loss/0.0.0", "cells.zarr/.zgroup")  # fmt: skip


def _damages(*extra: str) -> Callable[[Path], st.SearchStrategy[Any]]:
    def cases(good: Path) -> st.SearchStrategy[Any]:
        folder = good / "good"
        found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        names = tuple(sorted(found | set(extra)))
        return st.lists(damage(folder, names), min_size=1, max_size=2)

    return cases


def _place_folder(damages: list[Any], good: Path, folder: Path, outside: Path) -> None:
    shutil.copytree(good / "good", folder / "good")
    for done in damages:
        with contextlib.suppress(OSError):
            # The first damage may have made a file of what is a folder for the second.
            apply(done, folder / "good", outside)


TARGETS = {
    "experiments": Target(
        lambda folder: None, lambda good: damaged_experiment(EXPERIMENTS), _place_text,
        _attempt_experiment,
    ),
    "runs": Target(_train_a_run, _damages(*EXTRA_FILES), _place_folder, _attempt_run),
    "stores": Target(
        _write_a_store, _damages(*EXTRA_FILES, *ZARR_FILES), _place_folder, _attempt_store
    ),
}  # fmt: skip


def complaint_about(message: str) -> str | None:
    """Return what is wrong with a message: it is one line that says something to a reader."""
    if not message.isprintable():
        return "has characters that a terminal obeys"
    if len(message) > LONGEST:
        return f"has {len(message)} characters"
    if len(message.split()) < 4:
        return "says too little"
    return None


@dataclasses.dataclass
class Tally:
    """How the cases of a process ended."""

    accepted: int = 0
    refused: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)


def attack(target: Target, good: Path, *, count: int, from_seed: int, watch: Watch) -> Tally:
    """Try a number of cases in this process.

    Args:
        target: What is attacked.
        good: The good folder; see `Target.prepare`.
        count: How many cases.
        from_seed: Seed of the draws.
        watch: Sees what is executed and written.
    """
    tally = Tally()
    good = good.resolve()
    place = Path(tempfile.mkdtemp(prefix="fuzz_", dir=good.parent))

    @seed(from_seed)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    @given(target.cases(good))
    def every(case: Any) -> None:
        (good.parent / LAST_CASE).write_text(repr(case))
        shutil.rmtree(place, ignore_errors=True)
        (place / "case").mkdir(parents=True)
        (place / "outside").mkdir()
        outside = place / "outside" / "precious"
        outside.write_text("precious")
        target.place(case, good, place / "case", outside)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, WAITING_SECONDS)
        with watch.looking(place / "case"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            failure = _outcome(target, place / "case", tally)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        left = {p.name: p.read_text() for p in outside.parent.iterdir() if p.is_file()}
        if left != {"precious": "precious"}:
            failure = f"outside: {sorted(left)} {str(left)[:100]}"
        failure = (watch.found or [failure])[0]
        if failure is not None:
            tally.failures.append(f"{failure}\n    case: {str(case)[-1500:]!r}")

    try:
        every()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return tally


def _outcome(target: Target, folder: Path, tally: Tally) -> str | None:
    """Try one case; return what failed."""
    try:
        target.attempt(folder)
    except MESSAGES as error:
        tally.refused += 1
        text = str(error)
        wrong = complaint_about(text)
        return None if wrong is None else f"the message {wrong}: {text!r}"
    except MemoryError:
        return "memory"
    except Exception as error:
        frames = [
            f for f in traceback.extract_tb(error.__traceback__) if "eqprop_spice" in f.filename
        ]
        at = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        return f"traceback: {type(error).__name__} at {at}: {str(error)[:300]}"
    tally.accepted += 1
    return None


def _worker(name: str, good: Path, count: int, from_seed: int) -> None:
    """Run a batch and print how it ended as JSON."""
    # A limit on addresses, of which JAX reserves more than it uses; what is used is printed.
    resource.setrlimit(resource.RLIMIT_AS, (3 * MEMORY, 3 * MEMORY))
    (good.parent / f"{BAIT}.py").write_text("class Any: pass\n")
    sys.path.append(str(good.parent))
    os.chdir(good)
    tally = attack(TARGETS[name], good, count=count, from_seed=from_seed, watch=Watch())
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(dataclasses.asdict(tally) | {"peak": peak}))


def main(arguments: list[str]) -> int:
    """Attack in processes of their own, and print the counts; return how many cases failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, count in (("experiments", 20_000), ("runs", 5_000), ("stores", 2_000)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.worker:
        name, good, count, from_seed = chosen.worker
        _worker(name, Path(good), int(count), int(from_seed))
        return 0
    num_failed = 0
    for name, target in TARGETS.items():
        with tempfile.TemporaryDirectory() as temporary:
            num_failed += _run_batches(
                name, target, Path(temporary), getattr(chosen, name), chosen.seed
            )
    return num_failed


def _run_batches(name: str, target: Target, temporary: Path, total: int, first_seed: int) -> int:
    good = temporary / "good"
    good.mkdir()
    if total:
        target.prepare(good)
    accepted, refused, peak, failures = 0, 0, 0, []
    for number, start in enumerate(range(0, total, BATCH)):
        count = min(BATCH, total - start)
        command = [sys.executable, "-m", "benchmarks.fuzz", "--worker", name, str(good), str(count)]
        done = subprocess.run(
            [*command, str(first_seed + number)], capture_output=True, text=True, check=False,
            cwd=ROOT, env={**os.environ, "EQPROP_CACHE": "off"},
        )  # fmt: skip
        if done.returncode:
            hung = -done.returncode in (signal.SIGPROF, signal.SIGALRM)
            end = "hang" if hung else f"status {done.returncode}"
            last = (temporary / LAST_CASE).read_text()[-1500:]
            failures.append(
                f"{end}, seed {first_seed + number}: {done.stderr[-500:]}\n    case: {last}"
            )
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        accepted, refused = accepted + found["accepted"], refused + found["refused"]
        peak, failures = max(peak, found["peak"]), failures + found["failures"]
        if peak > MEMORY:
            failures.append(
                f"memory: {peak / 1e9:.1f} GB in the batch of seed {first_seed + number}"
            )
    for failure in failures:
        print(f"  {failure}")
    print(
        f"{name:12s} {total:6,d} cases: {accepted:,d} accepted, {refused:,d} refused, "
        f"{len(failures)} failures, {peak / 1e9:.2f} GB",
        flush=True,
    )
    return len(failures)


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
