"""Values put into a parsed TOML file by dotted key."""

from typing import Any

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.source import parse_toml


def override(content: dict[str, Any], assignment: str) -> str:
    """Apply one assignment `dotted.key=value` to the parsed file, and return the key."""
    key, equals, text = assignment.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(f"--set takes key=value, such as training.epochs=10; got '{assignment}'.")
    assign(content, parts, _value(text), f"--set {assignment}")
    return ".".join(parts)


def _value(text: str) -> Any:
    """Return what a text says as TOML; what is none is a text without its quotes."""
    try:
        parsed = parse_toml(f"value = {text}", "--set")
    except ConfigError:
        return text.strip()
    return parsed["value"] if len(parsed) == 1 else text.strip()


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
