"""Real processes ended by SIGKILL at random moments; what they resume to must be what was.

    python -m benchmarks.kills --kills 200 --seed 0

In turn: training in ngspice, training in the native engine, a sweep, a comparison, an audit, an
import. Each is run to its end once. Then it is started, killed after a random part of that time,
start-up included, resumed, perhaps killed again, and at last resumed to its end. Numbers that
differ in one bit, or a resume that fails, are printed. An audit and an import, which have nothing
to resume, are killed and started again.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
COMMAND = [sys.executable, "-c", "from eqprop_spice.cli import main; main()"]

TIMED = ("seconds", "cpu_seconds", "started", "ended")
"""Figures that no two runs share."""

SWEEP = '\n[sweep]\nseed = [0, 1, 2]\n"rule.beta" = [1e-6, 1e-4]\n'
DECK = "* divider\nv1 in 0 1\nr1 in out 1k\nd1 out 0 dd\n.model dd d(is=1e-12)\n.op\n.end\n"


@dataclass(frozen=True)
class Job:
    """A command, how it goes on after a kill, and the numbers that it leaves."""

    name: str
    start: list[str]
    resume: list[str]
    numbers: Callable[[Path], dict[str, bytes]]


def of_run(folder: Path) -> dict[str, bytes]:
    """Return the last checkpoint of a run, time aside."""
    with np.load(folder / "checkpoint.npz") as arrays:
        return {k: arrays[k].tobytes() for k in arrays.files if not k.endswith(TIMED)}


def of_sweep(folder: Path) -> dict[str, bytes]:
    """Return all figures of a sweep or comparison, time aside."""
    with xr.open_zarr(next(folder.glob("**/*.zarr")), consolidated=False) as data:
        arrays = {str(k): data[k].values for k in data if str(k) not in TIMED}
    return {k: (a.astype(str) if a.dtype.kind == "O" else a).tobytes() for k, a in arrays.items()}


def of_report(path: Path) -> dict[str, bytes]:
    """Return what an audit says, time aside."""
    report = json.loads((path / "report.json").read_text())
    return {k: json.dumps(v).encode() for k, v in report.items() if k not in TIMED}


def of_netlist(path: Path) -> dict[str, bytes]:
    """Return the netlist that was written."""
    return {"text": path.read_bytes()}


def jobs(folder: Path) -> list[Job]:
    """Write the experiments and return what is killed."""
    iris = (EXPERIMENTS / "iris.toml").read_text()
    (folder / "train.toml").write_text(iris)
    case_1 = (EXPERIMENTS / "case_1.toml").read_text()
    (folder / "sweep.toml").write_text(case_1 + SWEEP)
    (folder / "deck.cir").write_text(DECK)
    fewer = ["--set", "training.epochs=12", "--set", "training.batch_size=50"]
    fewer += ["--set", "training.evaluate_every=5", "--set", "goal={}"]
    out, comparison = ["--out", "OUT"], str(EXPERIMENTS / "comparison" / "xor.toml")
    quick = ["--rules", "p_ep,c_ep", "--seeds", "2", "--set", "training.epochs=10"]
    small = ["--samples", "2", "--conductances", "4", "--set", "engine=native"]
    return [
        *(
            Job(
                f"train, {engine}",
                ["train", str(folder / "train.toml"), *fewer, "--set", f"engine={engine}", *out],
                ["train", "--resume", "OUT"],
                of_run,
            )
            for engine in ("ngspice", "native")
        ),
        Job(
            "sweep",
            ["sweep", str(folder / "sweep.toml"), "--set", "training.epochs=20", *out],
            ["sweep", "--resume", "OUT"],
            of_sweep,
        ),
        Job(
            "compare",
            ["compare", comparison, *quick, *out],
            ["compare", "--resume", "OUT"],
            of_sweep,
        ),
        Job("audit", ["audit", str(EXPERIMENTS / "xor.toml"), *small, *out], [], of_report),
        Job("import", ["import", str(folder / "deck.cir"), *out], [], of_netlist),
    ]


def begin(arguments: list[str], out: Path) -> "subprocess.Popen[bytes]":
    """Start a command in a process group of its own."""
    words = [str(out) if word == "OUT" else word for word in arguments]
    return subprocess.Popen(
        [*COMMAND, *words],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def end(process: "subprocess.Popen[bytes]", name: str) -> None:
    """Wait for a command to succeed; that of an audit may be 1."""
    _, said = process.communicate(timeout=1200)
    if process.returncode not in (0, name.startswith("audit")):
        raise SystemExit(f"{name} failed with {process.returncode}: {said.decode()[-500:]}")


def kill(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Kill a command and all its children after a time; say whether it still ran."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def attempt(job: Job, out: Path, generator: random.Random, length: float) -> int:
    """Kill a job once or more often, then let it end; return how often it was killed."""

    def words() -> list[str]:
        return job.resume if job.resume and out.exists() else job.start

    kills = 0
    while kill(begin(words(), out), length * generator.random()):
        kills += 1
        if generator.random() < 0.7:
            break
    end(begin(words(), out), f"{job.name} after {kills} kills")
    return kills


def main() -> None:
    """Kill and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        todo = jobs(folder)
        for job in todo:
            whole, started = folder / f"{job.name}-whole", time.monotonic()
            end(begin(job.start, whole), job.name)
            length = time.monotonic() - started
            kills, number, expected, wrong = 0, 0, job.numbers(whole), set()
            while kills * len(todo) < options.kills:
                number, out = number + 1, folder / f"{job.name}-{number}"
                kills += attempt(job, out, generator, length)
                found = job.numbers(out)
                wrong |= {f"{number}: {k}" for k in expected if expected[k] != found.get(k)}
            print(
                f"{job.name:16} {kills:4} kills, differing: {sorted(wrong) or 'nothing'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
