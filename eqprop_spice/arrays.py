"""The array type that the numpy and JAX halves of the package share."""

from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np

if TYPE_CHECKING:
    # The stubs of the two libraries have no common array type whose operators type-check.
    Array: TypeAlias = Any
else:
    Array: TypeAlias = np.ndarray | jax.Array
    """A numpy or JAX array. Formulas use the namespace of their argument and run on both."""
