"""The public names of the package: all there, loaded when they are used."""

import subprocess
import sys

import pytest

import eqprop_spice as eq

LOADED = """
import sys
import eqprop_spice as eq
before = {name for name in sys.modules if name.startswith("eqprop_spice")}
assert before == {"eqprop_spice"}, before
assert "Experiment" in dir(eq)
assert eq.Experiment.__module__ == "eqprop_spice.experiment.experiment"
assert eq.Experiment is eq.Experiment
"""


@pytest.mark.parametrize("name", eq.__all__)
def test_every_public_name_is_there(name):
    value = getattr(eq, name)
    assert value is getattr(eq, name)
    assert name == "__version__" or value.__doc__


def test_nothing_else_is_loaded_before_it_is_used():
    subprocess.run([sys.executable, "-c", LOADED], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = eq.Nothing
