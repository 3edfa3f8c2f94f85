"""The ngspice shared library through PySpice: one persistent session per process.

PySpice 1.5 is kept as the binding, with its pitfalls mended here: its errors are raised for
harmless notes of a simulation that succeeded, its netlists are never freed, and its callbacks build
a dictionary per point. This is the only module that imports PySpice (GPLv3).

ngspice has one state for the whole process and no lock, and no exception can pass through its
callbacks. So it has a thread of its own: what uses it runs there, one piece of work after the
other, and no signal handler, which Python runs in the main thread only, can raise in a callback.
"""

import collections
import ctypes.util
import functools
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Complex, Float

from eqprop_spice.errors import NetlistError
from eqprop_spice.spice.worker import Worker

logger = logging.getLogger(__name__)

INSTALL_HINT = (
    "The ngspice shared library was not found. Install it: `sudo apt-get install libngspice0` "
    "(Debian, Ubuntu), `sudo dnf install libngspice` (Fedora), `brew install libngspice` (macOS); "
    "or set NGSPICE_LIBRARY_PATH to the file."
)

MAX_COMMAND_LENGTH = 1023
COMMANDS_BETWEEN_RELEASES = 5000
"""ngspice keeps every command in its history until it is sent a null command."""

KEPT_MESSAGES = 40

INIT_FOLDERS = ("HOME", "SPICE_USERINIT_DIR")
"""Environment variables that name a folder in which ngspice looks for a .spiceinit."""

Result = TypeVar("Result")


@runtime_checkable
class PointFeed(Protocol):
    """Gives external sources their values, point by point of a sweep."""

    columns: dict[bytes, int]
    row: list[float]

    def advance(self, data) -> None:
        """Note that a point was accepted; `data` holds its vectors."""
        ...


def library_path() -> str:
    """Return the path or name of the ngspice shared library.

    Raises:
        NetlistError: If there is none, with the command that installs it.
    """
    path = os.environ.get("NGSPICE_LIBRARY_PATH") or ctypes.util.find_library("ngspice")
    if path is None:
        raise NetlistError(INSTALL_HINT)
    return path


@contextmanager
def _empty_surroundings() -> Iterator[None]:
    """Hide every .spiceinit: ngspice would execute the first that it finds.

    It looks in the folder named by SPICE_USERINIT_DIR, in the working folder, and at home, which
    version 39 takes from the user database and later ones from HOME. An empty file in the working
    folder ends the search.
    """
    here, replaced = os.getcwd(), {name: os.environ.get(name) for name in INIT_FOLDERS}
    with tempfile.TemporaryDirectory() as empty:
        (Path(empty) / ".spiceinit").touch()
        os.chdir(empty)
        os.environ.update(dict.fromkeys(INIT_FOLDERS, empty))
        try:
            yield
        finally:
            os.chdir(here)
            for name, value in replaced.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _library_class():
    """Return the subclass of PySpice's binding; importing PySpice takes a second."""
    from PySpice.Spice.NgSpice import Shared

    NgSpiceShared = Shared.NgSpiceShared
    ffi: Any = Shared.ffi

    class Library(NgSpiceShared):
        """PySpice's binding with callbacks that do no more than they must.

        An exception cannot pass through C: every callback keeps it, and the session raises it when
        ngspice has returned.
        """

        LIBRARY_PATH = library_path()
        _logger = logging.getLogger(f"{__name__}.pyspice")
        feed: PointFeed | None = None
        error: BaseException | None = None
        messages: ClassVar[collections.deque[str]] = collections.deque(maxlen=KEPT_MESSAGES)

        def _init_ngspice(self, send_data: bool) -> None:
            super()._init_ngspice(True)

        @staticmethod
        def _send_char(message_c, ngspice_id, user_data):
            try:
                text = ffi.string(message_c).decode("utf-8", "replace")
                Library.messages.append(text)
                # The base class finds the version in these lines while it starts.
                instance = ffi.from_handle(user_data)
                stream, _, content = text.partition(" ")
                lines = instance._stderr if stream == "stderr" else instance._stdout
                lines.append(content)
            except BaseException as error:
                Library.error = Library.error or error
            return 0

        @staticmethod
        def _send_stat(message, ngspice_id, user_data):
            return 0

        @staticmethod
        def _send_init_data(data, ngspice_id, user_data):
            return 0

        @staticmethod
        def _send_data(data, number_of_vectors, ngspice_id, user_data):
            feed = Library.feed
            if feed is not None and Library.error is None:
                try:
                    feed.advance(data)
                except BaseException as error:
                    Library.error = error
            return 0

        @staticmethod
        def _get_isrc_data(current, time, node, ngspice_id, user_data):
            try:
                feed: Any = Library.feed
                current[0] = feed.row[feed.columns[ffi.string(node)]]
            except BaseException as error:
                Library.error = Library.error or error
            return 0

        @staticmethod
        def _get_vsrc_data(voltage, time, node, ngspice_id, user_data):
            return Library._get_isrc_data(voltage, time, node, ngspice_id, user_data)

    return Library, ffi


class Session:
    """The one ngspice of this process: load a netlist, run commands, read vectors."""

    _instance: "Session | None" = None
    _worker = Worker()

    def __init__(self) -> None:
        """Load the library; use `Session.do` instead."""
        self._library_class, self._ffi = _library_class()
        unsupported = logging.getLogger(f"{__name__}.pyspice")
        with _empty_surroundings():
            previous = unsupported.level
            # PySpice knows versions up to 34 by name and warns of all others; they work.
            unsupported.setLevel(logging.ERROR)
            try:
                self._library = self._library_class.new_instance()
            except OSError as error:
                raise NetlistError(f"{INSTALL_HINT} ({error})") from error
            finally:
                unsupported.setLevel(previous)
        self._api: Any = self._library._ngspice_shared
        self._process, self._thread = os.getpid(), threading.get_ident()
        self._num_commands = 0
        self._loaded: list | None = None

    @classmethod
    def do(cls, work: "Callable[[Session], Result]") -> Result:
        """Call `work` with the session, while nothing else uses it, and return what it returns.

        The session is started at the first call. A signal whose handler raises ends the waiting
        when `work` has ended: what it uses may be changed afterwards.

        Raises:
            NetlistError: If there is no library, or the process was forked from one with a session:
                ngspice's state cannot be shared.
        """
        session = cls._instance
        if session is not None and session._process != os.getpid():
            raise NetlistError(
                "This process was forked after ngspice was loaded. Start workers with the "
                "'spawn' method, so that each loads its own."
            )
        if session is not None and session._thread == threading.get_ident():
            return work(session)
        return cls._worker.do(functools.partial(cls._do_here, work))

    @classmethod
    def _do_here(cls, work: "Callable[[Session], Result]") -> Result:
        """Call `work` in the thread of the session."""
        if cls._instance is None:
            cls._instance = cls()
        return work(cls._instance)

    @property
    def version(self) -> str:
        """The version of ngspice."""
        return str(self._library.ngspice_version)

    def messages(self) -> list[str]:
        """Return the last lines ngspice printed."""
        return list(self._library_class.messages)

    def command(self, command: str) -> None:
        """Execute one command; what it achieved shows in the vectors, not in what it prints."""
        encoded = command.encode()
        if len(encoded) > MAX_COMMAND_LENGTH or b"\n" in encoded:
            raise NetlistError(f"ngspice takes commands of one short line; got {command[:60]!r}...")
        self._num_commands += 1
        if self._num_commands % COMMANDS_BETWEEN_RELEASES == 0:
            self._call(self._api.ngSpice_Command, self._ffi.NULL)
        self._call(self._api.ngSpice_Command, encoded)
        # Lists that the base class grows for ever.
        self._library._stdout.clear()
        self._library._stderr.clear()

    def _call(self, function: Callable[[Any], int], argument: Any) -> int:
        """Call a function of the library, and raise what a callback raised meanwhile."""
        library = self._library_class
        library.error = None
        status = function(argument)
        error, library.error = library.error, None
        if error is not None:
            raise error
        return status

    def load(self, lines: list[str]) -> None:
        """Replace the loaded netlist.

        Raises:
            NetlistError: If ngspice refuses it, with what it said.
        """
        self.unload()
        self._library_class.messages.clear()
        strings = [self._ffi.new("char[]", line.encode("ascii")) for line in lines]
        array = self._ffi.new("char*[]", [*strings, self._ffi.NULL])
        self._loaded = [array, strings]
        status = self._call(self._api.ngSpice_Circ, array)
        errors = [m for m in self.messages() if "error" in m.lower()]
        if status != 0 or errors:
            raise NetlistError("ngspice refused the netlist: " + " | ".join(errors[:5]))

    def unload(self) -> None:
        """Free the loaded netlist and all results."""
        self.command("destroy all")
        if self._loaded is not None:
            self.command("remcirc")
            self._loaded = None

    def run(self, command: str, feed: PointFeed) -> None:
        """Execute an analysis whose external sources take their values from `feed`.

        Raises:
            BaseException: What `feed.advance` raised, if it did.
        """
        self._library_class.feed = feed
        try:
            self.command(command)
        finally:
            self._library_class.feed = None

    def vector(self, name: str) -> Float[np.ndarray, " point"] | None:
        """Return a copy of a real vector of the current plot, or None if there is none."""
        info = self._api.ngGet_Vec_Info(name.encode())
        if info == self._ffi.NULL or info.v_length < 1 or info.v_realdata == self._ffi.NULL:
            return None
        buffer = self._ffi.buffer(info.v_realdata, info.v_length * 8)
        return np.frombuffer(buffer).copy()

    def complex_vector(self, name: str) -> Complex[np.ndarray, " point"] | None:
        """Return a copy of a complex vector of the current plot, or None if there is none."""
        info = self._api.ngGet_Vec_Info(name.encode())
        if info == self._ffi.NULL or info.v_length < 1 or info.v_compdata == self._ffi.NULL:
            return None
        buffer = self._ffi.buffer(info.v_compdata, info.v_length * 16)
        return np.frombuffer(buffer, complex).copy()

    def vector_names(self, data) -> list[str]:
        """Return the names of a point's vectors, in the order of its values."""
        return [self._ffi.string(data.vecsa[i].name).decode() for i in range(data.veccount)]


def vectors_of(text: str, names: Sequence[str]) -> list[Float[np.ndarray, " point"]]:
    """Run the analysis of a netlist, and return some of its vectors.

    Raises:
        NetlistError: If one is missing, as where the analysis came to nothing.
    """

    def work(session: Session) -> list[Any]:
        session.load(text.splitlines())
        session.command("run")
        found = [session.vector(name) for name in names]
        session.unload()
        return found

    found = Session.do(work)
    for name, vector in zip(names, found, strict=True):
        if vector is None:
            raise NetlistError(f"ngspice did not return the vector '{name}' of an analysis.")
    return found
