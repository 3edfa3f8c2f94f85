"""Transistors of every kind at any temperature, by the benchmark that has more of them."""

import pytest

from benchmarks.transistor_devices import KINDS, compare


@pytest.mark.ngspice
@pytest.mark.parametrize("kind", KINDS)
def test_random_transistors_have_the_currents_of_ngspice(kind):
    found = compare(kind, 60, seed=1)
    assert found.unequal == 0 and found.conducting > 0.05
