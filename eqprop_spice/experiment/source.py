"""The text of an experiment."""

from pathlib import Path

from eqprop_spice.errors import ConfigError
from eqprop_spice.files import read_bounded

MOST_BYTES = 1_000_000
"""Size of an experiment's file; the longest lists of a sweep have some kilobytes."""


def read_text(path: Path) -> str:
    """Return the text of an experiment's file.

    Raises:
        ConfigError: If it cannot be read, is no file or too large for an experiment.
        FileNotFoundError: If there is none.
    """
    try:
        return read_bounded(path, limit=MOST_BYTES).decode()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
