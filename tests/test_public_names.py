"""The public names of the package: all there, loaded when they are used."""

import ast
import os
import subprocess
import sys
from pathlib import Path

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

HELP = """
import sys
import eqprop_spice.cli
loaded = {"jax", "numpy", "scipy", "matplotlib", "PySpice"} & sys.modules.keys()
assert not loaded, loaded
"""

PRECISION = """
import warnings
import jax
import eqprop_spice as eq
eq.ConfigError
assert not jax.config.jax_enable_x64
with warnings.catch_warnings(record=True) as messages:
    warnings.simplefilter("always")
    eq.Native
assert jax.config.jax_enable_x64
assert ["jax_enable_x64" in str(message.message) for message in messages] == [True], messages
"""

TOLD_BEFORE = """
import jax
jax.config.update("jax_enable_x64", True)
import eqprop_spice as eq
eq.Native
"""


def run(program: str) -> None:
    """Run a program in a process of its own, warnings as errors."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_X64"}
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, env=environment)


def imports_of(module: Path) -> set[str]:
    """Return what a module imports when it is loaded, names of `from` with their module."""
    found: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("name", eq.__all__)
def test_every_public_name_is_there(name):
    value = getattr(eq, name)
    assert value is getattr(eq, name)
    assert name == "__version__" or value.__doc__


def test_nothing_else_is_loaded_before_it_is_used():
    run(LOADED)


def test_the_command_line_starts_without_what_calculates():
    run(HELP)


def test_the_precision_of_jax_is_changed_at_first_use_and_not_silently():
    run(PRECISION)


def test_nothing_is_said_where_the_precision_was_chosen_before():
    run(TOLD_BEFORE)


def test_every_module_that_uses_jax_gets_its_64_bit_mode():
    root = Path(eq.__file__).parent
    imports = {
        ".".join(path.relative_to(root.parent).with_suffix("").parts): imports_of(path)
        for path in root.rglob("*.py")
    }

    def loaded_by(name: str, seen: set[str]) -> set[str]:
        for other in imports[name] & imports.keys() - seen:
            seen.add(other)
            loaded_by(other, seen)
        return seen

    users = [
        name
        for name, found in imports.items()
        if {"jax", "equinox", "optax"} & {other.partition(".")[0] for other in found}
    ]
    without = [n for n in users if "eqprop_spice.arrays" not in loaded_by(n, {n})]
    assert len(users) > 40
    assert without == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = eq.Nothing
