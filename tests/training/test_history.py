import numpy as np

from eqprop_spice.training.history import MAX_CURVES, History, recorded_conductances

SHAPES = {"dense_0": (2, 3), "dense_3": (3, 1)}


def params(value: float) -> dict[str, np.ndarray]:
    return {name: np.full(shape, value) for name, shape in SHAPES.items()}


def test_all_conductances_of_a_small_circuit_are_recorded():
    labels, chosen = recorded_conductances(SHAPES)
    assert len(labels) == 9
    assert labels[0] == "dense_0[0,0]"
    assert labels[-1] == "dense_3[2,0]"
    assert chosen["dense_3"].tolist() == [0, 1, 2]
    labels, _ = recorded_conductances({"dense_0": (10, 5), "dense_3": (5, 2)})
    assert len(labels) == 60


def test_an_even_choice_of_a_large_circuit_is_recorded():
    labels, chosen = recorded_conductances({"dense_0": (785, 100), "dense_3": (100, 20)})
    assert len(labels) == MAX_CURVES
    for name, size in (("dense_0", 78500), ("dense_3", 2000)):
        assert chosen[name][0] == 0
        assert chosen[name][-1] == size - 1
        assert np.ptp(np.diff(chosen[name])) <= 1


def test_columns_that_come_late_or_not_always_are_filled_with_nan():
    history = History(SHAPES)
    history.append({"loss": 1.0}, params(1e-3))
    history.append({"loss": 0.5, "test_loss": 0.7}, params(2e-3))
    history.append({"loss": 0.2}, params(3e-3))
    assert len(history) == 3
    np.testing.assert_array_equal(history.columns["test_loss"], [np.nan, 0.7, np.nan])
    dataset = history.to_xarray({"note": "text"})
    assert dataset["conductance"].shape == (3, 9)
    assert dataset["conductance"].values[2, 0] == 3e-3
    assert dataset.attrs == {"note": "text"}


def test_arrays_restore_the_same_history():
    history = History(SHAPES)
    history.append({"loss": 1.0, "test_loss": 2.0}, params(1e-3))
    history.append({"loss": 0.5}, params(2e-3))
    again = History(SHAPES)
    again.restore(history.arrays())
    assert again.to_xarray({}).identical(history.to_xarray({}))


def test_an_empty_history_is_one():
    again = History(SHAPES)
    again.restore(History(SHAPES).arrays())
    assert len(again) == 0
    assert again.to_xarray({})["conductance"].shape == (0, 9)


def test_truncation_forgets_an_epoch_that_was_half_added():
    history = History(SHAPES)
    history.append({"loss": 1.0}, params(1e-3))
    whole = history.to_xarray({})
    # What an interrupt in the middle of `append` leaves.
    history.columns["loss"].append(0.5)
    history.truncate(1)
    assert history.to_xarray({}).identical(whole)
    history.append({"loss": 0.4}, params(2e-3))
    assert history.columns["loss"] == [1.0, 0.4]
