"""The errors of this package: what was expected, what came, and what to try."""

LONGEST = 1000
"""Characters of a message."""

KEPT_END = 400
"""Characters at its end that a longer message keeps: there stands what to try."""


def printable(text: str) -> str:
    """Return a text as one line that any terminal shows and none obeys."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def message(text: str) -> str:
    """Return what an error says of something foreign: printable, and no longer than a message.

    Names, keys and values of files stand in messages as they are; here is the one place where what
    they hold is made harmless.
    """
    text = printable(text)
    if len(text) <= LONGEST:
        return text
    gap = " [...] "
    return text[: LONGEST - KEPT_END - len(gap)] + gap + text[-KEPT_END:]


class _Explained(Exception):
    """An error whose message is for the user."""

    def __init__(self, text: str) -> None:
        super().__init__(message(text))


class ConfigError(_Explained, ValueError):
    """An experiment's file, or an argument that describes one, is wrong."""


class NetlistError(_Explained, ValueError):
    """A circuit cannot be built, written or handed to a simulator."""


class ParameterError(NetlistError):
    """A parameter is none that the system can have; a training that ends so has diverged."""


class ConvergenceError(_Explained, RuntimeError):
    """Operating points were not found where the caller needs them."""


class Remark(UserWarning):
    """Something that stops nothing, and that the user should know; the command line shows it."""
