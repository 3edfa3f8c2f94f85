"""Settings of every test: hypothesis draws the same few examples on every machine."""

from hypothesis import settings

settings.register_profile(
    "deterministic", deadline=None, derandomize=True, max_examples=15, database=None
)
settings.load_profile("deterministic")
