"""The estimators beside scikit-learn's perceptrons of the same hidden size, defaults of both.

    python -m benchmarks.estimators [wine breast_cancer digits diabetes]

Five splits, a fifth of the samples for testing; the table of docs/estimators.md is made by this
command. Perceptrons get standardized features, as the circuits do: once with their default of 200
epochs at most, once with as many as they need to converge, and numbers to predict standardized.
"""

import sys
import time
import warnings
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from eqprop_spice.estimators.classifier import EqPropClassifier
from eqprop_spice.estimators.regressor import EqPropRegressor

SPLITS = 5
HIDDEN = 50
ENOUGH = 10_000
"""Epochs after which every perceptron here has converged; otherwise the command fails."""


def scores(name: str, split: int) -> tuple[float, ...]:
    """Return 100 times accuracy, or R^2, of the circuit and of the perceptrons."""
    features, wanted = getattr(datasets, f"load_{name}")(return_X_y=True)
    numbers = name == "diabetes"
    train, test, train_wanted, test_wanted = train_test_split(
        features,
        wanted,
        test_size=0.2,
        random_state=split,
        stratify=None if numbers else wanted,
    )
    circuit = (EqPropRegressor if numbers else EqPropClassifier)(HIDDEN, random_state=split)
    kind = MLPRegressor if numbers else MLPClassifier
    default: Any
    converging: Any
    default, converging = (
        kind(hidden_layer_sizes=(HIDDEN,), max_iter=epochs, random_state=split)
        for epochs in (200, ENOUGH)
    )
    whole: Any = TransformedTargetRegressor(converging, transformer=StandardScaler())
    models: tuple[Any, ...] = (circuit, default, whole if numbers else converging)
    scaler = StandardScaler().fit(train)
    found = []
    for model in models:
        own = (lambda x: x) if model is circuit else scaler.transform
        model.fit(own(train), train_wanted)
        found.append(100.0 * model.score(own(test), test_wanted))
    last = whole.regressor_ if numbers else converging
    assert last.n_iter_ < ENOUGH, "the perceptron has not converged"
    return tuple(found)


def main(names: list[str]) -> None:
    """Print a row per data set."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    print("| Set | Circuit | Perceptron | converged | CPU |")
    for name in names:
        started = time.process_time()
        table = np.array([scores(name, split) for split in range(SPLITS)])
        means, spreads = table.mean(0), table.std(0, ddof=1)
        cells = " | ".join(f"{m:.2f} ± {s:.2f}" for m, s in zip(means, spreads, strict=True))
        print(f"| {name} | {cells} | {time.process_time() - started:.0f} s |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["wine", "breast_cancer", "digits", "diabetes"])
