"""A bar that shows the epochs of a training: in a terminal, or in a notebook."""

import html
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

RATE_SMOOTHING = 0.2
"""Share of the newest epoch in the shown samples per second."""

NOTEBOOK_SECONDS = 0.2
"""How often a notebook is told [s]."""


def described(figures: dict[str, float]) -> str:
    """Return an epoch's figures as a line."""
    parts = [f"loss {figures['loss']:9.3g} V^2"]
    if "accuracy" in figures:
        parts.append(f"accuracy {100 * figures['accuracy']:5.1f} %")
    if "test_accuracy" in figures:
        parts.append(f"test {100 * figures['test_accuracy']:5.1f} %")
    if figures.get("num_unconverged"):
        parts.append(f"unconverged {figures['num_unconverged']:.0f}")
    return "  ".join(parts)


def bar(unit: str, total: int, *, where: Console, live: bool) -> tuple[Progress, TaskID]:
    """Return a bar that counts, and its only task, whose description stands beside it."""
    progress = Progress(
        TextColumn(f"{unit} {{task.completed}}/{{task.total}}"),
        BarColumn(),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
        console=where,
        transient=True,
        disable=not live,
    )
    return progress, progress.add_task("", total=total)


class Rate:
    """Samples per second, of which the first epochs, that compile, are soon forgotten."""

    def __init__(self, num_samples: int) -> None:
        self._num_samples = num_samples
        self._seconds: float | None = None

    def __call__(self, seconds: float) -> float:
        """Return the rate after an epoch that took so long [1/s]."""
        before = seconds if self._seconds is None else self._seconds
        self._seconds = before + RATE_SMOOTHING * (seconds - before)
        return self._num_samples / max(self._seconds, 1e-9)


class RunBar:
    """Shows the epochs where a person looks on: in a terminal or a notebook, and nowhere else."""

    def __init__(self, epochs: int, num_samples: int, where: Console | None = None) -> None:
        where = where or Console(stderr=True, markup=False, emoji=False)
        self._rate = Rate(num_samples)
        self._notebook = _NotebookBar(epochs) if where.is_jupyter else None
        self.live = where.is_terminal and self._notebook is None
        self._progress, self._task = bar("epoch", epochs, where=where, live=self.live)
        self._begun = False

    def __enter__(self) -> "RunBar":
        self._progress.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._progress.stop()

    def __call__(self, epoch: int, figures: dict[str, float]) -> str:
        """Show an epoch; return what is said of it."""
        if not self._begun:
            # A resumed run does not begin at the first epoch.
            self._progress.reset(self._task, completed=epoch - 1)
            self._begun = True
        line = f"{described(figures)}  {self._rate(figures['seconds']):,.0f} samples/s"
        self._progress.update(self._task, completed=epoch, description=line)
        if self._notebook is not None:
            self._notebook.show(epoch, line)
        return line


class _NotebookBar:
    """A bar below the cell of a notebook, which needs no widgets."""

    def __init__(self, epochs: int) -> None:
        self._epochs, self._shown, self._handle = epochs, 0.0, None

    def show(self, epoch: int, line: str) -> None:
        """Show an epoch, unless one was shown just now."""
        from IPython.display import display  # pyright: ignore

        now = time.monotonic()
        if epoch < self._epochs and now - self._shown < NOTEBOOK_SECONDS:
            return
        self._shown = now
        content = {
            "text/html": f"<progress value='{epoch}' max='{self._epochs}'></progress> "
            f"epoch {epoch}/{self._epochs}, {html.escape(line)}",
            "text/plain": f"epoch {epoch}/{self._epochs}  {line}",
        }
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
