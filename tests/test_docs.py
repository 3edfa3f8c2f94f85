"""Runs the examples of the documentation: blocks fenced as ```console test or ```python test.

One fenced as ```python test continued begins with the block before it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

BLOCK = re.compile(r"^```(console|python) test( continued)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")

TIMEOUT = 120
"""Seconds until an example that hangs is a failure."""


def examples() -> list:
    """Return `(language, text)` of every runnable block, labelled with its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            language, continued, code = match.groups()
            if continued:
                code = f"{found.pop().values[1]}\n{code}"
            line = text[: match.start()].count("\n") + 1
            found.append(pytest.param(language, code, id=f"{page.name}:{line}"))
    return found


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder that looks like the repository to an example, but is not it."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.ngspice
@pytest.mark.slow
@pytest.mark.parametrize(("language", "text"), examples())
def test_examples_run(language, text, place, capsys):
    if language == "python":
        exec(compile(text, "example", "exec"), {"__name__": "example"})
        assert capsys.readouterr().out
        return
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
        env=os.environ | {"PATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_page_is_there():
    names = {page.name for page in PAGES}
    assert names >= {
        "README.md",
        "architecture.md",
        "choosing.md",
        "extending.md",
        "faq.md",
        "index.md",
        "theory.md",
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_options_that_exist(page):
    from typer.main import get_command

    from eqprop_spice.cli import app

    commands = get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    for name, rest in re.findall(r"eqprop-spice (\w+)([^\n`]*)", page.read_text()):
        assert name in commands, f"{page.name}: eqprop-spice {name}"
        known = {option for p in commands[name].params for option in p.opts}
        assert set(re.findall(r"--[a-z]+", rest)) <= known | {"--help"}
