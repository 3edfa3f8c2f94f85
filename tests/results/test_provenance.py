import subprocess
from pathlib import Path

import pytest

from eqprop_spice.results.provenance import UNKNOWN, commit_of, provenance

ROOT = Path(__file__).parents[2]

OURS = '[project]\nname = "eqprop_spice"\n'


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A repository with one commit of this project."""
    for name, value in {"NAME": "A", "EMAIL": "a@example.org"}.items():
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    path = tmp_path / "checkout"
    path.mkdir()
    (path / "pyproject.toml").write_text(OURS)
    git(path, "init", "--quiet")
    git(path, "add", ".")
    git(path, "commit", "--quiet", "--no-gpg-sign", "--message", "first")
    return path


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_the_commit_of_a_checkout_and_its_changes(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    assert commit_of(checkout) == head
    (checkout / "pyproject.toml").write_text(OURS + "# changed\n")
    assert commit_of(checkout) == f"{head}+changes"


def test_the_repository_around_an_installation_is_not_ours(checkout):
    packages = checkout / "venv" / "site-packages"
    packages.mkdir(parents=True)
    assert commit_of(packages) == UNKNOWN
    # Nor is one that holds a copy of the package.
    (checkout / "pyproject.toml").write_text('[project]\nname = "thesis"\n')
    assert commit_of(checkout) == UNKNOWN


def test_the_variables_of_a_hook_do_not_count(checkout, monkeypatch):
    head = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))
    assert commit_of(checkout) == head


def test_without_git_the_commit_is_unknown(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit_of(checkout) == UNKNOWN
    assert provenance()["commit"] == UNKNOWN


def test_what_is_not_installed_is_unknown(monkeypatch):
    monkeypatch.setattr("eqprop_spice.results.provenance.PACKAGES", ("no_such_package",))
    assert provenance()["no_such_package"] == UNKNOWN
