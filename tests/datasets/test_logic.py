"""Logic gates: their truth tables."""

import numpy as np

from eqprop_spice.datasets.logic import Gates, SingleSample, Xor


def test_gates_are_or_and_xor():
    data = Gates(amplitude=2.0, target=0.5).load()
    true = data.train_inputs > 0
    expected = np.stack([true.any(1), true.all(1), true[:, 0] != true[:, 1]], axis=1)
    np.testing.assert_array_equal(data.train_targets, np.where(expected, 0.5, -0.5))
    assert sorted(map(tuple, data.train_inputs)) == [(-2, -2), (-2, 2), (2, -2), (2, 2)]
    assert (data.num_inputs, data.num_outputs) == (2, 3)


def test_xor_is_the_third_gate():
    xor, gates = Xor(1.5, 0.7).load(), Gates(1.5, 0.7).load()
    np.testing.assert_array_equal(xor.train_targets, gates.train_targets[:, 2:])
    np.testing.assert_array_equal(xor.train_inputs, gates.train_inputs)
    assert len(xor.test_inputs) == len(xor.test_targets) == 0


def test_binary_outputs_are_right_by_their_sign():
    data = Gates().load()
    outputs = 0.01 * np.sign(data.train_targets)
    assert data.correct(outputs, data.train_targets).all()
    outputs[2, 1] *= -1
    outputs[0, 0] = np.nan
    outputs[1, 0] = 0.0
    correct = data.correct(outputs, data.train_targets)
    np.testing.assert_array_equal(correct, [False, False, False, True])


def test_single_sample_is_a_regression():
    data = SingleSample((-2.0, 2.0), (1.0,)).load()
    np.testing.assert_array_equal(data.train_inputs, [[-2.0, 2.0]])
    np.testing.assert_array_equal(data.train_targets, [[1.0]])
    assert data.task == "regression"


def test_false_may_have_a_voltage_of_its_own():
    data = Xor(2.0, 1.0, target_false=0.0).load()
    np.testing.assert_array_equal(data.train_targets[:, 0], [0.0, 1.0, 1.0, 0.0])
