r"""Devices that were measured: a table of voltages and currents, and what lies between.

Between neighboring points the current is the cubic of Fritsch and Carlson (PCHIP), which has a
continuous slope and neither overshoots nor turns back where the points do not; beyond the first and
the last point it goes on straight. Its energy is the integral of the pieces, exactly.

References:
    Fritsch and Carlson (1980), doi:10.1137/0717021.
"""

import csv
import dataclasses
import functools
import io
import zipfile
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from eqprop_spice.devices.base import AbstractTwoTerminal
from eqprop_spice.devices.diode import Shockley
from eqprop_spice.devices.ideal import Ideal
from eqprop_spice.devices.piecewise_linear import PiecewiseLinear
from eqprop_spice.errors import ConfigError

MOST_POINTS = 500
"""ngspice gets the law as one expression of all pieces."""

MOST_BYTES = 10_000_000
"""Of a file of points."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """The points of a measured device.

    Attributes:
        voltages: Where it was measured [V], in ascending order.
        currents: What flowed into the first terminal there [A].
    """

    voltages: tuple[float, ...]
    currents: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse points that are no current of a voltage."""
        count = len(self.voltages)
        if count != len(self.currents):
            raise ConfigError(
                f"A measured device has {count} voltages and {len(self.currents)} currents; give "
                "one current for each voltage."
            )
        if not 2 <= count <= MOST_POINTS:
            raise ConfigError(
                f"A measured device has {count} points; it needs at least 2, and at most "
                f"{MOST_POINTS}."
            )
        for name, values, unit in (
            ("voltages", self.voltages, "V"),
            ("currents", self.currents, "A"),
        ):
            for number, value in enumerate(values):
                if not np.isfinite(value):
                    raise ConfigError(
                        f"Point {number} of a measured device, counted from 0, has {name[:-1]} "
                        f"{value} {unit}; points must be finite."
                    )
            steps = np.diff(values)
            bad = np.flatnonzero(steps <= 0.0 if name == "voltages" else steps < 0.0)
            if len(bad):
                k = int(bad[0])
                rule = "increase" if name == "voltages" else "not decrease"
                raise ConfigError(
                    f"The {name} of a measured device must {rule}, but point {k + 1}, counted from "
                    f"0, has {values[k + 1]:g} {unit} after {values[k]:g} {unit}. Sort the points "
                    "by voltage, take the mean of repeated ones, and smooth out noise."
                )

    @functools.cached_property
    def pieces(self) -> Float[np.ndarray, "power piece"]:
        """Coefficients of the cubics in the voltage above each piece's start, from the constant.

        The first and the last piece are the straight lines beyond the points.
        """
        # Imported here: every command imports this module, and few have a measured diode.
        from scipy.interpolate import PchipInterpolator

        inner = PchipInterpolator(self.voltages, self.currents).c[::-1]
        width = self.voltages[-1] - self.voltages[-2]
        end = inner[:, -1]
        slope = end[1] + width * (2.0 * end[2] + 3.0 * width * end[3])
        before = [self.currents[0], inner[1, 0], 0.0, 0.0]
        after = [self.currents[-1], max(slope, 0.0), 0.0, 0.0]
        return np.column_stack([before, inner, after])

    @functools.cached_property
    def starts(self) -> Float[np.ndarray, " piece"]:
        """The voltage that each piece is counted from [V]; the first ends there."""
        return np.array([self.voltages[0], *self.voltages])

    @functools.cached_property
    def integrals(self) -> Float[np.ndarray, " piece"]:
        """The integral of the current from the first point to the start of each piece [W]."""
        c, widths = self.pieces[:, 1:-1], np.diff(self.voltages)
        areas = widths * (c[0] + widths * (c[1] / 2 + widths * (c[2] / 3 + widths * c[3] / 4)))
        return np.concatenate([[0.0, 0.0], np.cumsum(areas)])


@dataclasses.dataclass(frozen=True)
class Measured(AbstractTwoTerminal):
    """A device with two terminals whose current was measured.

    Its current must not decrease where the voltage increases, so that a circuit of such devices has
    one operating point.

    Attributes:
        curve: Its points.
    """

    curve: Curve

    @classmethod
    def from_file(cls, path: str | Path) -> "Measured":
        """Return the device whose points stand in a file; see `read_points`."""
        return cls(Curve(*read_points(Path(path))))

    @property
    def kind(self) -> str:
        """Its power counts to the diodes'."""
        return "diodes"

    def _at(self, voltage):
        """Return the coefficients of each voltage's piece, where it is in it [V], and the area."""
        xp, curve = voltage.__array_namespace__(), self.curve
        piece = xp.searchsorted(xp.asarray(curve.voltages), voltage, side="right")
        c0, c1, c2, c3 = (xp.asarray(row)[piece] for row in curve.pieces)
        inside = voltage - xp.asarray(curve.starts)[piece]
        return (c0, c1, c2, c3), inside, xp.asarray(curve.integrals)[piece]

    def current(self, voltage):
        """Return the current into the first terminal [A]."""
        (c0, c1, c2, c3), x, _ = self._at(voltage)
        return c0 + x * (c1 + x * (c2 + x * c3))

    def conductance(self, voltage):
        """Return the slope of the curve [S]."""
        (_, c1, c2, c3), x, _ = self._at(voltage)
        return c1 + x * (2.0 * c2 + 3.0 * x * c3)

    def currents_and_slopes(self, *drops):
        """Return the one current [A] and the one slope [S], of one piece."""
        (voltage,) = drops
        (c0, c1, c2, c3), x, _ = self._at(voltage)
        current = c0 + x * (c1 + x * (c2 + x * c3))
        return (current,), ((c1 + x * (2.0 * c2 + 3.0 * x * c3),),)

    def _area(self, voltage):
        """Return the integral of the current from the first point on [W]."""
        (c0, c1, c2, c3), x, area = self._at(voltage)
        return area + x * (c0 + x * (c1 / 2 + x * (c2 / 3 + x * c3 / 4)))

    def co_content(self, voltage):
        r"""Return $\int_0^v i\,dv'$ [W]."""
        return self._area(voltage) - self._area(np.zeros(()))[()]

    def card(self, name, nodes):
        """Return the B card of a source with this law: every number is written here."""
        first, second = nodes
        return f"b{name} {first} {second} i={self._expression(f'v({first},{second})')}"

    def behavioral_cards(self, name, nodes):
        """Return its card, which is behavioral."""
        return [self.card(name, nodes)]

    def _expression(self, v: str) -> str:
        """Return the law of a voltage as ngspice reads it: a search for the piece by halves."""
        curve = self.curve
        ends = list(map(float, curve.voltages))

        def polynomial(piece: int) -> str:
            x = f"({v}-({float(curve.starts[piece])!r}))"
            *lower, text = [repr(float(c)) for c in _shortened(curve.pieces[:, piece])]
            for number in reversed(lower):
                text = f"({number})+{x}*({text})"
            return text

        def chosen(first: int, last: int) -> str:
            """Return the law within the pieces from the first to the last."""
            if first == last:
                return f"({polynomial(first)})"
            middle = (first + last) // 2
            low, high = chosen(first, middle), chosen(middle + 1, last)
            return f"({v} < {ends[middle]!r} ? {low} : {high})"

        return chosen(0, len(ends))


def _shortened(coefficients: np.ndarray) -> np.ndarray:
    """Return coefficients without the zeros of the highest powers."""
    kept = np.flatnonzero(coefficients)
    return coefficients[: kept[-1] + 1] if len(kept) else coefficients[:1]


AnyDiode: TypeAlias = Shockley | Ideal | PiecewiseLinear | Measured
"""What a layer can have at its nodes."""


def read_points(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the voltages [V] and currents [A] of a file.

    Args:
        path: A `.csv` with a voltage and a current in every line, whose first line may be names;
            or an `.npz` with the arrays `voltages` and `currents`.

    Raises:
        ConfigError: If it cannot be read.
    """
    readers = {".csv": _csv, ".npz": _npz}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"The points of a device are in {path}; its name must end with .csv, .npz."
        )
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"The points of a device are in {path}, which has over 10 MB.")
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"The points of a device are in {path}: {error.strerror}.") from error
    voltages, currents = reader(content, path)
    return tuple(map(float, voltages)), tuple(map(float, currents))


def _csv(content: bytes, path: Path) -> tuple[list[float], list[float]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} is no CSV in UTF-8: {error}.") from error
    points: list[list[float]] = []
    for number, row in enumerate(rows):
        try:
            values = [float(word) for word in row]
        except ValueError:
            if number == 0:
                continue
            values = []
        if len(values) != 2:
            raise ConfigError(
                f"Line {number + 1} of {path}, empty ones not counted, is no voltage and current "
                "with a comma between them."
            )
        points.append(values)
    return [v for v, _ in points], [i for _, i in points]


def _npz(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name], float) for name in ("voltages", "currents")}
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ConfigError(
            f"{path} is no npz with the arrays of numbers 'voltages' and 'currents'."
        ) from error
    if any(array.ndim != 1 for array in arrays.values()):
        raise ConfigError(f"{path} has arrays of another shape than a list of numbers.")
    return arrays["voltages"], arrays["currents"]
