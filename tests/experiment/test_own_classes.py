"""Classes of a user's own modules: found, refused with their own error, plugged in."""

import sys
from importlib import metadata

import pytest
from pydantic import ValidationError

from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.kinds import (
    build,
    check_trusted,
    component_names,
    plugged_in,
    resolve,
)

GOOD = """
import dataclasses
from eqprop_spice.layers.dense import Dense

@dataclasses.dataclass(frozen=True)
class Twice(Dense):
    pass
"""


WITH_DIODE = """
import dataclasses
from eqprop_spice.devices.diode import Shockley
from eqprop_spice.layers.base import AbstractLayer

@dataclasses.dataclass(frozen=True)
class Clamp(AbstractLayer):
    diode: Shockley
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module into the working folder, which is on no path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    before = set(sys.modules)

    def put(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)

    yield put
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_of_the_working_folder_is_found(write, tmp_path):
    write("own_layers_a", GOOD)
    assert resolve("layers", "own_layers_a:Twice").__name__ == "Twice"
    assert str(tmp_path) not in sys.path


def test_one_with_a_junction_takes_the_name_of_a_preset(write):
    write("own_layers_d", WITH_DIODE)
    layer = build("layers", {"kind": "own_layers_d:Clamp", "diode": "kiraz"})
    assert layer.diode == PRESETS["kiraz"]
    with pytest.raises(ValidationError, match="there is no diode 'kirax'"):
        build("layers", {"kind": "own_layers_d:Clamp", "diode": "kirax"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import dataclasses\n1 / 0\n", r"ZeroDivisionError: division by zero .*b\.py, line 2"),
        ("x = (\n", r"SyntaxError: .*b\.py, line 1"),
        ("\n\nimport no_such_thing_at_all\n", r"No module named .*b\.py, line 3"),
    ],
)
def test_one_that_fails_tells_its_own_error_with_file_and_line(write, text, words):
    write("own_layers_b", text)
    with pytest.raises(ConfigError, match=words):
        resolve("layers", "own_layers_b:Twice")


def test_one_that_is_not_there_says_where_it_has_to_be():
    with pytest.raises(ConfigError, match="or in the working folder"):
        resolve("layers", "no_such_package.layers:Twice")


def test_packages_plug_in_by_entry_points_and_are_not_trusted(write, monkeypatch):
    write("own_layers_c", GOOD)
    point = metadata.EntryPoint("theirs.Twice", "own_layers_c:Twice", "eqprop_spice.layers")
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: [point] if group == point.group else []
    )
    plugged_in.cache_clear()
    try:
        assert "theirs.Twice" in component_names("layers")
        assert "own_layers_c" not in sys.modules
        with pytest.raises(ConfigError, match="EQPROP_TRUST=own_layers_c"):
            check_trusted({"circuit": {"layers": [{"kind": "theirs.Twice"}]}}, "experiment.toml")
        assert resolve("layers", "theirs.Twice").__name__ == "Twice"
        with pytest.raises(ConfigError, match=r"Did you mean 'theirs\.Twice'"):
            resolve("layers", "theirs.Twic")
    finally:
        plugged_in.cache_clear()
