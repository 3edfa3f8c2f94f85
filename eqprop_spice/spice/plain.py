"""Plain ngspice on a stranger's own text, in a child process that can do little harm.

Only what the reader has accepted gets here: it holds no commands. Beyond that, the child runs in an
empty folder with an empty .spiceinit, with nothing of our environment, and may neither write files
nor start processes nor compute for long.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from eqprop_spice.errors import ConvergenceError, NetlistError
from eqprop_spice.spice.settings import ANALYSES
from eqprop_spice.spice.writer import ACCURATE_TOLERANCES

SECONDS = 120
"""By the clock; the CPU's time is limited by the cage."""

CAGE = Path(__file__).with_name("cage.py")

NETLIST = "circuit.cir"

COMMANDS = f"""set numdgt=16
source {NETLIST}
option {ACCURATE_TOLERANCES}
op
let another_vector=1
print all
quit
"""
"""What ngspice is told; the netlist itself holds no commands. A lone vector would be printed under
the name `all`."""


def without_commands(text: str) -> str:
    """Return a netlist without .control sections, analyses, and what should be saved of them."""
    kept: list[str] = []
    inside = continued = False
    for line in text.splitlines():
        words = line.lower().split(None, 1)
        word = words[0] if words else ""
        inside = inside or word == ".control"
        continued = word in ANALYSES - {".title"} or (continued and word.startswith("+"))
        if not inside and not continued:
            kept.append(line)
        inside = inside and word != ".endc"
    return "\n".join(kept) + "\n"


def plain_operating_point(text: str) -> dict[str, float]:
    """Return the node voltages [V] that plain ngspice finds, by its own names of the nodes.

    Args:
        text: A netlist that the reader has accepted.

    Raises:
        NetlistError: If there is no ngspice, or it was stopped.
        ConvergenceError: If it found no operating point.
    """
    program = shutil.which("ngspice")
    if program is None:
        raise NetlistError("The program ngspice was not found. Install it: `apt install ngspice`.")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / ".spiceinit").write_text("")
        (Path(folder) / NETLIST).write_text(text, encoding="utf-8")
        try:
            # In pipe mode; `-n` reads no .spiceinit, and the empty one hides that of a home.
            done = subprocess.run(
                [sys.executable, "-I", str(CAGE), program, "-n", "-p"],
                input=COMMANDS,
                capture_output=True,
                text=True,
                errors="replace",
                cwd=folder,
                env={"PATH": os.defpath, "HOME": folder, "LANG": "C.UTF-8"},
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise NetlistError(f"Plain ngspice did not end in {SECONDS} s.") from error
    if done.returncode < 0:
        reason = signal.Signals(-done.returncode).name
        raise NetlistError(f"Plain ngspice was stopped by {reason}: it asked for more than it may.")
    return _printed(done.stdout, done.stderr)


def _printed(output: str, errors: str) -> dict[str, float]:
    """Return the voltages among what ngspice printed."""
    found: dict[str, float] = {}
    solved = "No. of Data Rows" in output and "aborted" not in output + errors
    for line in output.splitlines():
        name, equals, value = line.partition(" = ")
        if equals and "#" not in name and " " not in name:
            try:
                # Nodes with a number for a name are printed as V(1).
                name = re.sub(r"^v\((.*)\)$", r"\1", name.strip().lower())
                found[name] = float(value)
            except ValueError:
                continue
    if not solved:
        said = [line for line in errors.splitlines() if "rror" in line and "X-server" not in line]
        said = [line for line in said if "graphics" not in line]
        raise ConvergenceError(
            "Plain ngspice found no operating point" + (f": {said[0].strip()}." if said else ".")
        )
    return found
