"""Measurements whose figures the documents give. `python -m benchmarks.NAME` runs one."""

import eqprop_spice  # noqa: F401 (before JAX: no message about its 64-bit mode)
