"""What the two estimators share: a circuit from their settings, its training, its outputs."""

import dataclasses
import numbers
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from eqprop_spice.audit.check import check_gradient
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.constraints.box import Box
from eqprop_spice.costs.base import AbstractCost
from eqprop_spice.datasets.base import Data, Task
from eqprop_spice.datasets.encoding import Encoding, Standardize
from eqprop_spice.datasets.samples import Volts, encoded
from eqprop_spice.errors import ConfigError
from eqprop_spice.estimators.settings import FILE, read_settings, settings_of
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.experiment.lines import Origin
from eqprop_spice.experiment.objects import SOURCE, build
from eqprop_spice.files import write_atomically
from eqprop_spice.initializers.rectified_normal import RectifiedNormal
from eqprop_spice.layers.base import AbstractLayer
from eqprop_spice.layers.stack import Nonlinearity, stack
from eqprop_spice.results.datasets import final_state
from eqprop_spice.results.export import export
from eqprop_spice.results.plots import draw
from eqprop_spice.results.predictions import outputs
from eqprop_spice.results.run import Run, record
from eqprop_spice.rules.base import AbstractRule
from eqprop_spice.training.history import History
from eqprop_spice.training.trainer import TrainingState

Callback = Callable[[int, dict[str, float]], Any]
"""Called after every epoch with its number and figures."""

Kind = TypeVar("Kind", bound="AbstractEstimator")

LARGEST_SEED = 2**31 - 1

START = 0.1
"""Deviation of the starting conductances, relative to the largest conductance."""


class AbstractEstimator(BaseEstimator):
    """A circuit that is trained when `fit` is called; see `EqPropClassifier`."""

    _task: ClassVar[Task]
    _experiment_made: Any
    standardize: Standardize
    nonlinearity: Nonlinearity
    n_features_in_: int
    feature_names_in_: np.ndarray

    def __init__(
        self,
        hidden: Sequence[int] | int = (50,),
        *,
        layers: Sequence[AbstractLayer] | None = None,
        rule: AbstractRule | None = None,
        cost: AbstractCost | None = None,
        engine: str = "native",
        diode: str = "kiraz",
        nonlinearity: Nonlinearity = "rectifier",
        gain: float = 4.0,
        scale: float = 10.0,
        standardize: Standardize = "feature",
        lower: float = 1e-7,
        upper: float = 1e-4,
        optimizer: str = "adam",
        learning_rate: float = 6e-7,
        weight_decay: float = 0.0,
        epochs: int = 100,
        batch_size: int = 32,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = 0,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.hidden = hidden
        self.layers = layers
        self.rule = rule
        self.cost = cost
        self.engine = engine
        self.diode = diode
        self.nonlinearity = nonlinearity
        self.gain = gain
        self.scale = scale
        self.standardize = standardize
        self.lower = lower
        self.upper = upper
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.warm_start = warm_start
        self.random_state = random_state
        self.callbacks = callbacks

    # What the two differ in.

    def _volts(self) -> Volts:
        """Return which voltages features and targets become."""
        raise NotImplementedError

    def _encoding(self, features: np.ndarray, targets: np.ndarray) -> Encoding:
        """Return how they do, fitted to the samples."""
        raise NotImplementedError

    # Training.

    def _circuit(self) -> list[AbstractLayer]:
        if self.layers is not None:
            return list(self.layers)
        hidden: Any = self.hidden
        sizes = (hidden,) if isinstance(hidden, numbers.Integral) else hidden
        if isinstance(sizes, str) or not all(isinstance(n, numbers.Integral) for n in sizes):
            raise ConfigError(
                f"hidden is {hidden!r}; it takes a number of nodes, or one for every hidden layer."
            )
        return stack(
            *(int(size) for size in sizes),
            bias=self.scale,
            nonlinearity=self.nonlinearity,
            diode_name=self.diode,
            gain=self.gain,
        )

    def _experiment(self, data: Data, *, epochs: int, schedule: str) -> Experiment:
        """Return the experiment that the settings describe."""
        seed = int(check_random_state(self.random_state).randint(LARGEST_SEED))
        return build(
            self._circuit(),
            data,
            name=type(self).__name__.lower(),
            seed=seed,
            engine=self.engine,
            rule=self.rule,
            cost=self.cost,
            constraint=Box(self.lower, self.upper),
            initializer=RectifiedNormal(START * self.upper, self.lower, self.upper),
            optimizer={
                "kind": self.optimizer,
                "learning_rate": float(self.learning_rate),
                "schedule": schedule,
                "weight_decay": float(self.weight_decay),
            },
            epochs=epochs,
            batch_size=int(self.batch_size),
            training={"fill": True},
        )

    def _train(
        self, features: np.ndarray, targets: np.ndarray, *, fresh: bool, epochs: int, schedule: str
    ) -> None:
        """Train for some epochs.

        Args:
            features: Finite numbers.
            targets: Labels or numbers.
            fresh: Whether to begin anew; else voltages and conductances stay as they are.
            epochs: How often every sample is visited.
            schedule: That of the learning rate.
        """
        if not all(callable(callback) for callback in self.callbacks):
            raise ConfigError(f"callbacks is {self.callbacks!r}; it takes a list of functions.")
        encoding = self._encoding(features, targets) if fresh else self.encoding_
        inputs, wanted = encoded(encoding, features, targets, self._volts())
        data = Data(inputs, wanted, inputs[:0], wanted[:0], self._task, encoding=encoding)
        experiment = self._experiment(data, epochs=epochs, schedule=schedule)
        trainer = experiment.trainer
        if fresh:
            state = trainer.init(experiment.initial_params())
            history = History(experiment.substrate.parameter_shapes())
        else:
            state, history = self._state, self._history
            if schedule != "constant":
                # The optimizer's memory is of another schedule's steps.
                state = dataclasses.replace(trainer.init(state.params), epoch=state.epoch)
        for _ in range(epochs):
            started = time.perf_counter()
            state, figures = trainer.epoch(state)
            figures["seconds"] = time.perf_counter() - started
            params = {name: np.asarray(value) for name, value in state.params.items()}
            history.append(figures, params)
            for callback in self.callbacks:
                callback(len(history), figures)
        self._keep(experiment, state, history)

    def _keep(self, experiment: Experiment, state: TrainingState, history: History) -> None:
        """Set what has been learned."""
        # As numpy arrays, which any other process reads.
        trees = (state.params, state.optimizer_state, state.carry)
        params, memory, carry = jax.tree.map(np.asarray, trees)
        state = TrainingState(params, memory, state.epoch, carry)
        self._experiment_made, self._state, self._history = experiment, state, history
        assert experiment.data.encoding is not None
        self.encoding_ = experiment.data.encoding
        self.conductances_ = {name: np.asarray(value) for name, value in state.params.items()}
        self.loss_curve_ = list(history.columns["loss"])

    # What has been learned.

    @property
    def experiment_(self) -> Experiment:
        """The experiment that `fit` has made: its circuit, its samples in volts, its rule."""
        check_is_fitted(self)
        made = self._experiment_made
        # What is compiled does not travel to another process; it is compiled there.
        return made if isinstance(made, Experiment) else self._remade()

    def _remade(self) -> Experiment:
        table, data = self._experiment_made
        self._experiment_made = Experiment(table, Origin(SOURCE, ""), data)
        return self._experiment_made

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is compiled."""
        state: dict[str, Any] = dict(super().__getstate__())  # pyright: ignore
        made = state.get("_experiment_made")
        if isinstance(made, Experiment):
            state["_experiment_made"] = made.table, made.data
        return state

    @property
    def circuit_(self) -> Circuit:
        """The circuit."""
        return self.experiment_.circuit

    def outputs(self, features: Any) -> Float[np.ndarray, "sample output"]:
        """Return the output voltages [V] of the free phase, `(samples, outputs)`.

        Args:
            features: `(samples, features)`.

        Raises:
            ValueError: If the features are not what the circuit was trained with.
            ConvergenceError: If a sample does not settle.
        """
        check_is_fitted(self)
        table = np.asarray(validate_data(self, features, reset=False, dtype=np.float64))
        return outputs(self.experiment_, self.conductances_, self.encoding_.inputs(table))

    def audit(self, *, num_samples: int = 16, num_parameters: int = 100, seed: int = 0) -> Any:
        """Tell whether the trained circuit follows its gradient; see `check_gradient`."""
        return check_gradient(
            self.experiment_,
            params=self.conductances_,
            num_samples=num_samples,
            num_parameters=num_parameters,
            seed=seed,
        )

    def plot(self, name: str = "loss", path: str | Path | None = None) -> Figure:
        """Return a figure of the training, and write it into a file if a path is given.

        Args:
            name: "loss", "conductances", "voltages" or "predictions".
            path: The file, whose name ends with .png or .svg.
        """
        made = self.experiment_
        return draw(name, self._history.to_xarray({}), final_state(made, self._state), path)

    def export(self, folder: str | Path) -> list[Path]:
        """Write the trained circuit: netlists for plain ngspice, and the conductances as a table.

        Args:
            folder: Where to put free.cir, nudged.cir and conductances.csv; made if missing.

        Returns:
            The files.
        """
        return export(self.experiment_, self.conductances_, folder)

    def save(self, folder: str | Path) -> Run:
        """Write a run folder, from which `load` reads the estimator; there is no pickle in it.

        Raises:
            ConfigError: If the folder exists.
        """
        made = self.experiment_
        run = record(made, self._state, self._history, folder)
        write_atomically(run.path / FILE, settings_of(self))
        return run

    @classmethod
    def load(cls: type[Kind], folder: str | Path) -> Kind:
        """Return the estimator that `save` has written.

        Raises:
            ConfigError: If the folder is none, or of the other kind of estimator.
        """
        run = Run.open(folder)
        settings, names = read_settings(run.path / FILE, cls)
        estimator = cls(**settings)
        made = run.experiment
        state, history = run.load_checkpoint(made)
        if made.data.encoding is None:
            raise ConfigError(f"{folder} does not say how features become voltages.")
        estimator._keep(made, state, history)
        estimator.n_features_in_ = len(estimator.encoding_.mean)
        if names is not None:
            estimator.feature_names_in_ = np.array(names, dtype=object)
        estimator._learned()
        return estimator

    def _learned(self) -> None:
        """Set further attributes that follow from the encoding."""
