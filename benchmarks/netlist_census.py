"""How many netlists in a folder are read and solved, and why the others are not.

python -m benchmarks.netlist_census FOLDER

FOLDER is searched for *.cir, *.sp and *.net. Their .control sections are left out, and files in
their own folder are included.
"""

import re
import sys
import time
from collections import Counter
from pathlib import Path

from eqprop_spice.results.imported import Imported, examine

SUFFIXES = (".cir", ".sp", ".net")

REASONS_SHOWN = 25


def reason(finding: str) -> str:
    """Return a finding without place, card and names, so that like ones are counted together."""
    text = re.sub(r"^(native|regenerated|original): ", r"\1 ", finding)
    text = re.sub(r"^\S+:\d+: '.*?': ", "", re.sub(r"(native )\S+:\d+: '.*?': ", r"\1", text))
    return re.sub(r"'[^']*'", "'...'", text)[:90]


def outcome(found: Imported) -> str:
    """Return what a netlist counts as."""
    if found.deck is None:
        return "refused"
    return found.verdict if found.deck.nodes else "without elements"


def main(folder: str) -> None:
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix in SUFFIXES and p.is_file())
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    started = time.process_time()
    for path in paths:
        found = examine(path, include=True, skip_commands=True)
        outcomes[outcome(found)] += 1
        if outcome(found) != "without elements":
            reasons.update(f"{outcome(found)}: {reason(text)}" for text in found.findings)
    taken = time.process_time() - started
    print(f"{len(paths)} netlists in {taken:.0f} s of CPU: {dict(outcomes)}")
    for text, count in reasons.most_common(REASONS_SHOWN):
        print(f"{count:5d}  {text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
