"""The array type that the numpy and JAX halves of the package share."""

from typing import TypeAlias

import jax
import numpy as np

Array: TypeAlias = np.ndarray | jax.Array
"""A numpy or JAX array. Formulas use the namespace of their argument and run on both."""
