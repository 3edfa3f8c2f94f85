"""A circuit that predicts numbers, as an estimator of scikit-learn."""

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from eqprop_spice.datasets.encoding import Encoding
from eqprop_spice.datasets.samples import Volts, encoding_of
from eqprop_spice.estimators.base import AbstractEstimator

TARGET_SCALE = 1.0
"""Voltage of one standard deviation of a target [V]."""


class EqPropRegressor(RegressorMixin, AbstractEstimator):
    """Trains an analog circuit to predict numbers, one output for each.

    Features and targets are standardized and become voltages. Settings and attributes are those of
    `EqPropClassifier`, but for `classes_`.
    """

    _task = "regression"

    def _volts(self) -> Volts:
        return Volts(scale=self.scale, standardize=self.standardize, target_scale=TARGET_SCALE)

    def _encoding(self, features: np.ndarray, targets: np.ndarray) -> Encoding:
        return encoding_of(features, targets, task="regression", volts=self._volts())

    def _checked(self, features: Any, wanted: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        table, given = validate_data(
            self,
            features,
            wanted,
            reset=reset,
            dtype=np.float64,
            multi_output=True,
            y_numeric=True,
        )
        return np.asarray(table), np.asarray(given, np.float64)

    def fit(self, X: Any, y: Any) -> "EqPropRegressor":
        """Train the circuit.

        Args:
            X: Features, `(samples, features)`.
            y: Numbers, `(samples,)` or `(samples, outputs)`.

        Raises:
            ValueError: If they are no such arrays, in scikit-learn's words.
            ConvergenceError: If operating points are not found.
        """
        goes_on = self.warm_start and hasattr(self, "conductances_")
        table, wanted = self._checked(X, y, reset=not goes_on)
        self._train(table, wanted, fresh=not goes_on, epochs=self.epochs, schedule="cosine")
        return self

    def partial_fit(self, X: Any, y: Any) -> "EqPropRegressor":
        """Visit every sample once; what the first call finds decides on the voltages."""
        fresh = not hasattr(self, "conductances_")
        table, wanted = self._checked(X, y, reset=fresh)
        self._train(table, wanted, fresh=fresh, epochs=1, schedule="constant")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the numbers of each sample, in the shape that `fit` was given them."""
        outputs = self.outputs(X)
        return self.encoding_.predictions(outputs)

    def __sklearn_tags__(self):
        """Say that several numbers may be predicted."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
