"""The experiments that come with the package, and copies of them to change."""

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from eqprop_spice.errors import ConfigError

NAME = re.compile(r"[a-z][a-z0-9_]*")

PACKAGE = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Shipped:
    """An experiment of the package.

    Attributes:
        name: Its path among the experiments, without the ending: "xor", "kiraz/map".
        description: A sentence about it.
        result: What to expect of it, as its file says.
        runtime: How long it takes, as its file says.
        command: What runs it: train, sweep or compare.
    """

    name: str
    description: str
    result: str
    runtime: str
    command: str


def folder() -> Path:
    """Return the folder of the experiments: in the package, or beside it in a checkout."""
    inside = PACKAGE / "experiments"
    return inside if inside.is_dir() else PACKAGE.parent / "experiments"


def shipped() -> Iterator[Shipped]:
    """Yield the experiments of the package in the order of their names."""
    for path in sorted(folder().rglob("*.toml"), key=lambda p: (len(p.parts), p)):
        content = tomllib.loads(path.read_text())
        expected = content.get("expected", {})
        yield Shipped(
            path.relative_to(folder()).with_suffix("").as_posix(),
            content.get("description", ""),
            str(expected.get("result", "")),
            str(expected.get("runtime", "")),
            next((c for c in ("sweep", "compare") if c in content), "train"),
        )


def path_of(name: str) -> Path | None:
    """Return the file of an experiment of the package; None if there is none of that name."""
    if not all(NAME.fullmatch(part) for part in name.split("/")):
        return None
    path = folder() / f"{name}.toml"
    return path if path.is_file() else None


def copied(name: str, source: str) -> str:
    """Return the text of an experiment of the package under a new name.

    Args:
        name: The new name.
        source: The name of an experiment of the package.

    Raises:
        ConfigError: If the new name is none, or there is no such experiment.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"'{name}' is no name of an experiment: lower-case letters, digits and underscores, "
            "with a letter first."
        )
    path = path_of(source)
    if path is None:
        names = [one.name for one in shipped()]
        near = difflib.get_close_matches(source, names, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else "`eqprop-spice list` names them."
        raise ConfigError(f"No experiment '{source}' comes with the package. {hint}")
    head = (
        f"# A copy of the experiment '{source}'. Change any line; then: eqprop-spice train "
        f"{name}.toml\n# Voltages are in V, conductances in S; every key is explained in docs/.\n"
    )
    text = re.sub(r'^name = ".*"$', f'name = "{name}"', path.read_text(), count=1, flags=re.M)
    # What was measured is of the original.
    return head + re.sub(r"^\[expected\]\n(?:.+\n)*", "", text, flags=re.M).rstrip() + "\n"
