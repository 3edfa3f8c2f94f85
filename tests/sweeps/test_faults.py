"""Real processes, real signals: whatever stops a sweep, no finished cell is lost or done twice."""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.sweeps.axes import Sweep, sweep_of
from eqprop_spice.sweeps.cell import run_cell
from eqprop_spice.sweeps.cluster import ClusterPool
from eqprop_spice.sweeps.store import Store

pytestmark = [pytest.mark.ngspice, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
CASE_1 = ROOT / "experiments" / "case_1.toml"

STARTS = 6
TIMEOUT = 120
"""Seconds until a process that hangs is a failure."""

# A shell that starts jobs in the background hands down an ignored SIGINT.
CLI = """
import signal
from eqprop_spice.cli import main
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
"""

# Python imports this module by itself at the start of every process. In those that compute cells,
# it prepares the fault of a start, which may happen once.
FAULTS = """
import json, os, signal, sys, time
from pathlib import Path

place = Path(os.environ.get("FAULT_PLACE", ""))
if "eqprop_spice.sweeps.child" in sys.orig_argv:
    from eqprop_spice.sweeps import cell
    faults = json.loads((place / "faults.json").read_text())
    real = cell.run_cell

    def crash():
        from eqprop_spice.spice.session import Session
        # A source that is both constant and external makes libngspice 39 follow a null pointer.
        def work(session):
            session.load(["* crash", "i1 0 a dc 0 external", "r1 a 0 1", ".end"])
            session.command("op")
        Session.do(work)
        os.kill(os.getpid(), signal.SIGSEGV)  # where a newer ngspice survives that

    def run_cell(experiment):
        seed = experiment.table.seed
        with open(place / "computed", "a") as log:
            log.write(f"{seed}\\n")
        fault = faults.get(str(seed))
        first = not (place / f"once_{seed}").exists()
        if fault == "segfault":
            crash()
        elif fault == "hang":
            while True:
                time.sleep(1)
        elif fault == "wait" and first:
            (place / f"once_{seed}.partial").write_text(f"{os.getppid()} {os.getpid()}")
            os.rename(place / f"once_{seed}.partial", place / f"once_{seed}")
            signal.pause()
        return real(experiment)

    cell.run_cell = run_cell
"""

DISK = """
import resource, signal
from eqprop_spice.sweeps.store import Store
real, calls = Store.write, []
def write(self, cells, results):
    calls.append(cells)
    if len(calls) == 3:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
    real(self, cells, results)
Store.write = write
"""

# The first connection that is tried once a file says so ends while it begins.
BROKEN_CONNECTION = """
import os
from pathlib import Path
from tornado.tcpclient import TCPClient
real, broken = TCPClient.connect, Path(os.environ["FAULT_PLACE"], "broken")
async def connect(self, *arguments, **options):
    try:
        broken.unlink()
    except FileNotFoundError:
        return await real(self, *arguments, **options)
    raise ValueError("IOStream is not idle; cannot convert to SSL")
TCPClient.connect = connect
"""


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    text = CASE_1.read_text() + f"\n[sweep]\nstart = {{ seeds = {STARTS} }}\ntime_limit = 20.0\n"
    return sweep_of(Experiment.parse(text, overrides=["training.epochs=30"]))


@pytest.fixture(scope="module")
def undisturbed(sweep) -> list:
    """The cells as a plain loop computes them."""
    return [run_cell(sweep.cell(number)) for number in range(sweep.num_cells)]


class Place:
    """A folder with an experiment, in which faults are prepared."""

    def __init__(self, path: Path, sweep: Sweep) -> None:
        self.path, self.store = path, path / "store"
        self.file = path / "experiment.toml"
        self.processes: list[subprocess.Popen[str]] = []
        self.file.write_text(sweep.text)
        (path / "sitecustomize.py").write_text(FAULTS)
        self.prepare({})

    def prepare(self, faults: dict[int, str]) -> None:
        (self.path / "faults.json").write_text(json.dumps(faults))

    @property
    def environment(self) -> dict[str, str]:
        code = os.pathsep.join([str(self.path), str(ROOT)])
        return os.environ | {"PYTHONPATH": code, "FAULT_PLACE": str(self.path)}

    def start(
        self, *arguments: str | Path, code: str = CLI, **environment: str
    ) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", code, "sweep", *map(str, arguments), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | environment,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def resume(self) -> dict:
        return finished(self.start("--resume", self.store, "--workers", "2"))

    def computed(self) -> Counter:
        """Return how often each start was begun."""
        path = self.path / "computed"
        return Counter(map(int, path.read_text().split())) if path.exists() else Counter()

    def done(self) -> list[int]:
        """Return the cells that have a status."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return sorted(set(range(STARTS)) - set(Store.open(self.store).missing().tolist()))
        return []

    def waiting(self, seed: int) -> tuple[int, int]:
        """Wait until a start waits; return the process that asked for it and that computes it."""
        path = self.path / f"once_{seed}"
        until(path.exists)
        parent, child = path.read_text().split()
        return int(parent), int(child)


@pytest.fixture
def place(tmp_path, sweep) -> Iterator[Place]:
    place = Place(tmp_path, sweep)
    yield place
    for process in place.processes:
        process.kill()
        process.communicate()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def finished(process: "subprocess.Popen[str]") -> dict:
    """Return what a sweep printed."""
    out, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, said
    assert "Traceback" not in said, said
    return json.loads(out)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def listening(process: int) -> bool:
    """Whether a process waits for connections on a TCP port."""
    sockets = {
        line.split()[9]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    }
    links = [os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir()]
    return any(link == f"socket:[{number}]" for link in links for number in sockets)


def assert_same(place: Place, undisturbed: list, *, but: tuple[int, ...] = ()) -> None:
    """Compare the store with the plain loop to the last bit, clock readings apart."""
    dataset = Store.open(place.store).dataset()
    for number, expected in enumerate(undisturbed):
        if number in but:
            continue
        here = dataset.isel(start=number)
        assert here["status"].item() == expected.status
        assert here["error"].item() == expected.error
        for name, column in expected.figures.items():
            np.testing.assert_array_equal(here[name].values, column)


def test_a_crash_a_hang_and_a_killed_process_cost_their_cells_only(place, undisturbed):
    place.prepare({1: "segfault", 2: "hang", 4: "wait"})
    process = place.start(place.file, "--out", place.store, "--workers", "2")
    parent, child = place.waiting(4)
    assert parent == process.pid
    assert not listening(parent) and not listening(child)
    # Two sweeps never write one store.
    with (
        pytest.raises(ConfigError, match="is being written by another process"),
        Store.open(place.store).locked(),
    ):
        pass
    os.kill(child, signal.SIGKILL)
    out, said = process.communicate(timeout=TIMEOUT)
    result = json.loads(out)
    assert (result["cells"], result["missing"], result["crashed"]) == (STARTS, 0, 2)
    assert "2 cells crashed" in said and f"sweep --resume {place.store}" in said
    assert sum(result[name] for name in ("learned", "stalled", "diverged", "unconverged")) == 4
    errors = Store.open(place.store).dataset()["error"].values
    assert errors[1] == "the process was ended by SIGSEGV (attempt 2 of 2)"
    assert errors[2] == "the cell took longer than 20 s"
    assert_same(place, undisturbed, but=(1, 2))
    assert place.computed()[4] == 2
    # What the machine did is no verdict: the cells are tried again, and nothing else is.
    place.prepare({})
    before = place.computed()
    assert place.resume()["crashed"] == 0
    assert place.computed() - before == Counter({1: 1, 2: 1})
    assert_same(place, undisturbed)


def test_control_c_and_a_killed_client_lose_no_finished_cell(place, undisturbed):
    place.prepare({2: "wait", 4: "wait"})
    process = place.start(place.file, "--out", place.store, "--workers", "1")
    place.waiting(2)
    until(lambda: len(place.done()) == 2)
    # A terminal sends the signal to all processes of the sweep.
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, said
    assert f"Interrupted. Continue with: eqprop-spice sweep --resume {place.store}" in said
    assert "Traceback" not in said, said

    process = place.start("--resume", place.store, "--workers", "1")
    _, child = place.waiting(4)
    until(lambda: len(place.done()) == 4)
    process.kill()
    process.communicate(timeout=TIMEOUT)
    until(lambda: not alive(child))
    assert place.done() == [0, 1, 2, 3]
    before = place.computed()
    result = place.resume()
    assert (result["cells"], result["missing"]) == (STARTS, 0)
    after = place.computed()
    assert all(after[number] == before[number] for number in (0, 1, 2, 3))
    assert [after[number] for number in range(STARTS)] == [1, 1, 2, 1, 2, 1]
    assert_same(place, undisturbed)


def test_a_full_disk_keeps_what_was_written(place, undisturbed):
    process = place.start(place.file, "--out", place.store, "--workers", "1", code=DISK + CLI)
    _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 2
    assert "Traceback" not in said
    assert f"{place.store} cannot be written" in said
    assert f"eqprop-spice sweep --resume {place.store}" in said
    assert place.done() == [0, 1]
    assert not list(place.store.rglob("*.partial"))
    place.resume()
    assert_same(place, undisturbed)


def secured(place: Place) -> dict[str, str]:
    """Return the settings that the page on clusters gives, with a pair made as it says."""
    pair = place.path / "sweep.key", place.path / "sweep.crt"
    if not pair[0].exists():
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=sweep -keyout"
        subprocess.run(
            [*command.split(), pair[0], "-out", pair[1]], check=True, stderr=subprocess.DEVNULL
        )
    prefix = "DASK_DISTRIBUTED__COMM__"
    settings = {f"{prefix}REQUIRE_ENCRYPTION": "true", f"{prefix}TLS__CA_FILE": str(pair[1])}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings |= {f"{prefix}TLS__{role}__KEY": str(pair[0])}
        settings |= {f"{prefix}TLS__{role}__CERT": str(pair[1])}
    return settings


def is_refused(port: int) -> bool:
    """Whether a scheduler refuses who has no key."""
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as plain:
        try:
            with stranger.wrap_socket(plain) as connection:
                return not connection.recv(1)
        except ssl.SSLError as error:
            return "CERTIFICATE_REQUIRED" in str(error)


@contextlib.contextmanager
def cluster(place: Place, port: int, role: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a dask scheduler, or a worker of one."""
    what = {
        "scheduler": ["scheduler", "--protocol", "tls", "--port", str(port), "--no-dashboard"],
        "worker": ["worker", f"tls://127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard"],
    }[role]
    with open(place.path / f"{role}.log", "a") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dask", *what, "--host", "127.0.0.1"],
            stdout=log,
            stderr=log,
            text=True,
            env=place.environment | secured(place),
            cwd=place.path,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=TIMEOUT)


def test_a_killed_worker_and_a_scheduler_killed_and_restarted_cost_no_cell(place, undisturbed):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place.prepare({3: "wait"})
    address = f"tls://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        scheduler = stack.enter_context(cluster(place, port, "scheduler"))
        stack.enter_context(cluster(place, port, "worker"))
        process = place.start(
            *(place.file, "--out", place.store, "--scheduler", address),
            code=BROKEN_CONNECTION + CLI,
            **secured(place),
        )
        _, child = place.waiting(3)
        until(lambda: len(place.done()) == 3)
        assert is_refused(port)
        with pytest.raises(ConfigError, match="no dask scheduler"):
            ClusterPool(address)
        (place.path / "broken").touch()
        scheduler.kill()
        until(lambda: not alive(child))  # a worker without a scheduler ends
        stack.enter_context(cluster(place, port, "scheduler"))
        stack.enter_context(cluster(place, port, "worker"))
        result = finished(process)
    assert (result["cells"], result["missing"], result["crashed"]) == (STARTS, 0, 0)
    assert all(place.computed()[number] == 1 for number in (0, 1, 2))
    assert_same(place, undisturbed)
