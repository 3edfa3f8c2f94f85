"""The errors of this package: what was expected, what came, and what to try."""


class ConfigError(ValueError):
    """An experiment's file, or an argument that describes one, is wrong."""


class NetlistError(ValueError):
    """A circuit cannot be built, written or handed to a simulator."""


class ParameterError(NetlistError):
    """A parameter is none that the system can have; a training that ends so has diverged."""


class ConvergenceError(RuntimeError):
    """Operating points were not found where the caller needs them."""


class Remark(UserWarning):
    """Something that stops nothing, and that the user should know; the command line shows it."""
