"""How updates are compiled: to run fast, or, for short trainings of small circuits, quickly."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from eqprop_spice.arrays import Array

UNOPTIMIZED: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""Options of XLA with which it compiles four times faster, and programs run at half their speed."""


@functools.cache
def unoptimized() -> dict[str, Any] | None:
    """Return the options; None on other platforms, and where this XLA does not know them."""
    return UNOPTIMIZED if jax.default_backend() == "cpu" and knows(UNOPTIMIZED) else None


def knows(options: dict[str, Any]) -> bool:
    """Whether this XLA takes some options."""

    def same(x: Array) -> Array:
        return x

    try:
        jax.jit(same, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def compiled(function: Callable, *, quick: bool) -> Any:
    """Return a function as a program of its own; a quick one is no part of another program.

    Args:
        function: What to compile when it is first called.
        quick: Whether compiling takes longer than what the program will do.
    """
    return jax.jit(function, compiler_options=unoptimized() if quick else None)
