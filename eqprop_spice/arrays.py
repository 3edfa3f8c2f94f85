"""The array type that the numpy and JAX halves of the package share, and its precision.

Everything is float64: a nudge of 1e-7 S moves node voltages by microvolts or less, and the
learning signal is the difference of two such voltages. float32 resolves neither. JAX calculates
in float64 only if the whole process may, so importing this module turns its 64-bit mode on. Every
module here that imports JAX imports this one, directly or through others.
"""

import functools
import os
import warnings
from typing import TypeAlias

import jax
import numpy as np

from eqprop_spice import JAX_WAS_HERE
from eqprop_spice.errors import ConfigError

if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_enable_x64", True)
    if JAX_WAS_HERE:
        warnings.warn(
            "eqprop_spice calculates in float64: it has turned on JAX's 64-bit mode "
            "(jax_enable_x64) for this process. Other JAX code in it now gets float64 where it "
            "names no dtype. Turn the mode on yourself, before, to be without this message.",
            stacklevel=2,
        )

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
