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
CASE_1 = ROOT / "experiments" / "case_1.toml"

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


THREADS = """
import threading
from eqprop_spice.experiment.experiment import Experiment
from tests.spice.test_session import CASE_1
def losses(seed):
    experiment = Experiment.load(CASE_1, [f"seed={seed}"])
    state, found = experiment.trainer.init(experiment.initial_params()), []
    for _ in range(10):
        state, figures = experiment.trainer.epoch(state)
        found.append(figures["loss"])
    return found
alone = [losses(seed) for seed in range(8)]
together = [None] * 8
def train(seed):
    together[seed] = losses(seed)
threads = [threading.Thread(target=train, args=(seed,)) for seed in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert together == alone
print("same")
"""

SIGNALS = """
import itertools, signal
class Alarm(Exception):
    pass
def handler(number, frame):
    raise Alarm
signal.signal(signal.SIGALRM, handler)
raised = 0
for attempt in range(40):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-3 + 1e-4 * attempt)
        while signal.getitimer(signal.ITIMER_REAL)[0]:
            settle()
        settle()  # if the signal is lost, this one ends
    except Alarm:
        raised += 1
print(raised)
settle()
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
def test_the_spiceinit_of_the_user_database_is_not_executed(tmp_path):
    """ngspice 39 asks getpwuid() for the home directory, whatever HOME says."""
    (tmp_path / ".spiceinit").write_text(f"shell touch {tmp_path}/executed\n")
    (tmp_path / "settle.py").write_text(SETTLE + "settle()\nprint('settled')\n")
    (tmp_path / "passwd").write_text(f"root:x:0:0::{tmp_path}:/bin/sh\n")
    bind = 'mount --bind "$1/passwd" /etc/passwd'
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*namespace, bind, "sh", tmp_path], capture_output=True).returncode != 0:
        pytest.skip("this machine has no mount namespaces for users")
    command = [*namespace, f'{bind} && exec "$2" "$1/settle.py"', "sh", tmp_path, sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path / "..", env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "settled", done.stderr
    assert not (tmp_path / "executed").exists()


@pytest.mark.ngspice
def test_eight_threads_train_at_once_as_they_would_alone(tmp_path):
    done = python(THREADS, cwd=tmp_path)
    assert done.stdout.strip() == "same", (done.returncode, done.stderr)


@pytest.mark.ngspice
def test_no_exception_of_a_signal_handler_is_lost(tmp_path):
    done = python(SETTLE + SIGNALS, cwd=tmp_path)
    assert done.stdout.strip() == "40", done.stderr
    assert not done.stderr


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


@pytest.fixture
def in_session():
    """Run the test's function with the session, and unload what it left."""

    def do(work):
        def alone(session: Session):
            try:
                return work(session)
            finally:
                session.unload()

        return Session.do(alone)

    return do


@pytest.mark.ngspice
def test_session_loads_runs_and_reads(in_session):
    def work(session: Session):
        feed = Nothing()
        assert Session.do(lambda again: again is session)
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

    in_session(work)


@pytest.mark.ngspice
def test_errors_in_callbacks_are_raised_after_the_run(in_session):
    def work(session: Session):
        session.load(DECK)
        with pytest.raises(KeyError, match="in a callback"):
            session.run("op", Broken())
        session.run("op", Nothing())

    in_session(work)


@pytest.mark.ngspice
def test_a_source_without_a_value_is_an_error(in_session):
    """The callbacks that ask for values keep what they raise, as the others do."""

    def work(session: Session):
        session.load(["* deck", "i1 0 a external", "r1 a 0 1", ".end"])
        with pytest.raises(KeyError, match="i1"):
            session.run("op", Nothing())

    in_session(work)


@pytest.mark.ngspice
def test_refused_netlists_say_why_and_the_session_goes_on(in_session):
    def work(session: Session):
        with pytest.raises(NetlistError, match="refused"):
            session.load(["* deck", "d1 a 0 no_such_model", "v1 a 0 1", ".end"])
        session.load(DECK)
        session.run("op", Nothing())
        assert session.vector("b") is not None

    in_session(work)


@pytest.mark.ngspice
@pytest.mark.parametrize("command", ["echo a\nshell touch x", "x" * (MAX_COMMAND_LENGTH + 1)])
def test_commands_are_one_short_line(command, in_session):
    with pytest.raises(NetlistError, match="one short line"):
        in_session(lambda session: session.command(command))


@pytest.mark.ngspice
def test_messages_are_kept_but_not_for_ever(in_session):
    def work(session: Session):
        session.load(DECK)
        for _ in range(100):
            session.command("echo something")
        assert 1 <= len(session.messages()) <= 100
        assert session.messages()[-1].endswith("something")

    in_session(work)
