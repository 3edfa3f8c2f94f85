"""Simulate and train analog circuits with equilibrium propagation.

Everything is float64: a nudge of 1e-7 S moves node voltages by microvolts or less, and the
learning signal is the difference of two such voltages. float32 resolves neither.
"""

import jax

jax.config.update("jax_enable_x64", True)

__version__ = "0.1.0"
