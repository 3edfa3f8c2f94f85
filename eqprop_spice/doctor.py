"""What is installed, and whether it works: a test circuit against an independent solution."""

import dataclasses
import platform
from importlib import metadata

import jax
import numpy as np
from scipy.optimize import brentq

from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.layers.base import layered_circuit
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes
from eqprop_spice.phases import Free
from eqprop_spice.spice.session import Session, library_path

TOLERANCE = 1e-9
"""Largest voltage error of a healthy installation [V]."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Findings by name, and whether the test circuit solved."""

    findings: dict[str, str]
    healthy: bool


def clamp_error() -> float:
    """Return the error of ngspice on a diode clamp that bisection solves too [V]."""
    diode, shift, conductance, source = PRESETS["kiraz"], 0.3, 1e-3, 2.0
    circuit = layered_circuit(
        [Dense(1), AntiparallelDiodes(diode, shift)],
        num_inputs=1,
        num_outputs=1,
        differential=False,
    )
    params = {"dense_0": np.array([[conductance]])}
    (point,) = NgSpice().settle(circuit, params, np.array([[source]]), [Free()])

    def leaving(v: float) -> float:
        upper = diode.current(np.array(v - shift))
        lower = diode.current(np.array(-shift - v))
        return conductance * (v - source) + float(upper) - float(lower)

    exact = brentq(leaving, 0.0, source, xtol=1e-15, rtol=np.float64(1e-15))
    assert isinstance(exact, float)
    return abs(float(circuit.outputs(point.voltages)[0, 0]) - exact)


def diagnose() -> Report:
    """Return what is installed, and the result of the test circuit."""
    error = clamp_error()
    healthy = error <= TOLERANCE
    packages = ("eqprop_spice", "PySpice", "numpy", "scipy", "jax", "optax", "xarray")
    findings = {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
        "devices of JAX": ", ".join(str(device) for device in jax.devices()),
        "ngspice library": library_path(),
        "ngspice version": Session.do(lambda session: session.version),
        "test circuit": f"error {error:.1e} V ({'good' if healthy else 'BAD'}, "
        f"limit {TOLERANCE:.0e} V)",
    }
    return Report(findings, healthy)
