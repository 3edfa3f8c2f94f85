"""How the netlist reader takes mutants of real netlists: read or refused, quickly, and no more.

python -m benchmarks.reader_fuzz [FOLDER] [COUNT]

FOLDER holds netlists (*.cir, *.sp, *.net); the repository's own are taken without it.
"""

import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.reader import read_text

ROOT = Path(__file__).parent.parent
OWN = (ROOT / "tests" / "spice" / "netlists", ROOT / "netlists")

FRAGMENTS = (
    *("\n.control\nshell touch marker\n.endc\n", "*#shell touch marker\n", ".include x\n"),
    *(".subckt a b c\n", ".ends\n", "\n+", "{", "}", "(", ")", "'", "=", ",", "*", "^", "?", ":"),
    *(
        "v(1",
        ".param a={a}\n",
        ".model m d(",
        "x1 1 2 a\n",
        "1e999",
        "-",
        "\t",
        "\r",
        "\0",
        "\u00b5",
    ),
    *(
        ".func f(x) {f(x)}\n",
        "{f(1)}",
        "1e",
        "0x10",
        "poly(2)",
        "99999999",
        "\u2028",
        "$",
        ";",
        "//",
    ),
)

EVENTS = ("open", "os.", "subprocess.", "exec", "compile", "import", "socket.", "shutil.")
"""Audit events of what a reader of text has no business with."""

SLOW = 1.0
"""Seconds of CPU that a mutant may take."""


def texts(folders: tuple[Path, ...]) -> list[str]:
    """Return the netlists in these folders, undecodable bytes replaced."""
    paths = sorted(p for folder in folders for p in folder.rglob("*") if p.is_file())
    suffixes = (".cir", ".sp", ".net")
    return [p.read_bytes().decode("utf-8", "replace") for p in paths if p.suffix in suffixes]


def mutant(draw: random.Random, originals: list[str]) -> str:
    """Return a netlist with a few random changes, or pieces of two."""
    text = draw.choice(originals)
    for _ in range(draw.randint(1, 3)):
        i, j = sorted(draw.randrange(len(text) + 1) for _ in range(2))
        j = min(j, i + draw.choice((1, 3, 20, 200)))
        kind = draw.randrange(6)
        if kind == 0:
            text = text[:i] + text[j:]
        elif kind == 1:
            text = text[:i] + draw.choice(FRAGMENTS) + text[i:]
        elif kind == 2:
            text = text[:i] + text[i:j] * draw.randint(2, 40) + text[j:]
        elif kind == 3:
            text = (
                text[:i]
                + chr(draw.choice((draw.randrange(128), draw.randrange(0x3000))))
                + text[j:]
            )
        elif kind == 4:
            other = draw.choice(originals)
            k = draw.randrange(len(other) + 1)
            text = text[:i] + other[k : k + 300] + text[i:]
        else:
            lines = text.split("\n")
            a, b = draw.randrange(len(lines)), draw.randrange(len(lines))
            lines[a], lines[b] = lines[b], lines[a]
            text = "\n".join(lines)
    return text


def mutants(originals: list[str], count: int, seed: int) -> Iterator[str]:
    """Yield so many mutants."""
    draw = random.Random(seed)
    for _ in range(count):
        yield mutant(draw, originals)


def main(folder: str = "", count: str = "50000") -> None:
    events: Counter[str] = Counter()
    watching = False

    def watch(event: str, arguments: tuple) -> None:
        if watching and event.startswith(EVENTS):
            events[event] += 1

    originals = texts((Path(folder),) if folder else OWN)
    sys.addaudithook(watch)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for text in mutants(originals, int(count), seed=0):
        watching, started = True, time.process_time()
        try:
            read_text(text, skip_commands=len(text) % 2 == 0)
            outcome = "read"
        except NetlistError:
            outcome = "refused"
        watching, taken = False, time.process_time() - started
        outcomes[outcome] += 1
        slowest = max(slowest, taken)
    print(f"{len(originals)} netlists, {sum(outcomes.values())} mutants: {dict(outcomes)}")
    print(f"slowest {slowest:.3f} s of CPU, limit {SLOW} s; other events: {dict(events)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
