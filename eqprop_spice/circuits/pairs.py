"""Pairs of rows of a layer's conductances, which stand for one signed coefficient."""

from collections.abc import Mapping
from typing import TypeAlias

from eqprop_spice.errors import ConfigError

Pairs: TypeAlias = dict[str, tuple[tuple[int, int], ...]]
"""By group name, rows (positive node's, negative node's)."""


def check_pairs(pairs: Pairs, floor: float, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse pairs of rows that the layers do not have.

    Args:
        pairs: The pairs.
        floor: The conductance of the member that is switched off [S].
        shapes: The shape of the conductances by group name.

    Raises:
        ConfigError: If so.
    """
    if not floor > 0:
        raise ConfigError(f"floor is {floor} S; it must be positive, such as 1e-12.")
    for name, members in pairs.items():
        if name not in shapes:
            raise ConfigError(f"pairs names '{name}'; the layers are {', '.join(shapes)}.")
        rows = [row for pair in members for row in pair]
        count = shapes[name][0]
        wrong = next((row for row in rows if not 0 <= row < count), None)
        if wrong is not None:
            raise ConfigError(f"pairs of '{name}' hold {wrong}; its rows are 0 to {count - 1}.")
        if not rows or len(set(rows)) < len(rows):
            raise ConfigError(
                f"pairs of '{name}' must hold every row once at most, and any at all."
            )
