"""Hostile inputs made from good ones: hypothesis strategies that damage experiments and folders.

What is drawn is small data; `apply` does to a folder what was drawn. Nothing here knows what the
package refuses: that it survives all of this is for `benchmarks.fuzz` and the tests to find out.
"""

import dataclasses
import os
import re
import shutil
from pathlib import Path

from hypothesis import strategies as st

BAIT = "eqprop_bait"
"""A module outside of this package; importing it is what no file may bring about."""

NUMBERS = (
    "0", "-1", "1", "2", "0.5", "-0.0", "1e-320", "1e-30", "1e30", "1e300", "-1e300", "nan", "inf",
    "1000000", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "9" * 5000,
)  # fmt: skip
TEXTS = (
    "", "a", "out[/b]", "[red]", "\\u001b[31m\\u0007", "a\\nb", "\\u202e", "A" * 3000, "../../x",
    "/etc/passwd", ".control\\nshell id\\n.endc", "all", "auto", "ideal", "none", "dense.Dense",
    "os.system", "base.AbstractDataset", f"{BAIT}:Any", "__import__('os')", "pickle", "1e-3",
)  # fmt: skip
TABLES = (
    "[]", "{}", "[[]]", "[1, 2]", "[-1, 99]", "[1.5, nan]", "[[0, 9], [-1, 2]]",
    "[" * 400 + "]" * 400, "[" * 30 + "]" * 30,
    "{ a = 1 }", "{ seeds = 3 }", "{ seeds = 9223372036854775807 }",
    "{ linspace = [0.0, 1.0, 3] }", "{ logspace = [1e-9, 1e9, 5] }", "{ cases = { a = {} } }",
    '{ kind = "dense.Dense" }', "true", "false", "1979-05-27", "0000-00-00", "07:32:00",
)  # fmt: skip
VALUES = (*NUMBERS, *(f'"{text}"' for text in TEXTS), *TABLES)
"""Values in TOML; most are JSON too."""

ASSIGNMENT = re.compile(r"^(\s*[\w.\"-]+\s*=\s*)(.+?)(\s*#.*)?$")
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|NaN')

CHANGES = (
    *("scale",) * 8, *("like",) * 6, *("value",) * 2, "other", "key", "delete", "double",
    "move", "insert", "character", "token", "cut",
)  # fmt: skip
"""What is done to a text; most of it leaves valid TOML, which comes further."""

NUMBER = re.compile(r"(?<=[ \[])-?\d[\d.eE+-]*")
SCALES = st.sampled_from((-1.0, 0.0, 0.1, 0.5, 0.9, 1.5, 2.0, 3.0, 10.0, 100.0))

CHARACTERS = st.sampled_from("\x00\x1b\n\r\t\"'[]{}=#,.\\-+0e_é\u202e\U0001f4a3") | st.characters()


def _changed_line(line: str, value: str) -> str:
    """Return an assignment with another value; what is none as it is."""
    found = ASSIGNMENT.match(line)
    return line if found is None else f"{found[1]}{value}"


def _scaled(number: str, factor: float) -> str:
    """Return a number times a factor; a whole number stays one."""
    try:
        return str(int(int(number) * factor))
    except ValueError:
        pass
    try:
        return repr(float(number) * factor)
    except ValueError:
        return number


def _like(value: str) -> tuple[str, ...]:
    """Return values of the same kind, which come further than others."""
    if value.startswith('"'):
        return tuple(f'"{text}"' for text in TEXTS)
    return TABLES if value.startswith(("[", "{")) else NUMBERS


@st.composite
def damaged_text(draw: st.DrawFn, text: str, pool: tuple[str, ...] = ()) -> str:
    """Draw a text with one to three changes: to values, keys, lines or single characters.

    Args:
        draw: Given by hypothesis.
        text: The good text.
        pool: Lines of other good texts, to insert.
    """
    for _ in range(draw(st.sampled_from((1, 1, 2, 3)))):
        lines = text.split("\n")
        assignments = [i for i, line in enumerate(lines) if ASSIGNMENT.match(line)]
        at = draw(st.sampled_from(assignments or range(len(lines))))
        action = draw(st.sampled_from(CHANGES))
        if action == "like" and (found := ASSIGNMENT.match(lines[at])):
            lines[at] = f"{found[1]}{draw(st.sampled_from(_like(found[2])))}"
        elif action == "scale":
            lines[at] = NUMBER.sub(lambda n: _scaled(n[0], draw(SCALES)), lines[at], count=1)
        elif action == "value":
            lines[at] = _changed_line(lines[at], draw(st.sampled_from(VALUES)))
        elif action == "other":
            other = ASSIGNMENT.match(draw(st.sampled_from(pool or tuple(lines))))
            lines[at] = _changed_line(lines[at], other[2]) if other else lines[at]
        elif action == "key":
            name, equals, rest = lines[at].partition("=")
            lines[at] = (
                f"{draw(st.sampled_from((name[:-2], name + 'x', 'x.' + name)))}{equals}{rest}"
            )
        elif action == "delete":
            del lines[draw(st.integers(0, len(lines) - 1))]
        elif action == "double":
            lines.insert(at, lines[at])
        elif action == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
        elif action == "insert":
            where = draw(st.integers(0, len(lines)))
            lines.insert(where, draw(st.sampled_from(pool or tuple(lines))))
        text = "\n".join(lines)
        if action == "character":
            where = draw(st.integers(0, len(text)))
            text = text[:where] + draw(CHARACTERS) + text[where + draw(st.integers(0, 1)) :]
        elif action == "token" and (tokens := list(TOKEN.finditer(text))):
            token = draw(st.sampled_from(tokens))
            text = text[: token.start()] + draw(st.sampled_from(VALUES)) + text[token.end() :]
        elif action == "cut":
            text = text[: draw(st.integers(0, len(text)))]
    return text


def damaged_experiment(folder: Path) -> st.SearchStrategy[str]:
    """Return a strategy of damaged copies of the experiments in a folder."""
    texts = [path.read_text() for path in sorted(folder.rglob("*.toml"))]
    pool = tuple(sorted({line for text in texts for line in text.split("\n") if line.strip()}))
    return st.sampled_from(texts).flatmap(lambda text: damaged_text(text, pool))


@dataclasses.dataclass(frozen=True)
class Damage:
    """What is done to one file of a folder.

    Attributes:
        name: The file, relative to the folder.
        action: What is done, as `apply` says.
        position: Where in the file, from 0 to 1.
        content: What is put there, or another file's name.
    """

    name: str
    action: str
    position: float
    content: bytes


ACTIONS = (
    "delete", "empty", "cut", "flip", "insert", "text", "text", "text", "folder", "pipe", "link",
    "hard link", "linked folder", "exchange", "swell",
)  # fmt: skip


@st.composite
def damage(draw: st.DrawFn, folder: Path, names: tuple[str, ...]) -> Damage:
    """Draw what is done to one file.

    Args:
        draw: Given by hypothesis.
        folder: The good folder.
        names: Its files, and such as an attacker may add.
    """
    name = draw(st.sampled_from(names))
    action = draw(st.sampled_from(ACTIONS))
    content = draw(st.binary(min_size=1, max_size=9))
    path = folder / name
    if action == "text":
        try:
            good = path.read_text()
        except (OSError, UnicodeDecodeError):
            good = draw(st.sampled_from((*VALUES, PICKLED)))
        content = draw(damaged_text(good)).encode("utf-8", "surrogatepass")
    elif action == "exchange":
        content = draw(st.sampled_from(names)).encode()
    return Damage(name, action, draw(st.floats(0.0, 1.0)), content)


PICKLED = (
    '{"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "order": "C", "fill_value": 0, '
    '"filters": [{"id": "pickle"}], "compressor": {"id": "pickle"}}'
)
"""Metadata of an array in zarr's second format whose codec executes what it reads."""

SWOLLEN = 4 * 10**9
"""Bytes of a file with a hole, which takes no space on the disk but as much in memory."""


def apply(done: Damage, folder: Path, outside: Path) -> None:
    """Damage a folder.

    Args:
        done: What to do.
        folder: The folder.
        outside: A file that is none of its own, for links.
    """
    path = folder / done.name
    if path.parent.resolve() != path.parent:
        return  # An earlier damage made a link of it.
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b""
    if path.is_file() and path.stat().st_size < SWOLLEN:
        content = path.read_bytes()
    at = int(done.position * len(content))
    if done.action in ("empty", "cut", "flip", "insert", "text", "swell"):
        written = {
            "empty": b"",
            "cut": content[:at],
            "flip": content[:at] + done.content + content[at + len(done.content) :],
            "insert": content[:at] + done.content + content[at:],
            "text": done.content,
            "swell": content,
        }[done.action]
        _remove(path)
        path.write_bytes(written)
        if done.action == "swell":
            os.truncate(path, SWOLLEN)
        return
    if done.action == "exchange":
        other = folder / done.content.decode()
        if other.is_file() and other != path and other.stat().st_size < SWOLLEN:
            _remove(path)
            path.write_bytes(other.read_bytes())
        return
    if done.action == "linked folder":
        path, outside = (path.parent, outside.parent) if path.parent != folder else (path, outside)
    _remove(path)
    if done.action == "folder":
        path.mkdir()
    elif done.action == "pipe":
        os.mkfifo(path)
    elif done.action == "hard link":
        os.link(outside, path)
    elif done.action in ("link", "linked folder"):
        path.symlink_to(outside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
