"""A thread that does one piece of work after the other, whatever signal handlers raise meanwhile.

Python runs signal handlers in the main thread, between any two steps of it, and what they raise
goes on from there. `concurrent.futures` and `threading.Event` do not survive that: interrupted
while it starts its thread, an executor starts a second one. Here every step may be done twice.
"""

import _thread
import os
import queue
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class _Job(Generic[Result]):
    """A piece of work, and how far it is."""

    result: Result

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self.error: BaseException | None = None
        self.unwanted = False
        self.ended = False
        self.bell = _thread.allocate_lock()
        """Released once, when the job has ended."""
        self.bell.acquire()

    def run(self) -> None:
        """Do it once, unless nobody wants it any more."""
        if self.ended:
            return
        try:
            if not self.unwanted:
                self.result = self._work()
        except BaseException as error:
            self.error = error
        self.ended = True
        self.bell.release()


class Worker:
    """One thread of its own, started at the first piece of work."""

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Be without a thread: as at first, and in a forked process."""
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._serving = _thread.allocate_lock()

    def do(self, work: Callable[[], Result]) -> Result:
        """Call `work` in the thread, and return what it returns.

        Raises:
            BaseException: What `work` raises; or what a signal handler raises, when `work` has
                ended: what it uses may be changed afterwards.
        """
        job, raised = _Job(work), None
        while not job.ended:
            try:
                if not self._serving.locked():
                    _thread.start_new_thread(self._serve, (self._jobs, self._serving))
                self._jobs.put(job)
                job.bell.acquire()
            except BaseException as error:
                # By a signal handler: nobody knows which of the three steps are done.
                raised, job.unwanted = raised or error, True
        error = raised or job.error
        if error is not None:
            raise error
        return job.result

    @staticmethod
    def _serve(jobs: "queue.SimpleQueue[_Job]", serving: _thread.LockType) -> None:
        """Do all work that comes, unless another thread does."""
        if serving.acquire(blocking=False):
            while True:
                jobs.get().run()
