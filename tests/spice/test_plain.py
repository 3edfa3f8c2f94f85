"""Plain ngspice in its cage: what it computes, and what it cannot do."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eqprop_spice.errors import ConvergenceError, NetlistError
from eqprop_spice.spice import plain
from eqprop_spice.spice.plain import plain_operating_point, without_commands

pytestmark = pytest.mark.ngspice

DIVIDER = "title\nV1 In 0 3\nR1 In 2 1k\nR2 2 0 2k\n"


def test_voltages_by_their_names():
    found = plain_operating_point(DIVIDER + ".end\n")
    assert (found["in"], found["2"]) == (3.0, pytest.approx(2.0, rel=1e-14))


def test_a_lone_node_is_found():
    assert plain_operating_point("title\nI1 0 x 1\nR1 x 0 2\n.end\n")["x"] == 2.0


def test_its_own_tolerances_count_no_more():
    text = "title\nV1 1 0 5\nR1 1 2 1k\nD1 2 0 m\n.model m d\n.options reltol=0.1\n.end\n"
    exact = plain_operating_point(text.replace(".options reltol=0.1\n", ""))["2"]
    assert plain_operating_point(text)["2"] == pytest.approx(exact, abs=1e-12)


def test_what_it_refuses_is_an_error():
    with pytest.raises(ConvergenceError, match=r"no operating point: .*line 2"):
        plain_operating_point("title\nD1 1 0 nomodel\nV1 1 0 1\n.end\n")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may write into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.parametrize("command", ["shell touch {}", "echo `touch {}`"])
def test_even_commands_start_no_process(open_folder, command):
    # The reader refuses them; the cage is what is left if it ever failed.
    marker = open_folder / "marker"
    text = f"{DIVIDER}.control\n{command.format(marker)}\n.endc\n.end\n"
    with contextlib.suppress(NetlistError, ConvergenceError):
        plain_operating_point(text)
    assert not marker.exists()


def test_even_commands_write_no_file(open_folder):
    marker = open_folder / "marker"
    with pytest.raises(NetlistError, match="SIGXFSZ"):
        plain_operating_point(f"{DIVIDER}.control\nop\nwrite {marker}\n.endc\n.end\n")
    assert not marker.exists() or not marker.read_bytes()


def test_no_initialization_of_a_home_is_read(tmp_path, monkeypatch):
    (tmp_path / ".spiceinit").write_text("let injected=7\nset ngbehavior=ltpsa\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "injected" not in plain_operating_point(DIVIDER + ".end\n")


def test_it_is_stopped(monkeypatch):
    monkeypatch.setattr(plain, "SECONDS", 0.5)
    monkeypatch.setattr(plain, "COMMANDS", "while 1\nend\n")
    with pytest.raises(NetlistError, match="did not end"):
        plain_operating_point(DIVIDER + ".end\n")


def test_what_asks_for_other_things_is_left_out():
    text = f"{DIVIDER}.tran 1n 1u\n.save v(a)\n+ v(b)\n.control\nshell x\n.endc\n.temp 30\n.end\n"
    kept = without_commands(text)
    assert re.findall(r"^\.\w+", kept, re.MULTILINE) == [".temp", ".end"]
    assert "+" not in kept and "shell" not in kept
