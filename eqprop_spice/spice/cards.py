"""From a netlist's file to its cards: encodings, comments, continuation lines, included files.

What ngspice would execute is found here and refused; nothing is ever run, and only files in the
folder of the netlist are opened, on request.
"""

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.fields import Fields, fields


class Refused(NetlistError):
    """A netlist is not read: file, line, card, reason and remedy.

    Attributes:
        place: File and line.
        card: The card, as written.
        reason: Why, and what to do.
    """

    def __init__(self, place: str, card: str, reason: str) -> None:
        self.place, self.card, self.reason = place, card, reason
        shown = card if len(card) <= 60 else f"{card[:57]}..."
        super().__init__(f"{place}: {shown!r}: {reason}.")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a netlist may ask for, so that no file keeps the reader busy.

    Attributes:
        num_bytes: Size of a file.
        num_lines: Lines of all files.
        line_length: Characters of a card with its continuation lines.
        depth: Subcircuits within subcircuits, and files that include files.
        num_elements: Elements and subcircuit calls after flattening.
        num_steps: Operations in all expressions.
    """

    num_bytes: int = 2_000_000
    num_lines: int = 100_000
    line_length: int = 20_000
    depth: int = 20
    num_elements: int = 20_000
    num_steps: int = 200_000


@dataclasses.dataclass(frozen=True)
class Card:
    """A logical line.

    Attributes:
        text: As written, without comments, continuation lines joined.
        place: File and line of its beginning.
    """

    text: str
    place: str

    @property
    def keyword(self) -> str:
        """The first word in lower case."""
        return self.text.split(None, 1)[0].lower()

    @cached_property
    def fields(self) -> Fields:
        """The fields, split once however often a subcircuit is called.

        Raises:
            NetlistError: If the card cannot be split.
        """
        return fields(self.text)

    def refused(self, reason: str) -> Refused:
        """Return the error that refuses this card."""
        return Refused(self.place, self.text, reason)


@contextmanager
def at(card: Card) -> Iterator[None]:
    """Say at which card an error occurred."""
    try:
        yield
    except Refused:
        raise
    except NetlistError as error:
        raise card.refused(str(error).rstrip(".")) from error


@dataclasses.dataclass(frozen=True)
class Source:
    """The cards of a netlist, and what was left out on the way."""

    title: str
    cards: tuple[Card, ...]
    notes: tuple[str, ...]


def decoded(content: bytes, name: str, limits: Limits) -> str:
    """Return the text of a file; LTspice writes UTF-16 and Latin-1, others UTF-8.

    Raises:
        Refused: If it is too large, or no text.
    """
    if len(content) > limits.num_bytes:
        reason = f"the file has more than {limits.num_bytes} bytes; raise Limits.num_bytes"
        raise Refused(f"{name}:1", "", reason)
    encodings = (
        ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252")
    )
    for encoding in encodings:
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise Refused(f"{name}:1", "", "the file is no text in UTF-8, UTF-16 or Latin-1")
    return text


def _lines(text: str, name: str) -> list[str]:
    """Return the lines of a text.

    Raises:
        Refused: If it holds control characters.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    control = re.search(r"[^\n\t\x20-\x7e\x80-\U0010ffff]|[\x7f-\x9f\u2028\u2029]", text)
    if control is not None:
        line = text.count("\n", 0, control.start()) + 1
        reason = f"the control character {control[0]!r} does not belong in a netlist; remove it"
        raise Refused(f"{name}:{line}", "", reason)
    return text.split("\n")


def _without_comment(line: str) -> str:
    """Return a line without its comment: after ; or //, or $ after a blank or comma."""
    if line.lstrip().startswith(("*", "$")):
        return ""
    return re.split(r";|//|(?<=[\s,])\$", line, maxsplit=1)[0].strip()


class _Cards:
    """Collects cards line by line."""

    def __init__(self, limits: Limits, *, skip_commands: bool, include_from: Path | None) -> None:
        self.limits, self.skip_commands = limits, skip_commands
        self.folder = include_from
        self.cards: list[Card] = []
        self.notes: list[str] = []
        self.num_lines = 0
        self.command_start: Card | None = None
        self.ended = False

    def file(self, lines: list[str], name: str, first_line: int, depth: int) -> None:
        """Take the lines of a file."""
        self.num_lines += len(lines)
        if self.num_lines > self.limits.num_lines:
            reason = f"there are more than {self.limits.num_lines} lines; raise Limits.num_lines"
            raise Refused(f"{name}:1", "", reason)
        for card in self._joined(lines, name, first_line):
            if self.ended:
                raise card.refused("text after .end; ngspice may execute it; remove it")
            if card.keyword == ".end":
                self.ended = True
            elif card.keyword in (".include", ".inc", ".incl", ".lib"):
                self._include(card, depth)
            else:
                self.cards.append(card)
        if depth:
            self.ended = False
        elif self.command_start is not None:
            raise self.command_start.refused("the .control section has no .endc")

    def _joined(self, lines: list[str], name: str, first_line: int) -> Iterator[Card]:
        """Yield the cards of a file, continuation lines joined, commands refused or left out."""
        pending: list[str] = []
        place, length = "", 0
        for line_number, line in enumerate(lines, first_line):
            here = f"{name}:{line_number}"
            text = _without_comment(line)
            if line.lstrip().startswith(("*#", "#")):
                raise Refused(here, line.strip(), "ngspice may execute this line; remove it")
            if not text or self._is_command(Card(text, here)):
                continue
            if text.startswith("+"):
                if not pending:
                    raise Refused(here, text, "the line continues nothing; remove the +")
                pending.append(text[1:].strip())
            else:
                if pending:
                    yield Card(" ".join(pending), place)
                pending, place, length = [text], here, 0
            length += len(text)
            if length > self.limits.line_length:
                reason = f"the card has more than {self.limits.line_length} characters"
                raise Refused(place, pending[0], f"{reason}; raise Limits.line_length")
        if pending:
            yield Card(" ".join(pending), place)

    def _is_command(self, card: Card) -> bool:
        """Whether a line belongs to a .control section, which is refused unless left out."""
        keyword = card.keyword
        if keyword == ".control":
            if not self.skip_commands:
                raise card.refused(
                    "a .control section holds commands, which are never executed; remove it, or "
                    "have it left out (skip_commands)"
                )
            if self.command_start is not None:
                raise card.refused("a .control section within another")
            self.command_start = card
        elif keyword == ".endc":
            if self.command_start is None:
                raise card.refused(".endc without .control")
            self.notes.append(f"{self.command_start.place}: the .control section is left out")
            self.command_start = None
            return True
        return self.command_start is not None

    def _include(self, card: Card, depth: int) -> None:
        """Take the cards of an included file in the netlist's folder."""
        if self.folder is None:
            raise card.refused(
                "other files are read on request only (include), and from the same folder; or put "
                "the text into this file"
            )
        match = re.fullmatch(r"\S+\s+(?:\"([^\"]+)\"|'([^']+)'|(\S+))", card.text)
        if match is None:
            raise card.refused("expected one file name; sections of libraries are not supported")
        if depth >= self.limits.depth:
            raise card.refused("files include each other too deeply")
        name = match[1] or match[2] or match[3]
        # Names with folders are not followed: \ is one on Windows, and links may lead anywhere.
        path = self.folder / name
        if re.search(r"[/\\:]", name) or path.is_symlink() or not path.is_file():
            raise card.refused(
                f"'{name}' is not a plain file in the netlist's folder; copy it there and include "
                "it by its bare name"
            )
        text = decoded(read_limited(path, self.limits), name, self.limits)
        self.file(_lines(text, name), name, 1, depth + 1)


def read_limited(path: Path, limits: Limits) -> bytes:
    """Return the content of a file, no more of it than one byte above the limit.

    Raises:
        NetlistError: If it cannot be read.
    """
    try:
        if not path.is_file():
            raise NetlistError(f"{path} is not a file.")
        with path.open("rb") as file:
            return file.read(limits.num_bytes + 1)
    except OSError as error:
        raise NetlistError(f"{path} cannot be read: {error.strerror}.") from error


def cards_of(
    text: str, name: str, limits: Limits, *, skip_commands: bool, include_from: Path | None
) -> Source:
    """Return the cards of a netlist; its first line is the title.

    Raises:
        Refused: If it holds commands, or asks for files it may not have.
    """
    title, *lines = _lines(text, name)
    if title.lower().lstrip().startswith(("*ng_script", "*#", "#", ".control")):
        raise Refused(f"{name}:1", title, "this is a command script of ngspice, not a circuit")
    collected = _Cards(limits, skip_commands=skip_commands, include_from=include_from)
    words = title.split(None, 1)
    if words and words[0].startswith("."):
        # KiCad begins with .title; ngspice takes any first line for the title, even an .include.
        if words[0].lower() != ".title":
            raise Refused(f"{name}:1", title, "the first line is the title; put a comment above it")
        title = words[1] if len(words) > 1 else ""
    elif re.match(r"[rclvidefghmqjx]\w*\d\w*\s+\S+\s+\S+\s", title, re.IGNORECASE):
        collected.notes.append(
            f"{name}:1: the first line is the title, though it looks like a card"
        )
    collected.file(lines, name, 2, 0)
    return Source(title.strip("* \t"), tuple(collected.cards), tuple(collected.notes))
