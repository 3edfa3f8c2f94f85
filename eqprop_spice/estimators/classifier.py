"""A circuit that tells classes apart, as an estimator of scikit-learn."""

from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from eqprop_spice.costs.cross_entropy import CrossEntropy
from eqprop_spice.datasets.encoding import Encoding
from eqprop_spice.datasets.samples import Volts, encoding_of
from eqprop_spice.estimators.base import AbstractEstimator
from eqprop_spice.experiment.objects import OUTPUT_SCALE


class EqPropClassifier(ClassifierMixin, AbstractEstimator):
    """Trains an analog circuit to tell classes apart.

    Features are standardized and become source voltages; the class is that of the largest output.
    What is chosen by default was tuned on validation splits (docs/estimators.md).

    Args:
        hidden: Number of nodes of every hidden layer; () for resistors alone.
        layers: The circuit's own layers, instead of what the settings below describe. A dense layer
            to the outputs is added unless they end with one.
        rule: The learning rule; the limit of equilibrium propagation for a vanishing nudge if None.
        cost: The cost; softmax cross-entropy for classes, squared error for numbers, if None.
        engine: "native" (JAX), "ngspice", or "auto": whichever is expected to be done first.
        diode: The preset of the diodes.
        nonlinearity: One diode at every hidden node ("rectifier") or two ("antiparallel").
        gain: Voltage gain of the amplifiers after the diodes.
        scale: Voltage of one standard deviation of a feature, and of the bias sources [V].
        standardize: Whether each feature is standardized, or the "table" as a whole, or "none".
        lower: Smallest conductance [S].
        upper: Largest conductance [S].
        optimizer: Name of an optax optimizer.
        learning_rate: Its rate; for "adam" [S].
        weight_decay: Times the conductance, added to the gradient [V^2/S^2].
        epochs: How often `fit` visits every sample.
        batch_size: Samples per update.
        warm_start: Whether `fit` goes on from where the last one ended.
        random_state: Seed of the starting conductances and of the order of samples.
        callbacks: Called after every epoch with its number and figures.

    Attributes:
        classes_: The labels.
        conductances_: Conductances [S] by group.
        circuit_: The circuit.
        experiment_: The experiment behind it, which can be written as TOML.
        encoding_: How features become voltages.
        loss_curve_: Loss of every epoch [V^2].
        n_features_in_: Number of features.
    """

    _task = "classes"

    def _volts(self) -> Volts:
        return Volts(scale=self.scale, standardize=self.standardize)

    def _encoding(self, features: np.ndarray, targets: np.ndarray) -> Encoding:
        return encoding_of(
            features, targets, task="classes", volts=self._volts(), classes=self.classes_
        )

    def _checked(self, features: Any, labels: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        table, given = validate_data(self, features, labels, reset=reset, dtype=np.float64)
        check_classification_targets(given)
        return np.asarray(table), np.asarray(column_or_1d(given, warn=True))

    def fit(self, X: Any, y: Any) -> "EqPropClassifier":
        """Train the circuit.

        Args:
            X: Features, `(samples, features)`.
            y: Labels, `(samples,)`.

        Raises:
            ValueError: If they are no such arrays, in scikit-learn's words, or of one class.
            ConvergenceError: If operating points are not found.
        """
        goes_on = self.warm_start and hasattr(self, "conductances_")
        table, labels = self._checked(X, y, reset=not goes_on)
        if not goes_on:
            self.classes_ = np.unique(labels)
        self._train(table, labels, fresh=not goes_on, epochs=self.epochs, schedule="cosine")
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> "EqPropClassifier":
        """Visit every sample once; what the first call finds decides on the voltages.

        Args:
            X: Features, `(samples, features)`.
            y: Labels, `(samples,)`.
            classes: All labels that will come; those of the first call if None.
        """
        fresh = not hasattr(self, "conductances_")
        table, labels = self._checked(X, y, reset=fresh)
        if fresh:
            self.classes_ = np.unique(labels if classes is None else classes)
        self._train(table, labels, fresh=fresh, epochs=1, schedule="constant")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of each sample."""
        outputs = self.outputs(X)
        return self.encoding_.predictions(outputs)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the outputs [V], `(samples, classes)`; of two classes, their difference."""
        outputs = self.outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict_proba(self, X: Any) -> Float[np.ndarray, "sample class"]:
        """Return the softmax of the outputs in units of the cost's voltage scale."""
        check_is_fitted(self)
        cost = self.experiment_.cost
        scale = cost.scale if isinstance(cost, CrossEntropy) else OUTPUT_SCALE
        logits = self.outputs(X) / scale
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def _learned(self) -> None:
        self.classes_ = self.encoding_.classes
