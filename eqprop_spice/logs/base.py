"""What a log is, and all logs of a training together: none of them can end it."""

import abc
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eqprop_spice.errors import Remark

Figures = Mapping[str, float]
"""The figures of an epoch by name, in SI units; an accuracy is a share."""


class AbstractLog(abc.ABC):
    """Whoever is told of a training.

    After an interruption the epochs of the last checkpoint are told again: a log forgets what it
    was told of later ones, or knows them when they come again.
    """

    name: str
    """What remarks call it."""

    @abc.abstractmethod
    def begin(self, rows: Sequence[Figures]) -> None:
        """Take the figures of the epochs that were done before, the first one first."""

    @abc.abstractmethod
    def epoch(self, number: int, figures: Figures) -> None:
        """Take the figures of an epoch; the first is number 1."""

    @abc.abstractmethod
    def end(self, results: Mapping[str, Any]) -> None:
        """Take the results of a training that has come to its end."""

    @abc.abstractmethod
    def close(self) -> None:
        """Write what is left; called too where the training was interrupted."""


class Logs:
    """All logs of a training. One that fails costs a remark and is told nothing more."""

    def __init__(self, logs: Sequence[AbstractLog]) -> None:
        self._logs = list(logs)

    def begin(self, rows: Sequence[Figures]) -> None:
        """Tell of the epochs that were done before."""
        self._tell(lambda log: log.begin(rows))

    def epoch(self, number: int, figures: Figures) -> None:
        """Tell of an epoch."""
        self._tell(lambda log: log.epoch(number, figures))

    def end(self, results: Mapping[str, Any]) -> None:
        """Tell of the results."""
        self._tell(lambda log: log.end(results))

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._tell(lambda log: log.close())

    def _tell(self, told: Callable[[AbstractLog], None]) -> None:
        for log in list(self._logs):
            try:
                told(log)
            except Exception as error:
                # A training of hours is worth more than its log, whatever that stumbles over.
                self._logs.remove(log)
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                warnings.warn(
                    f"{log.name} is told nothing more: {reason} The training goes on, and its run "
                    "folder holds every epoch.",
                    Remark,
                    stacklevel=3,
                )
