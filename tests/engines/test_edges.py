"""Circuits at the edge of what the engines solve: both find the same, or say in words why not."""

import subprocess

import numpy as np
import pytest

from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.devices.ideal import Ideal
from eqprop_spice.engines.native import Native
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.phases import Free
from eqprop_spice.settled import OperatingPoint
from eqprop_spice.spice.writer import netlist
from eqprop_spice.substrates.resistive import ResistiveNetwork
from tests.references import Layered

pytestmark = pytest.mark.ngspice

AGREEMENT = 1e-9
"""What the two engines may differ by [V]."""


def spread(layered: Layered, seed: int, lower: float, upper: float) -> dict[str, np.ndarray]:
    """Return conductances that are uniform in their logarithm [S]."""
    rng, shapes = np.random.default_rng(seed), layered.circuit().parameter_shapes()
    low, high = np.log10(lower), np.log10(upper)
    return {name: 10.0 ** rng.uniform(low, high, shape) for name, shape in shapes.items()}


def settle(layered: Layered, params, inputs) -> tuple[OperatingPoint, OperatingPoint]:
    """Return the free operating points of the native engine and of ngspice."""
    circuit = layered.circuit()
    (native,) = Native().settle(circuit, params, inputs, [Free()])
    (spice,) = NgSpice().settle(circuit, params, inputs, [Free()])
    return native, spice


def agree(layered: Layered, params, inputs) -> bool:
    """Whether both engines converge everywhere, and to the same voltages."""
    native, spice = settle(layered, params, inputs)
    assert np.asarray(native.converged).all() and spice.converged.all()
    return bool(np.abs(np.asarray(native.voltages) - spice.voltages).max() <= AGREEMENT)


@pytest.mark.parametrize("largest", [1e-4, 1e-6, 1e-8, 1e-12])
def test_ideal_diodes_between_small_conductances(largest):
    """A fixed conductance of closed diodes is too large from 1e-6 S on: ngspice gave up."""
    layered = Layered((4,), diode=Ideal(), shift=0.3)
    assert agree(layered, spread(layered, 0, largest / 100, largest), layered.inputs(0, 8))


def test_netlists_with_ideal_diodes_between_small_conductances_run(tmp_path):
    layered = Layered((4,), diode=Ideal(), shift=0.3)
    circuit, params = layered.circuit(), spread(layered, 0, 1e-10, 1e-8)
    inputs = layered.inputs(0, 1)
    (tmp_path / "free.cir").write_text(netlist(circuit, params, inputs[0], Free()))
    command = ["ngspice", "-b", "free.cir"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("v(")]
    printed = {name: float(value) for name, _, value in (line.split() for line in lines)}
    (point,) = Native().settle(circuit, params, inputs, [Free()])
    voltages = dict(zip(circuit.node_names, np.asarray(point.voltages)[0], strict=True))
    assert printed.keys() >= {f"v({name})" for name in layered.node_names()}
    for name in layered.node_names():
        assert abs(printed[f"v({name})"] - voltages[name]) <= AGREEMENT


def test_what_ngspice_cannot_solve_over_twelve_decades_is_marked():
    """100 V, 1e-8 to 1e4 S, diodes of 1 mV: its matrix loses so many digits that some fail."""
    layered, solved = Layered((4, 4), diode=PRESETS["almost_ideal"]), []
    for seed in (1, 2):
        params, inputs = spread(layered, seed, 1e-8, 1e4), layered.inputs(seed, 8, amplitude=100.0)
        native, spice = settle(layered, params, inputs)
        assert np.asarray(native.converged).all()
        close = np.abs(np.asarray(native.voltages) - spice.voltages).max(1) <= AGREEMENT
        assert (close | ~spice.converged).all()
        solved.append(bool(spice.converged.all()))
    assert solved == [True, False]


@pytest.mark.parametrize("largest", [1e-14, 1e-16])
def test_conductances_below_that_of_a_junction_at_rest(largest):
    """gmin carries more than the resistors."""
    layered = Layered((4,))
    assert agree(layered, layered.draw(0, largest / 100, largest), layered.inputs(0, 8))


def test_an_engine_says_why_a_published_circuit_may_not_settle():
    layered = Layered((4, 4), gain=-3.0, reflection="published")
    params, inputs = spread(layered, 0, 1e-5, 1e-1), layered.inputs(0, 8, amplitude=10.0)
    native, spice = settle(layered, params, inputs)
    assert spice.converged.all() and not np.asarray(native.converged).all()
    lost = int(np.flatnonzero(~np.asarray(native.converged))[0])
    network = ResistiveNetwork(layered.circuit(), Native())
    assert "kappa < 0" in network.explain(native, lost)
    assert "kappa" not in ResistiveNetwork(Layered().circuit(), Native()).explain(native, lost)
