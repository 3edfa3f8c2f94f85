"""Settings of every test: hypothesis draws the same few examples on every machine.

What XLA compiles is kept between runs of the tests, also for the processes that they start.
"""

import os
from pathlib import Path

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
