"""The fuzzer of `benchmarks/fuzz.py` on a few cases; and that it sees what it looks for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fuzz import TARGETS, Target, Watch, attack, complaint_about
from eqprop_spice.errors import LONGEST, ConfigError

CASES = {"experiments": 40, "runs": 25}
"""How many are tried; a second or two each."""

WATCH = Watch()
"""Python has no way to take back what listens to its audit events."""


@pytest.mark.ngspice
@pytest.mark.parametrize("name", CASES)
def test_damaged_input_is_one_message_and_nothing_else(name, tmp_path, monkeypatch):
    monkeypatch.setattr("eqprop_spice.results.plots.save_figures", lambda *arguments, **more: [])
    (tmp_path / "good").mkdir()
    TARGETS[name].prepare(tmp_path / "good")
    tally = attack(TARGETS[name], tmp_path / "good", count=CASES[name], from_seed=1, watch=WATCH)
    assert tally.failures == []
    # Both happen: else the damage is so great that nothing is tried, or so small that all is well.
    assert tally.accepted > 0
    assert tally.refused > 0


def raising(error: Exception):
    def attempt(folder: Path) -> None:
        raise error

    return attempt


def executing(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def writing_outside(folder: Path) -> None:
    (folder.parent / "outside" / "precious").write_text("gone")


def changing_outside(folder: Path) -> None:
    os.rename(folder.parent / "outside" / "precious", folder / "mine")


@pytest.mark.parametrize(
    ("attempt", "seen"),
    [
        (raising(IndexError("list index out of range")), "traceback: IndexError"),
        (raising(MemoryError()), "memory"),
        (raising(ConfigError("bad")), "the message says too little"),
        (executing, "executed: subprocess.Popen"),
        (writing_outside, "outside: open"),
        (changing_outside, "outside: os.rename"),
    ],
)
def test_the_fuzzer_sees_failures(attempt, seen, tmp_path):
    (tmp_path / "good").mkdir()
    experiments = TARGETS["experiments"]
    target = Target(experiments.prepare, experiments.cases, experiments.place, attempt)
    tally = attack(target, tmp_path / "good", count=2, from_seed=0, watch=WATCH)
    assert len(tally.failures) == 2
    assert tally.failures[0].startswith(seen)


def test_messages_are_judged():
    assert complaint_about("demo.toml, line 3, seed: expected a whole number, got 'a'.") is None
    assert complaint_about("a message that colors \x1b[31m the terminal red")
    assert complaint_about("word " * LONGEST)


def test_errors_make_what_they_quote_harmless():
    error = ConfigError("key \x1b[31m\n" + "a" * 5000 + " Remove it.")
    assert complaint_about(str(error)) is None
    assert str(error).endswith("Remove it.")
