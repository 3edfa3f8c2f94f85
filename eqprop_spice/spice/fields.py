"""A card split into its fields: what stands in which place, and what is assigned by name."""

import dataclasses
import re

from eqprop_spice.errors import NetlistError

OPENING = frozenset(
    "pulse sin pwl exp sffm am poly dc ac trnoise trrandom d npn pnp nmos pmos njf pjf".split()
)
"""Words that a parenthesis may follow at once; after any other, it is part of a strange name."""

BEHAVIORAL = re.compile(r"(b[^=]*[\s)])([iv])\s*=\s*(.+)")
"""A B source: nodes, and an expression that goes on to the end of the card."""


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of a card, in lower case.

    Attributes:
        places: Fields by position, the name of the element first. An expression keeps its braces.
        named: What is assigned, `w=1u`, by name.
    """

    places: tuple[str, ...]
    named: dict[str, str]

    @property
    def name(self) -> str:
        """The first field: the name of the element."""
        return self.places[0]


def _closing(text: str, start: int) -> int:
    """Return the index after the brace or quote that closes the one at `start`."""
    if text[start] in "'\"":
        end = text.find(text[start], start + 1)
        if end < 0:
            raise NetlistError("a quote is not closed")
        return end + 1
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return i + 1
    raise NetlistError("a brace is not closed")


def words(text: str) -> list[str]:
    """Return the words of a card: blanks, commas and parentheses separate, = stands alone.

    Raises:
        NetlistError: If a quote or brace is not closed, or parentheses belong to a name.
    """
    found: list[str] = []
    word, i = "", 0
    text = text.lower()
    while i < len(text):
        character = text[i]
        if character in "{'\"":
            end = _closing(text, i)
            inner = text[i + 1 : end - 1]
            if word:
                raise NetlistError(f"'{word}' runs into what is quoted; put a blank between them")
            found.append(f"{{{inner}}}")
            i = end
            continue
        if character == "(" and word and word not in OPENING:
            raise NetlistError(
                f"'{word}(' is no name that simulators agree on; rename it without parentheses"
            )
        if character in " \t,()=":
            if word:
                found.append(word)
            word = ""
            if character == "=":
                found.append("=")
        elif character in "}":
            raise NetlistError("a brace is closed that was not opened")
        else:
            word += character
        i += 1
    if word:
        found.append(word)
    return found


def fields(text: str) -> Fields:
    """Split a card.

    Raises:
        NetlistError: If it cannot be split, or a name is assigned twice.
    """
    behavioral = BEHAVIORAL.fullmatch(text.lower())
    if behavioral is not None:
        return Fields(tuple(words(behavioral[1])), {behavioral[2]: behavioral[3]})
    split = words(text)
    places: list[str] = []
    named: dict[str, str] = {}
    i = 0
    while i < len(split):
        if i + 1 < len(split) and split[i + 1] == "=":
            if i + 2 >= len(split) or split[i + 2] == "=":
                raise NetlistError(f"'{split[i]} =' has no value")
            if not re.fullmatch(r"[a-z_][a-z0-9_]*", split[i]):
                raise NetlistError(f"'{split[i]}' is no name that can be assigned to")
            if split[i] in named:
                raise NetlistError(f"'{split[i]}' is assigned twice")
            named[split[i]] = split[i + 2]
            i += 3
        elif split[i] == "=":
            raise NetlistError("'=' follows no name")
        else:
            places.append(split[i])
            i += 1
    return Fields(tuple(places), named)


def _masked(text: str) -> str:
    """Return a text of the same length without what stands in quotes, braces and parentheses."""
    masked, i = [], 0
    depth = 0
    while i < len(text):
        if text[i] in "{'\"":
            end = _closing(text, i)
            masked.append(" " * (end - i))
            i = end
            continue
        depth = max(0, depth + (text[i] == "(") - (text[i] == ")"))
        masked.append(" " if depth else text[i])
        i += 1
    return "".join(masked)


def assignments(text: str) -> list[tuple[str, str]]:
    """Return names and expressions of `a = 1 b = {a + 2}`, the part of a .param after its keyword.

    An expression without braces ends where the next name is assigned.

    Raises:
        NetlistError: If something else stands there.
    """
    text = text.lower()
    found = list(re.finditer(r"([a-z_][a-z0-9_]*)\s*(?<![<>!=])=(?!=)", _masked(text)))
    if not found or text[: found[0].start()].strip(" \t,"):
        raise NetlistError("expected assignments, such as .param r = 1k")
    ends = [match.start() for match in found[1:]] + [len(text)]
    pairs = []
    for match, end in zip(found, ends, strict=True):
        value = text[match.end() : end].strip(" \t,")
        if value[:1] in ("{", "'", '"') and _closing(value, 0) == len(value):
            value = value[1:-1]
        if not value.strip():
            raise NetlistError(f"'{match[1]} =' has no value")
        pairs.append((match[1], value))
    return pairs
