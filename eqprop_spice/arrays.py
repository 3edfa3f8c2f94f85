"""The array type that the numpy and JAX halves of the package share."""

import functools
import os
from typing import TypeAlias

import jax
import numpy as np

from eqprop_spice.errors import ConfigError

Array: TypeAlias = np.ndarray | jax.Array
"""A numpy or JAX array. Formulas use the namespace of their argument and run on both."""


@functools.cache
def check_platform() -> None:
    """Refuse to go on where JAX finds no device of the platform that it was told to use.

    Raises:
        ConfigError: If so.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"JAX cannot use the platform '{os.environ.get('JAX_PLATFORMS')}', which the "
            "environment variable JAX_PLATFORMS names. Unset it, or install JAX for that platform."
        ) from error
