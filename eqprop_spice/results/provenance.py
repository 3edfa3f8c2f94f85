"""What a result depends on besides its experiment; finding it out never stops a run."""

import os
import platform
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import eqprop_spice
from eqprop_spice.errors import NetlistError
from eqprop_spice.training.cores import most_cores

UNKNOWN = "unknown"

PACKAGES = ("jax", "numpy", "optax", "PySpice")

GIT_SECONDS = 10.0
"""How long git may take on a slow disk [s]; it needs some milliseconds."""


def provenance() -> dict[str, str]:
    """Return the versions of what computes, and the commit of this package's checkout."""
    return {
        "eqprop_spice": eqprop_spice.__version__,
        "commit": commit_of(Path(eqprop_spice.__file__).parent.parent),
        "python": platform.python_version(),
        "ngspice": _ngspice_version(),
        "cores": str(most_cores()),
        **{name: _package_version(name) for name in PACKAGES},
    }


def commit_of(folder: Path) -> str:
    """Return the commit of a checkout of this project, and "+changes" where files differ from it.

    Args:
        folder: The folder that holds the package. Installed into an environment below somebody's
            repository, the commit of that one would be found, which says nothing of ours.
    """
    if not ((folder / ".git").exists() and _is_this_project(folder)):
        return UNKNOWN
    # A hook of git runs its commands with the variables of its own repository.
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    words = "describe --always --abbrev=40 --exclude=* --dirty=+changes".split()
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            env=environment,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return done.stdout.strip()


def _is_this_project(folder: Path) -> bool:
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return project["name"] == eqprop_spice.__name__
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _ngspice_version() -> str:
    from eqprop_spice.spice.session import Session

    try:
        return Session.do(lambda session: session.version)
    except NetlistError:
        # The native engine needs none.
        return UNKNOWN


def _package_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return UNKNOWN
