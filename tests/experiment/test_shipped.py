"""The experiments that come along."""

import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.experiment.shipped import copied, folder, path_of, shipped


def test_all_files_are_listed_with_what_runs_them():
    found = {one.name: one for one in shipped()}
    assert len(found) == len(list(folder().rglob("*.toml")))
    assert found["xor"].command == "train" and "every seed" in found["xor"].result
    assert found["kiraz/map"].command == "sweep"
    assert found["comparison/xor"].command == "compare"
    assert all(one.description for one in found.values())


def test_a_copy_is_the_same_experiment_under_another_name():
    copy = Experiment.parse(copied("mine", "xor"))
    original = Experiment.load("xor")
    assert copy.table.name == "mine" and not copy.table.expected
    changes = {"name": "xor", "expected": original.table.expected}
    assert copy.table.model_copy(update=changes) == original.table


@pytest.mark.parametrize("name", ["", "../xor", "/etc/passwd", "Xor", "xor.toml"])
def test_other_names_are_no_shipped_files(name):
    assert path_of(name) is None


def test_wrong_names_are_refused():
    with pytest.raises(ConfigError, match="no name of an experiment"):
        copied("My-Xor", "xor")
    with pytest.raises(ConfigError, match="Did you mean 'digits'"):
        copied("mine", "digit")
