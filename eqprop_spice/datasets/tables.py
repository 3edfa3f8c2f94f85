"""Small classification tables that come with scikit-learn.

It is imported where it is used: it takes a second, and every experiment looks through this folder.
"""

import dataclasses
from typing import Literal

import numpy as np

from eqprop_spice.datasets.base import AbstractDataset, Data, one_hot
from eqprop_spice.errors import ConfigError

LARGEST_SPLIT = 2**32 - 1
"""The largest seed that numpy's old generator takes, which scikit-learn uses."""


@dataclasses.dataclass(frozen=True)
class _Table(AbstractDataset):
    """A table of features, standardized on the training samples, split by class.

    Attributes:
        scale: Voltage of one standard deviation [V].
        standardize: Whether every feature gets mean 0 and deviation 1, or the table as a whole;
            "table" keeps a pixel that is almost always dark from becoming loud.
        target_on: Target of the right class [V].
        target_off: Target of the other classes [V].
        split: Seed of the stratified split.
        test_size: Share of the samples kept for testing.
        validation: Whether to put the test samples aside and test on as large a share of the
            training samples: choose settings with it, report without it.
    """

    scale: float = 1.0
    standardize: Literal["feature", "table"] = "feature"
    target_on: float = 1.0
    target_off: float = -1.0
    split: int = 0
    test_size: float = 0.2
    validation: bool = False

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not 0 < self.test_size < 1:
            raise ConfigError(f"test_size is {self.test_size}; it must lie between 0 and 1.")
        if not 0 <= self.split <= LARGEST_SPLIT:
            raise ConfigError(f"split is {self.split}; it must lie between 0 and {LARGEST_SPLIT}.")

    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def load(self) -> Data:
        """Return the standardized samples of the split."""
        from sklearn.model_selection import train_test_split
        from sklearn.preprocessing import StandardScaler

        features, labels = self._table()

        def split(features: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
            try:
                return train_test_split(  # pyright: ignore[reportReturnType]
                    features,
                    labels,
                    test_size=self.test_size,
                    stratify=labels,
                    random_state=self.split,
                )
            except ValueError as error:
                raise ConfigError(
                    f"test_size is {self.test_size}, which leaves a side without samples of every "
                    f"class: {error} Take one nearer to 0.5."
                ) from error

        train, test, train_labels, test_labels = split(features, labels)
        if self.validation:
            train, test, train_labels, test_labels = split(train, train_labels)
        if self.standardize == "table":
            mean, deviation = train.mean(), train.std()
            train, test = (train - mean) / deviation, (test - mean) / deviation
        else:
            scaler = StandardScaler().fit(train)
            train, test = (np.asarray(scaler.transform(x), float) for x in (train, test))
        num_classes = len(np.unique(labels))
        return Data(
            self.scale * train,
            one_hot(train_labels, num_classes, self.target_on, self.target_off),
            self.scale * test,
            one_hot(test_labels, num_classes, self.target_on, self.target_off),
            "classes",
        )


@dataclasses.dataclass(frozen=True)
class Iris(_Table):
    """Fisher's iris flowers: 150 samples, 4 features, 3 classes."""

    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_iris

        return load_iris(return_X_y=True)  # pyright: ignore[reportReturnType]


@dataclasses.dataclass(frozen=True)
class Digits(_Table):
    """Handwritten digits of 8x8 pixels: 1,797 samples, 64 features, 10 classes."""

    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_digits

        return load_digits(return_X_y=True)  # pyright: ignore[reportReturnType]


@dataclasses.dataclass(frozen=True)
class BreastCancer(_Table):
    """Cell nuclei of breast tissue: 569 samples, 30 features, 2 classes."""

    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_breast_cancer

        return load_breast_cancer(return_X_y=True)  # pyright: ignore[reportReturnType]
