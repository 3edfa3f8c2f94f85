"""What is wrong in a TOML text, and on which line it stands."""

import math
import re
from typing import Any

from pydantic import BaseModel, ValidationError

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.kinds import complaint

ROOT_TABLE = "the top level"

HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?")
KEY = re.compile(r"\s*([A-Za-z0-9_.\"'-]+)\s*=")


def line_of(text: str, location: tuple[str | int, ...]) -> int | None:
    """Return the line of the deepest part of a location that the text holds, counted from 1.

    Tables, arrays of tables and dotted keys are followed; what stands inside an inline value is
    located at its key.

    Args:
        text: The TOML text.
        location: Keys and positions of lists, from the outside in.
    """
    best, best_depth = None, 0
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := HEADER.fullmatch(line):
            path: tuple[str | int, ...] = tuple(p.strip(" \"'") for p in header[2].split("."))
            if header[1] == "[[":
                counts[path] = counts.get(path, -1) + 1
                path = (*path, counts[path])
            table = here = path
        elif key := KEY.match(line):
            here = (*table, *(p.strip("\"'") for p in key[1].split(".")))
        else:
            continue
        if len(here) > best_depth and location[: len(here)] == here:
            best, best_depth = number, len(here)
    return best


def place(source: str, text: str, location: tuple[str | int, ...]) -> str:
    """Return where in the file a key stands: file, line and key."""
    line = line_of(text, location)
    dotted = ".".join(str(part) for part in location) or ROOT_TABLE
    return f"{source}, line {line}, {dotted}" if line else f"{source}, {dotted}"


def config_error(
    error: ValidationError,
    source: str,
    text: str,
    prefix: tuple[str | int, ...],
    model: type[BaseModel],
) -> ConfigError:
    """Return the first complaint of pydantic as one sentence with its place."""
    location, sentence = complaint(error, model)
    return ConfigError(f"{place(source, text, (*prefix, *location))}: {sentence}")


def check_finite(value: Any, source: str, text: str, location: tuple[str | int, ...]) -> None:
    """Refuse the nan and inf that TOML allows: no voltage, conductance or rate is one."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        here = (*location, key)
        if isinstance(item, dict | list):
            check_finite(item, source, text, here)
        elif isinstance(item, float) and not math.isfinite(item):
            raise ConfigError(f"{place(source, text, here)}: expected a finite number, got {item}.")
