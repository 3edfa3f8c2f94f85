"""Netlists that make ngspice execute commands or disclose files: nothing of it gets through.

Each vector is first shown to work in plain ngspice where it does, so that the test would notice if
it tried nothing. The markers are in lower case, since ngspice lower-cases what it executes.
"""

import subprocess
from pathlib import Path

import pytest

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.portable import portable_netlist
from eqprop_spice.spice.reader import read

BODY = "V1 1 0 1\nR1 1 0 1k\n.op\n"

SHELL = "shell touch marker"

VECTORS = {
    "control": f"title\n{BODY}.control\n{SHELL}\n.endc\n.end\n",
    "upper": f"title\n{BODY}.CONTROL\n{SHELL}\n.ENDC\n.END\n",
    "indented": f"title\n{BODY}  \t.control\n{SHELL}\n.endc\n.end\n",
    "back-quote": f"title\n{BODY}.control\necho `touch marker`\n.endc\n.end\n",
    "write": f"title\n{BODY}.control\nop\nwrite marker\n.endc\n.end\n",
    "comment": f"title\n{BODY}*#{SHELL}\n.end\n",
    "include": f"title\n{BODY}.include evil.inc\n.end\n",
    "library": f"title\n{BODY}.lib evil.lib tt\n.end\n",
    "script": f"*ng_script\n{SHELL}\n",
    "after the end": f"title\n{BODY}.end\n.control\n{SHELL}\n.endc\n",
    "carriage return": f"title\r{BODY}.control\r{SHELL}\r.endc\r.end\r",
    "no end": f"title\n{BODY}.control\n{SHELL}\n.endc",
}
"""What ngspice 39 executes with -b, or with -n -b."""

TRIED = {
    "continued": f"title\n{BODY}.con\n+trol\n{SHELL}\n.endc\n.end\n",
    "in a subcircuit": f"title\n{BODY}.subckt s a\n.control\n{SHELL}\n.endc\n.ends\n.end\n",
    "exec": f"title\n{BODY}.exec touch marker\n.end\n",
    "title": f"`touch marker`\n{BODY}.end\n",
    "value": "title\nV1 1 0 `touch marker`\nR1 1 0 1k\n.end\n",
    "node": "title\nV1 `touch${IFS}marker` 0 1\nR1 1 0 1k\n.end\n",
    "print": f"title\n{BODY}.print op `touch marker`\n.save `touch marker`\n.end\n",
    "measure": f"title\n{BODY}.meas dc x find `touch marker`\n.four 1 `touch marker`\n.end\n",
    "parameter": f"title\n{BODY}.param a=`touch marker`\n.end\n",
    "option": f"title\n{BODY}.options rawfile=marker\n.end\n",
    "csparam": f"title\n{BODY}.csparam a=`touch marker`\n.end\n",
    "code model": f'title\n{BODY}A1 1 0 m\n.model m filesource(file="marker")\n.end\n',
    "behavioral": "title\nB1 1 0 v=`touch marker`\nR1 1 0 1k\n.end\n",
    "sine": "title\nB1 1 0 i=sin(v(1))*`touch marker`\nR1 1 0 1k\n.end\n",
    "node of a sine": "title\nB1 1 0 i=sin(v(`touch${IFS}marker`))\nR1 1 0 1k\n.end\n",
    "coupling": "title\nL1 1 0 1\nL2 1 0 1\nK`touch\tmarker` L1 L2 .1\nR1 1 0 1k\n.end\n",
    "coefficient": "title\nL1 1 0 1\nL2 1 0 1\nK1 L1 L2 `touch marker`\n.end\n",
    "null": f"title\n{BODY}\0.control\n{SHELL}\n.endc\n.end\n",
    "vertical tab": f"title\n{BODY}\v.control\n{SHELL}\n.endc\n.end\n",
    "line separator": f"title\u2028.control\u2028{SHELL}\u2028.endc\n{BODY}.end\n",
    "UTF-16": f"\ufefftitle\n{BODY}.control\n{SHELL}\n.endc\n.end\n",
}
"""What ngspice 39 was not seen to execute, and what might get past a reader."""

SECRET = "the secret"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with files that a netlist might include."""
    (tmp_path / "evil.inc").write_text(f".control\n{SHELL}\n.endc\n")
    (tmp_path / "evil.lib").write_text(f".lib tt\n.control\n{SHELL}\n.endc\n.endl\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".spiceinit").write_text("")
    return tmp_path


def plain_ngspice(folder: Path, name: str) -> str:
    done = subprocess.run(
        ["ngspice", "-b", name], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


@pytest.mark.ngspice
@pytest.mark.parametrize("vector", ["control", "upper", "comment", "include", "library", "script"])
def test_the_vectors_work_in_ngspice(folder, vector):
    (folder / "x.cir").write_text(VECTORS[vector])
    plain_ngspice(folder, "x.cir")
    assert (folder / "marker").exists()


@pytest.mark.ngspice
@pytest.mark.parametrize("vector", [*VECTORS, *TRIED])
def test_nothing_is_executed(folder, vector):
    encoding = "utf-16" if vector == "UTF-16" else "utf-8"
    path = folder / "x.cir"
    path.write_bytes((VECTORS | TRIED)[vector].encode(encoding))
    accepted = 0
    for include in (False, True):
        for skip_commands in (False, True):
            try:
                deck = read(path, include=include, skip_commands=skip_commands)
            except NetlistError:
                continue
            accepted += 1
            text = portable_netlist(deck)
            assert "marker" not in text and "control" not in text.lower()
            (folder / "run" / "ours.cir").write_text(text)
            assert "n1  " in plain_ngspice(folder / "run", "ours.cir")
    assert not list(folder.rglob("marker*"))
    if vector in VECTORS:
        # Only the .control sections that the caller wanted left out.
        assert accepted <= 2


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors_are_refused_by_default(folder, vector):
    path = folder / "x.cir"
    path.write_text(VECTORS[vector])
    with pytest.raises(NetlistError, match=r"x\.cir:\d+"):
        read(path)


@pytest.mark.parametrize("include", [False, True])
def test_errors_quote_no_other_file(folder, include):
    (folder.parent / "secret.txt").write_text(f"{SECRET}\n")
    (folder / "secret.txt").symlink_to(folder.parent / "secret.txt")
    for name in ("../secret.txt", "secret.txt", str(folder.parent / "secret.txt")):
        (folder / "x.cir").write_text(f"title\n.include {name}\n.end\n")
        with pytest.raises(NetlistError) as caught:
            read(folder / "x.cir", include=include)
        assert SECRET not in str(caught.value)
