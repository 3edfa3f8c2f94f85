"""On which line of a TOML text a key stands, for error messages."""

import re

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
