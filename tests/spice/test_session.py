"""The ngspice library: what it may not execute, where it may not run, and its memory."""

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.session import INSTALL_HINT, MAX_COMMAND_LENGTH, Session, library_path

ROOT = Path(__file__).parents[2]

MAX_GROWTH = 10e6
"""Bytes of memory that 20,000 operating points may add; netlists that are never freed add five
times as much, at 45 kB each."""

SETTLE = """
import numpy as np
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.phases import Free
from tests.references import Layered
layered = Layered((2,))
circuit, params, inputs = layered.circuit(), layered.draw(0), layered.inputs(1, 16)
def settle():
    (point,) = NgSpice().settle(circuit, params, inputs, [Free()])
    assert point.converged.all()
"""


def python(code: str, *, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.ngspice
def test_no_spiceinit_is_executed(tmp_path):
    """Neither that of the working directory nor that of the home directory."""
    here, home = tmp_path / "here", tmp_path / "home"
    for folder in (here, home):
        folder.mkdir()
        (folder / ".spiceinit").write_text(f"shell touch {folder}/executed\n")
        (folder / "spice.rc").write_text(f"shell touch {folder}/executed\n")
    code = SETTLE + (
        "import os\nbefore = os.getcwd(), os.environ['HOME']\nsettle()\n"
        "assert (os.getcwd(), os.environ['HOME']) == before\nprint('settled')"
    )
    done = python(code, cwd=here, HOME=str(home))
    assert done.stdout.strip().endswith("settled"), done.stderr
    assert not list(tmp_path.rglob("executed"))
    # The same file is executed by ngspice itself: the test would notice.
    deck = tmp_path / "deck.cir"
    deck.write_text("* deck\nv1 a 0 1\nr1 a 0 1\n.op\n.end\n")
    environment = {**os.environ, "HOME": str(home)}
    subprocess.run(["ngspice", "-b", deck], cwd=here, env=environment, capture_output=True)
    assert (here / "executed").exists()


@pytest.mark.ngspice
def test_forked_processes_are_refused(tmp_path):
    code = SETTLE + (
        "import os, sys, warnings\nfrom eqprop_spice.errors import NetlistError\nsettle()\n"
        "warnings.simplefilter('ignore')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n"
        "        settle()\n"
        "    except NetlistError as error:\n"
        "        os._exit(7 if 'spawn' in str(error) else 1)\n"
        "    os._exit(0)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "settle()"
    )
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "7"


@pytest.mark.ngspice
@pytest.mark.slow
def test_memory_stays_flat(tmp_path):
    """20,000 operating points in 1,250 sweeps, each with a netlist of its own."""
    code = SETTLE + (
        "import gc\n"
        "def resident():\n"
        "    gc.collect()\n"
        "    text = open('/proc/self/status').read()\n"
        "    return 1024 * int(text.split('VmRSS:')[1].split()[0])\n"
        "for _ in range(200):\n    settle()\n"
        "before = resident()\n"
        "for _ in range(1250):\n    settle()\n"
        "print(resident() - before)"
    )
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < MAX_GROWTH


@pytest.mark.ngspice
def test_a_library_that_is_not_there_gives_the_hint(tmp_path):
    code = SETTLE + (
        "from eqprop_spice.errors import NetlistError\n"
        "try:\n    settle()\nexcept NetlistError as error:\n    print(error)"
    )
    done = python(code, cwd=tmp_path, NGSPICE_LIBRARY_PATH="/nowhere/libngspice.so")
    assert INSTALL_HINT in done.stdout
    assert "/nowhere/libngspice.so" in done.stdout
    assert "Traceback" not in done.stderr


def test_no_library_at_all_gives_the_hint(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    monkeypatch.delenv("NGSPICE_LIBRARY_PATH", raising=False)
    with pytest.raises(NetlistError) as error:
        library_path()
    assert str(error.value) == INSTALL_HINT
    assert "apt-get install libngspice0" in INSTALL_HINT


def test_the_environment_names_the_library(monkeypatch):
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", "/some/libngspice.so")
    assert library_path() == "/some/libngspice.so"


class Nothing:
    """Feeds a circuit without external sources."""

    columns: dict[bytes, int]
    row: list[float]

    def __init__(self):
        self.columns, self.row, self.num_points = {}, [], 0

    def advance(self, data):
        self.num_points += 1


class Broken(Nothing):
    def advance(self, data):
        raise KeyError("in a callback")


DECK = ["* deck", "v1 a 0 3", "r1 a b 1", "r2 b 0 2", ".end"]


@pytest.mark.ngspice
def test_session_loads_runs_and_reads():
    session, feed = Session.get(), Nothing()
    assert Session.get() is session
    assert session.version
    session.load(DECK)
    session.run("op", feed)
    vector = session.vector("b")
    assert vector is not None
    np.testing.assert_allclose(vector, [2.0], rtol=1e-12)
    assert feed.num_points == 1
    assert session.vector("nothing_of_this_name") is None
    session.run("ac lin 1 1 1", feed)
    assert session.complex_vector("b") is not None
    session.unload()


@pytest.mark.ngspice
def test_errors_in_callbacks_are_raised_after_the_run():
    session = Session.get()
    session.load(DECK)
    with pytest.raises(KeyError, match="in a callback"):
        session.run("op", Broken())
    session.run("op", Nothing())
    session.unload()


@pytest.mark.ngspice
def test_refused_netlists_say_why_and_the_session_goes_on():
    session = Session.get()
    with pytest.raises(NetlistError, match="refused"):
        session.load(["* deck", "d1 a 0 no_such_model", "v1 a 0 1", ".end"])
    session.load(DECK)
    session.run("op", Nothing())
    assert session.vector("b") is not None
    session.unload()


@pytest.mark.ngspice
@pytest.mark.parametrize("command", ["echo a\nshell touch x", "x" * (MAX_COMMAND_LENGTH + 1)])
def test_commands_are_one_short_line(command):
    with pytest.raises(NetlistError, match="one short line"):
        Session.get().command(command)


@pytest.mark.ngspice
def test_messages_are_kept_but_not_for_ever():
    session = Session.get()
    session.load(DECK)
    for _ in range(100):
        session.command("echo something")
    assert 1 <= len(session.messages()) <= 100
    assert session.messages()[-1].endswith("something")
    session.unload()
