"""The charge of a junction, against ngspice's own diode."""

import numpy as np
import pytest

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.drives import Segment
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.devices.depletion import DepletionCapacitance
from eqprop_spice.devices.diode import Shockley
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.transient import Transient
from eqprop_spice.errors import ConfigError
from eqprop_spice.spice.waveforms import transient_netlist
from tests.references import run_transient

NGSPICE = 1e-5
"""What ngspice errs by at its tolerances and 5000 steps, and we at ours [V]. With four times the
steps the distance is ten times smaller."""


@pytest.mark.ngspice
def test_a_diode_with_it_is_ngspices_diode_with_cjo(tmp_path) -> None:
    """From far in reverse to beyond half the potential, where the law changes."""
    builder = CircuitBuilder()
    x, n = builder.add_nodes("x", 1), builder.add_nodes("n", 1)
    builder.add_inputs("x", x, np.arange(1))
    builder.add_pairs("r", Resistor(), x, n)
    builder.add_pairs("d", Shockley("some", 1e-14), n, [GROUND])
    builder.add_pairs("charge", DepletionCapacitance("layer", 1e-12, 0.8, 0.4), n, [GROUND])
    circuit = builder.build([(n[0], GROUND)], num_inputs=1)
    params = {"r": np.array([1e-3])}
    segments = [Segment(5e-9, np.array([[v]])) for v in (-3.0, 0.9, -1.0)]
    found = Transient().solve(circuit, params, segments)
    assert np.ptp(found.outputs) > 3.5 and found.outputs.max() > 0.5
    ours = transient_netlist(circuit, params, segments, points=5000)
    card = next(line for line in ours.splitlines() if line.startswith("dcharge"))
    model = ".model some d(is=1e-14 n=1.0)"
    own = ours.replace(card, "").replace(model, f"{model[:-1]} cjo=1e-12 vj=0.8 m=0.4)")
    assert "cjo" in own
    for text in (ours, own):
        times, voltages = run_transient(text, tmp_path)
        difference = np.abs(found.at(times)[0][:, circuit.free_nodes] - voltages)
        assert difference.max() < NGSPICE


@pytest.mark.parametrize(
    ("values", "match"),
    [((0.0,), "farads 0.0"), ((1e-12, -0.7), "potential -0.7"), ((1e-12, 0.7, 1.0), "grading 1.0")],
)
def test_what_is_no_junction_is_refused(values, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        DepletionCapacitance("layer", *values)


def test_names_that_ngspice_would_execute_are_refused() -> None:
    with pytest.raises(ConfigError, match="not allowed"):
        DepletionCapacitance("m\n.control", 1e-12)
