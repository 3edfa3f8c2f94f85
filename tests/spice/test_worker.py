"""The thread that ngspice runs in, under signal handlers that raise at any moment."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from eqprop_spice.spice.worker import Worker

ROOT = Path(__file__).parents[2]

STORM = """
import signal, threading, time
from eqprop_spice.spice.worker import Worker

class Alarm(Exception):
    pass

def handler(number, frame):
    raise Alarm

busy = threading.Lock()
times = 0

def work():
    global times
    assert busy.acquire(blocking=False), "two threads work at once"
    time.sleep(1e-5)
    times += 1
    busy.release()
    return times

signal.signal(signal.SIGALRM, handler)
returned = raised = 0
for attempt in range(400):
    worker, before = Worker(), times  # a new one: its thread starts under the signal
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-5 + 5e-6 * attempt)
        while True:
            before = times
            assert worker.do(work) == before + 1
            returned += 1
    except Alarm:
        raised += 1
        assert times - before in (0, 1)
        after = times
        time.sleep(1e-4)
        assert times == after, "the work goes on after the signal was raised"
    assert worker.do(work) == after + 1
print(raised, returned > 0)
"""


FORK = """
import os
from eqprop_spice.spice.worker import Worker

worker = Worker()
assert worker.do(os.getpid) == os.getpid()
child = os.fork()
if child == 0:
    os._exit(0 if worker.do(os.getpid) == os.getpid() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def printed(code: str) -> list[str]:
    """Return the words that code prints in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_no_signal_is_lost_and_no_work_done_twice():
    assert printed(STORM) == ["400", "True"]


def test_what_the_work_raises_is_raised_and_the_thread_goes_on():
    worker = Worker()

    def fail() -> int:
        raise KeyError("no such thing")

    with pytest.raises(KeyError, match="no such thing"):
        worker.do(fail)
    assert worker.do(lambda: 3) == 3


def test_all_work_is_done_in_one_thread_in_turn():
    worker, seen, threads = Worker(), [], []

    def work(number: int) -> int:
        time.sleep(1e-4)
        seen.append((number, threading.get_ident()))
        return number

    def ask(number: int) -> None:
        assert worker.do(lambda: work(number)) == number

    for number in range(20):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert sorted(number for number, _ in seen) == list(range(20))
    assert len({ident for _, ident in seen}) == 1


def test_a_forked_process_gets_a_thread_of_its_own():
    assert printed(FORK) == ["0"]
