"""Values put into a parsed TOML file by dotted key."""

import tomllib
from typing import Any

from eqprop_spice.errors import ConfigError


def override(content: dict[str, Any], assignment: str) -> None:
    """Apply one assignment `dotted.key=value` to the parsed file."""
    key, equals, text = assignment.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(f"--set takes key=value, such as training.epochs=10; got '{assignment}'.")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    value = parsed["value"] if len(parsed) == 1 else text.strip()
    assign(content, parts, value, f"--set {assignment}")


def assign(content: dict[str, Any], parts: list[str], value: Any, what: str) -> None:
    """Set a key of the parsed file; its tables are made where they are missing."""
    target: Any = content
    for part in parts[:-1]:
        if isinstance(target, list):
            target = _list_item(target, part, what)
        elif isinstance(target, dict):
            target = target.setdefault(part, {})
    if isinstance(target, list):
        _list_item(target, parts[-1], what)
        target[int(parts[-1])] = value
    elif isinstance(target, dict):
        target[parts[-1]] = value
    else:
        raise ConfigError(f"{what}: '{'.'.join(parts[:-1])}' is a value, not a table.")


def _list_item(items: list, part: str, what: str) -> Any:
    if not part.isdigit() or int(part) >= len(items):
        raise ConfigError(
            f"{what}: '{part}' is no position of a list of {len(items)}; count from 0."
        )
    return items[int(part)]
