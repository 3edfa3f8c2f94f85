"""Settings of every test: hypothesis draws the same few examples on every machine.

What XLA compiles is kept between runs of the tests, also for the processes that they start.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

KEPT = Path(__file__).parent.parent / ".pytest_cache" / "jax"
"""Where `make clean` removes it."""

# Before JAX is imported, which reads them then.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(KEPT))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

settings.register_profile(
    "deterministic", deadline=None, derandomize=True, max_examples=15, database=None
)
settings.load_profile("deterministic")

MAX_MAPPINGS = 15_000
"""Memory mappings of a process from which its compiled programs are dropped: each takes hundreds,
and where Linux allows no more (65,530 unless configured) the compiler aborts the process."""


@pytest.fixture(autouse=True)
def programs_do_not_pile_up() -> Iterator[None]:
    yield
    try:
        count = Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return
    if count > MAX_MAPPINGS:
        import jax

        jax.clear_caches()
