"""Tables: sizes, splits, and standardization on the training samples alone."""

import numpy as np
import pytest

from eqprop_spice.datasets.base import one_hot
from eqprop_spice.datasets.tables import Digits, Iris
from eqprop_spice.errors import ConfigError


def rows(array: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(row) for row in array.tolist()}


@pytest.mark.parametrize(
    ("dataset", "sizes"), [(Iris(), (120, 30, 4, 3)), (Digits(), (1437, 360, 64, 10))]
)
def test_sizes(dataset, sizes):
    data = dataset.load()
    assert (
        len(data.train_inputs),
        len(data.test_inputs),
        data.num_inputs,
        data.num_outputs,
    ) == sizes
    assert data.task == "classes"


def test_training_samples_are_standardized_in_volts():
    data = Iris(scale=0.5).load()
    np.testing.assert_allclose(data.train_inputs.mean(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(data.train_inputs.std(0), 0.5, rtol=1e-12)
    # The test samples are scaled by the same numbers, not by their own.
    assert np.abs(data.test_inputs.mean(0)).max() > 1e-3


def test_a_table_may_be_standardized_as_a_whole():
    """Every feature keeps its loudness: the ratio of two deviations is that of the raw table."""
    data = Digits(scale=0.5, standardize="table").load()
    assert data.train_inputs.mean() == pytest.approx(0.0, abs=1e-12)
    assert data.train_inputs.std() == pytest.approx(0.5)
    # The first pixel is dark in all digits.
    assert np.ptp(data.train_inputs[:, 0]) == 0.0
    assert np.ptp(np.concatenate([data.train_inputs, data.test_inputs])) == pytest.approx(
        np.ptp(data.train_inputs)
    )


def test_split_is_stratified_and_seeded():
    data, again, other = Iris(split=1).load(), Iris(split=1).load(), Iris(split=2).load()
    np.testing.assert_array_equal((data.test_targets > 0).sum(0), [10, 10, 10])
    np.testing.assert_array_equal(data.test_inputs, again.test_inputs)
    assert (data.test_inputs != other.test_inputs).any()


class Unscaled:
    """Leaves the features as they are, so that samples can be told apart."""

    def fit(self, features):
        return self

    def transform(self, features):
        return features


def test_validation_never_sees_the_test_samples(monkeypatch):
    monkeypatch.setattr("sklearn.preprocessing.StandardScaler", Unscaled)
    full, validation = Digits().load(), Digits(validation=True).load()
    seen = rows(validation.train_inputs) | rows(validation.test_inputs)
    assert seen == rows(full.train_inputs)
    assert not seen & rows(full.test_inputs)
    assert not rows(validation.train_inputs) & rows(validation.test_inputs)


def test_targets_are_on_at_the_class():
    data = Iris(target_on=0.4, target_off=-0.1).load()
    assert set(np.unique(data.train_targets)) == {0.4, -0.1}
    np.testing.assert_array_equal((data.train_targets == 0.4).sum(1), 1)
    np.testing.assert_array_equal(
        one_hot(np.array([1, 0]), 3, 1.0, -1.0), [[-1, 1, -1], [1, -1, -1]]
    )


def test_classes_are_right_by_the_largest_output():
    data = Iris().load()
    targets = data.train_targets[:4]
    outputs = 0.01 * targets - 5.0
    outputs[1] = np.roll(outputs[1], 1)
    outputs[2, 0] = np.nan
    np.testing.assert_array_equal(data.correct(outputs, targets), [True, False, False, True])


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, np.nan])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ConfigError, match="test_size"):
        Iris(test_size=share)
