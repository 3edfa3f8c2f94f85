"""Functions and objects of the user as logs."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from eqprop_spice.logs.base import AbstractLog, Figures


@runtime_checkable
class Callback(Protocol):
    """What is called after every epoch: a function, or an object with a method `__call__`.

    If it has a method `on_end`, that is called with the results.
    """

    def __call__(self, epoch: int, figures: dict[str, float], /) -> Any:
        """Take the number of an epoch, from 1 on, and its figures by name, in SI units."""


class CallbackLog(AbstractLog):
    """Tells a callback of every epoch that is computed: those before an interruption it knows."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        shown = getattr(callback, "__qualname__", type(callback).__qualname__)
        self.name = f"The callback {shown}"

    def begin(self, rows: Sequence[Figures]) -> None:
        """Tell nothing: it was told of these epochs when they were computed."""

    def epoch(self, number: int, figures: Figures) -> None:
        """Tell of an epoch."""
        self._callback(number, dict(figures))

    def end(self, results: Mapping[str, Any]) -> None:
        """Tell of the results, whoever wants to know."""
        on_end = getattr(self._callback, "on_end", None)
        if on_end is not None:
            on_end(dict(results))

    def close(self) -> None:
        """Tell nothing."""
