"""The array type that the numpy and JAX halves of the package share, and its precision.

Everything is float64: a nudge of 1e-7 S moves node voltages by microvolts or less, and the
learning signal is the difference of two such voltages. float32 resolves neither. JAX calculates
in float64 only if the whole process may, so importing this module turns its 64-bit mode on. Every
module here that imports JAX imports this one, directly or through others.
"""

import functools
import importlib.util
import os
import warnings
from pathlib import Path
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

CACHE_VARIABLE = "EQPROP_CACHE"
"""Environment variable: where compiled programs are kept; "off" for nowhere."""

CACHE_BYTES = 500_000_000
"""Most that is kept; what was not used for longest goes first."""

WORTH_KEEPING = 0.2
"""Seconds of compilation from which on a program is kept."""


def cache_folder() -> Path | None:
    """Return the user's folder of compiled programs for this version of JAX; None for none.

    A process that other code has set up, or that has a cache of its own, is left as it is.
    """
    chosen = os.environ.get(CACHE_VARIABLE, "")
    if chosen == "off" or JAX_WAS_HERE or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    root = Path(chosen) if chosen else Path(home) / "eqprop_spice"
    return root / f"jax-{jax.__version__}"


def keep_compiled() -> None:
    """Keep compiled programs in the user's folder, so that they are compiled once per machine."""
    folder = cache_folder()
    # The bound needs a lock between processes, which JAX takes from this package.
    if folder is None or importlib.util.find_spec("filelock") is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH_KEEPING)


keep_compiled()

CORES_VARIABLE = "EQPROP_CORES"
"""Environment variable: how many cores share the samples of a large minibatch."""

MAX_CORES = 4
"""More were not measured; they would spend much of their time on averaging gradients."""


def chosen_cores() -> int:
    """Return how many cores a process uses: all that it may, or what the environment says.

    Raises:
        ConfigError: If that is no positive number.
    """
    chosen = os.environ.get(CORES_VARIABLE)
    if chosen is None:
        return min(available_cores(), MAX_CORES)
    if not (chosen.isdecimal() and int(chosen) > 0):
        raise ConfigError(
            f"The environment variable {CORES_VARIABLE} is '{chosen[:20]}'; it says how many cores "
            "a process uses, such as 2."
        )
    return int(chosen)


def available_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_cores_devices() -> None:
    """Tell JAX that every core is a device; see `training.cores`.

    A process that other code has set up is left as it is.
    """
    if JAX_WAS_HERE or "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    jax.config.update("jax_num_cpu_devices", chosen_cores())


make_cores_devices()

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
            "environment variable JAX_PLATFORMS names. Unset it, or install JAX for that platform: "
            "pip install 'eqprop_spice[cuda]' for a GPU of NVIDIA."
        ) from error
