"""The text of a netlist by itself: what it includes stands in it."""

from pathlib import Path

from eqprop_spice.spice.cards import Limits, cards_of, decoded, read_limited


def source_text(path: Path, *, include: bool = False, skip_commands: bool = False) -> str:
    """Return the text of a netlist's file, the files in its folder that it includes put in.

    Args:
        path: The file.
        include: Whether it may include files.
        skip_commands: Whether .control sections of what it includes are left out, not refused.

    Raises:
        NetlistError: If it cannot be read, or asks for files that it may not have.
    """
    limits = Limits()
    text = decoded(read_limited(path, limits), path.name, limits)
    if not include:
        return text
    folder = path.parent
    source = cards_of(text, path.name, limits, skip_commands=skip_commands, include_from=folder)
    return "\n".join([f"* {source.title}", *(card.text for card in source.cards), ".end"]) + "\n"
