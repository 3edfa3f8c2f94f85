"""The estimators beside scikit-learn's perceptrons of the same hidden size, defaults of both.

    python -m benchmarks.estimators [wine breast_cancer digits diabetes]

Five splits, a fifth of the samples for testing; the table of docs/estimators.md is made by this
command. Perceptrons get standardized features, as the circuits do.
"""

import sys
import time
import warnings

import numpy as np
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eqprop_spice.estimators.classifier import EqPropClassifier
from eqprop_spice.estimators.regressor import EqPropRegressor

SPLITS = 5
HIDDEN = 50


def scores(name: str, split: int) -> tuple[float, float]:
    """Return 100 times accuracy, or R^2, of the circuit and of the perceptron."""
    features, wanted = getattr(datasets, f"load_{name}")(return_X_y=True)
    numbers = name == "diabetes"
    train, test, train_wanted, test_wanted = train_test_split(
        features,
        wanted,
        test_size=0.2,
        random_state=split,
        stratify=None if numbers else wanted,
    )
    ours = (EqPropRegressor if numbers else EqPropClassifier)(HIDDEN, random_state=split)
    kind = MLPRegressor if numbers else MLPClassifier
    perceptron = kind(hidden_layer_sizes=(HIDDEN,), random_state=split)
    theirs = make_pipeline(StandardScaler(), perceptron)
    found = []
    for model in (ours, theirs):
        model.fit(train, train_wanted)
        found.append(100.0 * model.score(test, test_wanted))
    return found[0], found[1]


def main(names: list[str]) -> None:
    """Print a row per data set."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name in names:
        started = time.process_time()
        table = np.array([scores(name, split) for split in range(SPLITS)])
        means, spreads = table.mean(0), table.std(0, ddof=1)
        print(
            f"{name:14s} circuit {means[0]:6.2f} +- {spreads[0]:.2f}, perceptron {means[1]:6.2f} "
            f"+- {spreads[1]:.2f}, {time.process_time() - started:.0f} s of CPU",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:] or ["wine", "breast_cancer", "digits", "diabetes"])
