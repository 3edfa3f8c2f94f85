"""The parts that a trained circuit is built of: preferred values, and a bill of materials."""

import collections
import csv
import io
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, get_args

import numpy as np

from eqprop_spice.arrays import Array
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.devices.current_source import BiasCurrent
from eqprop_spice.errors import ConfigError
from eqprop_spice.spice.writer import instances

Series = Literal["E12", "E24", "E96"]

E24 = (
    *(1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0),
    *(3.3, 3.6, 3.9, 4.3, 4.7, 5.1, 5.6, 6.2, 6.8, 7.5, 8.2, 9.1),
)
"""The values of 5 % tolerance, which no formula gives; every second one is of E12."""

VALUES: dict[str, tuple[float, ...]] = {
    "E12": E24[::2],
    "E24": E24,
    "E96": tuple(round(10.0 ** (k / 96), 2) for k in range(96)),
}
"""Preferred values of a decade (IEC 60063)."""

USUAL = (1.0, 1e7)
"""Resistances that are on sale everywhere [ohm]."""


def preferred(resistances: np.ndarray, series: str) -> np.ndarray:
    """Return the nearest preferred resistances [ohm], by their ratio.

    Raises:
        ConfigError: If there is no such series.
    """
    if series not in VALUES:
        raise ConfigError(
            f"The series is '{series}'; it must be one of {', '.join(get_args(Series))}."
        )
    decade = np.array([*VALUES[series], 10.0 * VALUES[series][0]])
    # Between two values, at their geometric mean, the nearer one changes.
    borders = np.sqrt(decade[1:] * decade[:-1])
    exponents = np.floor(np.log10(resistances))
    mantissas = resistances / 10.0**exponents
    nearest = decade[np.searchsorted(borders, mantissas)]
    # Two digits behind the point and a power of ten: the decimal number, not a product near it.
    return np.array(
        [float(f"{m:.2f}e{int(e)}") for m, e in zip(nearest.flat, exponents.flat, strict=True)]
    ).reshape(np.shape(resistances))


def snapped(
    params: Mapping[str, Array], series: str, *, currents: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Return conductances [S] of preferred resistances.

    Args:
        params: Parameters by group name.
        series: The series of preferred values.
        currents: Names of those that are currents, which stay as they are.
    """
    return {
        name: np.asarray(values)
        if name in currents
        else 1.0 / preferred(1.0 / np.asarray(values, float), series)
        for name, values in params.items()
    }


def bill_of_materials(circuit: Circuit, params: Mapping[str, Array]) -> str:
    """Return a CSV with a row for all like parts: quantity, kind, value and names.

    Args:
        circuit: The circuit.
        params: Its parameters, snapped or not.
    """
    parts: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for kind, value, name in _parts(circuit, params):
        parts[kind, value].append(name)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["quantity", "kind", "value", "names"])
    for (kind, value), names in parts.items():
        writer.writerow([len(names), kind, value, " ".join(names)])
    return buffer.getvalue()


def _parts(circuit: Circuit, params: Mapping[str, Array]) -> Iterable[tuple[str, str, str]]:
    """Yield kind, value and name of every part, resistors first and in order of resistance."""
    resistors: list[tuple[float, str]] = []
    for group in circuit.linear_groups:
        conductances = np.ravel(np.asarray(group.conductances(params)))
        names = (f"r{group.name}_{suffix}" for suffix in group.layout.instance_names())
        resistors += zip((1.0 / conductances).tolist(), names, strict=True)
    for resistance, name in sorted(resistors, key=lambda part: part[0]):
        low, high = USUAL
        rare = "" if low <= resistance <= high else " (not on sale everywhere)"
        yield "resistor", f"{resistance:.10g} ohm{rare}", name
    for group in (*circuit.nonlinear_groups, *circuit.blocking_groups):
        for name, _, device in instances(circuit, group, {}):
            kind = type(device).__name__
            yield kind, getattr(device, "model", ""), name
    for group in circuit.supplying_groups:
        for name, _, device in instances(circuit, group, params):
            assert isinstance(device, BiasCurrent), "nothing else supplies"
            yield "current source", f"{device.amperes:.10g} A", f"i{name}"
    for group in circuit.amplifiers:
        for k, (gain, kappa) in enumerate(zip(group.gains, group.reflections, strict=True)):
            yield "amplifier", f"gain {gain:g}, reflection {kappa:g}", f"{group.name}_{k}"
    for group in circuit.sources:
        for k, (column, scale) in enumerate(zip(group.columns, group.scales, strict=True)):
            value = f"{scale:g} V" if column < 0 else f"{scale:g} x input {column}"
            yield "voltage source", value, f"v{group.name}_{k}"
