"""Metrics and parameters for MLflow, on the server or in the database that its settings name."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eqprop_spice.files import read_bounded, write_atomically
from eqprop_spice.logs.base import AbstractLog, Figures

FILE = "mlflow_run.txt"
"""Holds in a run folder which run of MLflow it is, so that an interrupted one is continued."""

SEND_SECONDS = 10.0
"""What was measured waits so long, since a message per epoch would cost more than the epoch."""

MOST_METRICS = 900
"""Numbers in a message; MLflow takes 1,000."""

MOST_PARAMS, LONGEST_PARAM = 100, 500
"""Parameters in a message, and characters of each."""

LONGEST_ID = 100


class MlflowLog(AbstractLog):
    """Sends a metric for every figure to `MLFLOW_TRACKING_URI`.

    The address is the environment's and not the experiment's: a run folder of somebody else does
    not say where figures are sent.
    """

    name = "MLflow"
    module = "mlflow"
    extra = "mlflow"

    def __init__(self, folder: Path, experiment: str, params: Mapping[str, Any]) -> None:
        self._folder, self._experiment, self._params = folder, experiment, params
        self._client: Any = None
        self._run = ""
        self._waiting: list[Any] = []
        self._known: set[int] = set()
        self._sent = time.monotonic()
        self._ended = False

    def begin(self, rows: Sequence[Figures]) -> None:
        """Begin a run, or go on with the one of this folder where its last epoch was sent."""
        from mlflow import MlflowClient  # pyright: ignore
        from mlflow.entities import Param  # pyright: ignore

        self._client = MlflowClient()
        known = self._continued()
        if known is None:
            found = self._client.get_experiment_by_name(self._experiment)
            place = (
                self._client.create_experiment(self._experiment)
                if found is None
                else found.experiment_id
            )
            made = self._client.create_run(place, run_name=self._folder.name)
            self._run = made.info.run_id
            write_atomically(self._folder / FILE, f"{self._run}\n".encode())
            params = [
                Param(name, str(value)[:LONGEST_PARAM]) for name, value in self._params.items()
            ]
            self._client.log_batch(self._run, params=params[:MOST_PARAMS])
        else:
            self._known = known
        for number, figures in enumerate(rows, start=1):
            self.epoch(number, figures)

    def _continued(self) -> set[int] | None:
        """Return the epochs that MLflow knows of this folder's run; None if it knows no such."""
        from mlflow.exceptions import MlflowException  # pyright: ignore

        path = self._folder / FILE
        if not path.is_file():
            return None
        identifier = read_bounded(path, limit=LONGEST_ID).decode(errors="replace").strip()
        try:
            self._client.update_run(identifier, status="RUNNING")
            known = {point.step for point in self._client.get_metric_history(identifier, "loss")}
        except MlflowException:
            return None
        self._run = identifier
        return known

    def epoch(self, number: int, figures: Figures) -> None:
        """Keep the figures of an epoch that is not known, and send what has waited long."""
        from mlflow.entities import Metric  # pyright: ignore

        if number in self._known:
            return
        now = int(1000 * time.time())
        metrics = [
            Metric(name, float(value), now, number)
            for name, value in figures.items()
            if math.isfinite(value)
        ]
        if len(self._waiting) + len(metrics) > MOST_METRICS:
            self._send()
        self._waiting += metrics
        if time.monotonic() - self._sent > SEND_SECONDS:
            self._send()

    def _send(self) -> None:
        if self._waiting:
            self._client.log_batch(self._run, metrics=self._waiting)
        self._waiting, self._sent = [], time.monotonic()

    def end(self, results: Mapping[str, Any]) -> None:
        """Write the results as tags, which may be written again."""
        self._send()
        for name, value in results.items():
            self._client.set_tag(self._run, f"result.{name}", str(value))
        self._client.set_terminated(self._run, "FINISHED")
        self._ended = True

    def close(self) -> None:
        """Send what is left."""
        if self._run and not self._ended:
            self._send()
            self._client.set_terminated(self._run, "KILLED")
