"""The text of an experiment, and what stands in it: bounded before anything is built from it."""

import math
import tomllib
from pathlib import Path
from typing import Any

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.lines import Origin
from eqprop_spice.files import read_bounded

MOST_BYTES = 1_000_000
"""Size of an experiment's file; the longest lists of a sweep have some kilobytes."""

DEEPEST = 20
"""Tables and lists inside each other; shipped experiments have 7."""

LARGEST = 1e15
"""No voltage, current, conductance, rate or time of a circuit is larger; with numbers beyond it,
sums in double precision lose every smaller one, and solvers count on those."""

LARGEST_WHOLE = 2**63 - 1
"""TOML's own bound, which Python does not check."""


def read_text(path: Path) -> str:
    """Return the text of an experiment's file.

    Raises:
        ConfigError: If it cannot be read, is no file or too large for an experiment.
        FileNotFoundError: If there is none.
    """
    try:
        return read_bounded(path, limit=MOST_BYTES).decode()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} cannot be read: {error}.") from error


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Return what a TOML text holds.

    Raises:
        ConfigError: If it is no TOML, or nested so deep or with numbers so long that the parser
            gives up.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}.") from error
    except RecursionError:
        raise ConfigError(
            f"{source} nests more than {DEEPEST} lists or tables; no key takes that."
        ) from None
    except ValueError as error:
        # A number of thousands of digits, or a date such as 0000-00-00.
        raise ConfigError(f"{source} holds a value that cannot be read: {error}.") from error


def check_values(value: Any, origin: Origin, location: tuple[str | int, ...] = ()) -> None:
    """Refuse numbers that no quantity has, and nesting that no key takes.

    Args:
        value: A table or list of the parsed file.
        origin: Where the file's keys come from, for messages.
        location: Where the value stands.

    Raises:
        ConfigError: If so, with the key.
    """
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        here = (*location, key)
        expected = None
        if isinstance(item, dict | list | tuple):
            if len(here) < DEEPEST:
                check_values(item, origin, here)
            else:
                here, expected = here[:2], f"at most {DEEPEST} tables or lists inside each other"
        elif isinstance(item, float) and not math.isfinite(item):
            expected = f"a finite number, got {item}"
        elif isinstance(item, float) and abs(item) > LARGEST:
            expected = f"a number between {-LARGEST:g} and {LARGEST:g}, got {item}"
        elif isinstance(item, int) and abs(item) > LARGEST_WHOLE:
            expected = f"a whole number of at most 64 bits, got one of {item.bit_length() + 1}"
        if expected is not None:
            raise ConfigError(f"{origin.place(here)}: expected {expected}.")
