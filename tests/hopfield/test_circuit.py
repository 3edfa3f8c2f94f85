import os
import re
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from eqprop_spice.costs.squared_error import SquaredError
from eqprop_spice.errors import ConfigError, NetlistError
from eqprop_spice.hopfield.layers import Convolution, Dense
from eqprop_spice.phases import Displacement, Force, Free, Spring
from eqprop_spice.rules.adjoint import Adjoint
from eqprop_spice.rules.coupled_learning import CoupledLearning
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation
from eqprop_spice.substrates.hopfield import Hopfield
from tests.hopfield.networks import NETWORKS, draw

STATE_TOLERANCE = 1e-12
"""ngspice's vntol is 1e-13, and once its switches are right the circuit is linear."""

REST_TOLERANCE = 1e-6
"""What is left after the simulated time, and of the errors of its steps; 2e-13 was seen."""

COST = SquaredError()

FOLDER = Path(__file__).parents[2] / "netlists" / "hopfield"
"""EQPROP_UPDATE_GOLDEN=1 writes its files anew."""

SIZES = {
    "20-16-12-4": Hopfield((Dense(16), Dense(12)), num_inputs=20, num_outputs=4, tolerance=1e-14),
    "64-24-10": Hopfield((Dense(24),), num_inputs=64, num_outputs=10, tolerance=1e-14),
    "skips": NETWORKS["skips"],
    "clipped outputs": NETWORKS["clipped outputs"],
}


@pytest.mark.ngspice
@pytest.mark.parametrize("name", SIZES)
def test_the_operating_point_is_the_state(name):
    network = SIZES[name]
    params, inputs, targets = draw(network, 0, samples=2)
    phases = [
        Free(),
        Spring(0.25, targets),
        Spring(-0.25, targets),
        Force(0.1 * targets),
        Displacement(COST, targets, 0.25),
    ]
    native = jax.jit(lambda params: network.settle(params, inputs, phases))(params)
    circuit = network.reference()
    for settled, found in zip(native, circuit.settle(params, inputs, phases), strict=True):
        assert found.converged.all()
        assert found.state[0].shape == settled.state[0].shape
        for part, expected in zip(found.state, settled.state, strict=True):
            np.testing.assert_allclose(part, expected, rtol=0, atol=STATE_TOLERANCE)


@pytest.mark.ngspice
@pytest.mark.parametrize(
    "rule",
    [EquilibriumPropagation("centered", 0.01, "live"), CoupledLearning("centered", 0.25)],
    ids=lambda rule: type(rule).__name__,
)
def test_gradients_from_the_circuit(rule):
    network = SIZES["20-16-12-4"]
    params, inputs, targets = draw(network, 0, samples=2)
    found = rule(network.reference(), params, inputs, targets, COST)
    assert found.converged.all()
    expected = jax.jit(lambda params: rule(network, params, inputs, targets, COST).gradient)(params)
    for group in params:
        # The difference of states, divided by the distance of perturbations.
        np.testing.assert_allclose(
            found.gradient[group], expected[group], rtol=0, atol=1e2 * STATE_TOLERANCE
        )


@pytest.mark.ngspice
def test_equilibrium_propagation_in_the_circuit_is_the_exact_gradient():
    network = SIZES["64-24-10"]
    params, inputs, targets = draw(network, 0, samples=2)
    rule = EquilibriumPropagation("centered", 0.01, "live")
    found = rule(network.reference(), params, inputs, targets, COST)
    exact = jax.jit(lambda params: Adjoint()(network, params, inputs, targets, COST).gradient)(
        params
    )
    for group in params:
        a, b = (np.ravel(np.asarray(g[group])) for g in (found.gradient, exact))
        assert a @ b > 0.9999 * np.linalg.norm(a) * np.linalg.norm(b), group


@pytest.mark.ngspice
def test_plain_ngspice_reads_the_netlist(tmp_path):
    network = SIZES["clipped outputs"]
    params, inputs, targets = draw(network, 0, samples=1)
    phase = Spring(0.25, targets)
    path = tmp_path / "network.cir"
    path.write_text(network.netlist(params, inputs, phase, "any title"))
    printed = subprocess.run(
        ["ngspice", "-b", str(path)], capture_output=True, text=True, check=True
    ).stdout
    found = dict(re.findall(r"^v\((s\d+_\d+)\) = (\S+)", printed, re.MULTILINE))
    _, nudged = jax.jit(lambda params: network.settle(params, inputs, [Free(), phase]))(params)
    for layer, part in enumerate(nudged.state, 1):
        for unit, value in enumerate(np.asarray(part)[0]):
            assert float(found[f"s{layer}_{unit}"]) == pytest.approx(value, abs=STATE_TOLERANCE)


@pytest.mark.ngspice
def test_the_circuit_comes_to_rest_in_the_state(tmp_path):
    network = SIZES["20-16-12-4"]
    params, inputs, targets = draw(network, 0, samples=1)
    phase = Spring(-0.25, targets)
    text = network.netlist(params, inputs, phase, "transient")
    # From zero volts, for 100 time constants; then the last point.
    text = text.replace("\nop\n", "\ntran 0.1n 100n uic\nlet last = length(time) - 1\n")
    path = tmp_path / "network.cir"
    path.write_text(re.sub(r"print (v\(\w+\))", r"print \1[last]", text))
    printed = subprocess.run(
        ["ngspice", "-b", str(path)], capture_output=True, text=True, check=True
    ).stdout
    found = dict(re.findall(r"^v\((s\d+_\d+)\)\[last\] = (\S+)", printed, re.MULTILINE))
    _, nudged = jax.jit(lambda params: network.settle(params, inputs, [Free(), phase]))(params)
    for layer, part in enumerate(nudged.state, 1):
        for unit, value in enumerate(np.asarray(part)[0]):
            assert float(found[f"s{layer}_{unit}"]) == pytest.approx(value, abs=REST_TOLERANCE)


def test_text_equals_the_golden_file():
    network = Hopfield((Dense(2),), num_inputs=2, num_outputs=1)
    params = {"weight_1": np.array([[0.5, -0.25], [1.0, 0.0]]), "bias_1": np.array([0.0, 0.5])}
    params |= {"weight_2": np.array([[0.75], [-1.5]]), "bias_2": np.array([0.125])}
    text = network.netlist(params, np.array([[1.0, -2.0]]), Spring(0.25, np.ones((1, 1))), "dense")
    path = FOLDER / "dense_nudged.cir"
    if os.environ.get("EQPROP_UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert path.read_text() == text


def test_a_title_cannot_hold_a_command():
    network = SIZES["64-24-10"]
    params, inputs, _ = draw(network, 0, samples=1)
    text = network.netlist(params, inputs, Free(), "a\n.control\nshell date\n.endc")
    assert text.count(".control") == 1
    assert text.splitlines()[0] == "* eqprop_spice a control shell date endc in the free phase"
    params["weight_1"][0, 0] = np.inf
    with pytest.raises(NetlistError, match="finite"):
        network.netlist(params, inputs, Free(), "a")


def test_maxima_have_no_circuit():
    network = NETWORKS["max pooling"]
    assert not network.abilities & {"netlist", "reference"}
    with pytest.raises(ConfigError, match="pools maxima"):
        network.reference().check()
    averages = Hopfield(
        (Convolution(2, pool="average"),), image=(1, 6, 6), num_inputs=36, num_outputs=2
    )
    assert averages.abilities >= {"netlist", "reference"}
