"""Runs a program that can do little harm: `python -I cage.py PROGRAM ARGUMENTS`.

It may neither write files nor start processes, nor compute for long. This is a program of its own
since limits set between fork and exec are not safe in a process with threads, as JAX has them.
"""

import os
import resource
import signal
import sys

SECONDS = 60
"""Of CPU."""

MAX_MEMORY = 4_000_000_000
"""Address space [bytes]."""

NOBODY = 65534
"""The user that the program runs as where we are root, for whom the limit of processes does not
hold."""


def main() -> None:
    """Give up what is not needed, and become the program."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    for limit, value in (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_AS, MAX_MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(limit, (value, value))
    for number in (signal.SIGXFSZ, signal.SIGPIPE):
        # Python ignores them, and what it ignores its successor would ignore.
        signal.signal(number, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
