"""What is wrong in a TOML text, and on which line it stands."""

import dataclasses
import re
from collections.abc import Mapping

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


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where the keys of an experiment come from.

    Attributes:
        source: Name of the file.
        text: Its text.
        assigned: By dotted key, who put a value there instead of the file.
    """

    source: str
    text: str
    assigned: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def place(self, location: tuple[str | int, ...]) -> str:
        """Return where a key stands: file, line and key; for an assigned one, by whom.

        Args:
            location: Keys and positions of lists, from the outside in.
        """
        parts = [str(part) for part in location]
        dotted = ".".join(parts) or ROOT_TABLE
        for depth in range(1, len(parts) + 1):
            by = self.assigned.get(".".join(parts[:depth]))
            if by is not None:
                return f"{by}, {dotted}"
        line = line_of(self.text, location)
        return f"{self.source}, line {line}, {dotted}" if line else f"{self.source}, {dotted}"

    def complaint(
        self, error: ValidationError, prefix: tuple[str | int, ...], model: type[BaseModel]
    ) -> ConfigError:
        """Return the first complaint of pydantic as one sentence with its place."""
        location, sentence = complaint(error, model)
        return ConfigError(f"{self.place((*prefix, *location))}: {sentence}")
