"""Settings of every test: hypothesis draws the same few examples on every machine.

Nearly all the time of the tests goes into compiling small circuits. So XLA is told not to optimize,
which changes results by rounding only, and what it compiles is kept between runs; both also for the
processes that the tests start. XLA_FLAGS="" brings the optimization back.
"""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import config, install_import_hook

# Before the package is imported: every annotation and every shape in it is checked at every call.
# An int may stand for a float, as type checkers have it.
install_import_hook(
    "eqprop_spice", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

KEPT = Path(__file__).parent.parent / ".pytest_cache" / "jax"
"""Where `make clean` removes it."""

# Before JAX is imported, which reads them then.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(KEPT))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

# Large minibatches on one core, unless a test says otherwise.
os.environ.setdefault("EQPROP_CORES", "1")

QUICK = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
)
"""Flags of XLA that make it compile three times faster."""


def accepted(flags: str) -> bool:
    """Whether this XLA takes the flags; one it does not know ends the process."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    environment = {**os.environ, "XLA_FLAGS": flags}
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = QUICK if accepted(QUICK) else ""

import eqprop_spice  # noqa: E402, F401 (before JAX is imported: no message about its 64-bit mode)

settings.register_profile(
    "deterministic", deadline=None, derandomize=True, max_examples=15, database=None
)
settings.load_profile("deterministic")


def pytest_collection_finish() -> None:
    """Leave what is imported by now, which stays, out of all searches for garbage.

    Tracing a program makes a great many objects that live for a moment; after every 700 of them,
    Python would search.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 5)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that pass wrong types on purpose: annotations are not checked."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)


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
