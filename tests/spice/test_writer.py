"""Netlists: golden files, plain ngspice, and nothing of a user's text in them.

Set EQPROP_UPDATE_GOLDEN=1 to write the golden files anew; look at the difference before a commit.
"""

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqprop_spice.circuits.builder import CircuitBuilder
from eqprop_spice.circuits.circuit import Circuit
from eqprop_spice.circuits.layouts import GROUND
from eqprop_spice.devices.base import AbstractTwoTerminal
from eqprop_spice.devices.diode import PRESETS
from eqprop_spice.devices.resistor import Resistor
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import NetlistError
from eqprop_spice.layers.amplifier import BidirectionalAmplifier
from eqprop_spice.layers.base import AbstractLayer, layered_circuit
from eqprop_spice.layers.bias_currents import BiasCurrents
from eqprop_spice.layers.convolution import Convolution, LocallyConnected
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.diodes import AntiparallelDiodes, Rectifier
from eqprop_spice.layers.pooling import AveragePool
from eqprop_spice.phases import AbstractPhase, Force, Free, Spring
from eqprop_spice.spice.writer import netlist, number
from tests.references import KIRAZ, Kind, Layered, run_ngspice

FOLDER = Path(__file__).parents[2] / "netlists"

SOLVER = 1e-9
"""Voltage error [V] between solvers whose Newton steps end below 1e-10 of the voltages."""

POWER = 1e-9
"""Sum of all powers that ngspice reports, relative to the sum of their magnitudes."""

SEED = 0
BETA = 1e-4


@dataclasses.dataclass(frozen=True)
class Case:
    """One golden netlist: a circuit with its conductances, inputs and phase."""

    circuit: Circuit
    params: dict[str, np.ndarray]
    inputs: np.ndarray
    phase: AbstractPhase
    title: str

    def text(self) -> str:
        return netlist(self.circuit, self.params, self.inputs, self.phase, title=self.title)


def one_device(device: AbstractTwoTerminal, title: str) -> Case:
    """Return a device from a node to ground, behind 1 kohm and 2 V."""
    builder = CircuitBuilder()
    source, node = builder.add_nodes("x", 1), builder.add_nodes("n", 1)
    builder.add_inputs("x", source, np.arange(1))
    builder.add_pairs("series", Resistor(), source, node)
    builder.add_pairs("device", device, node, [GROUND])
    circuit = builder.build([(int(node[0]), GROUND)], num_inputs=1)
    params = {name: np.array([1e-3]) for name in circuit.parameter_shapes()}
    if "device" in params:
        params["device"] = np.array([2e-3])
    return Case(circuit, params, np.array([2.0]), Free(), title)


def layers(*some: AbstractLayer, title: str, inputs: tuple[float, ...] = (-2.0, 1.5)) -> Case:
    """Return layers in a row with seeded conductances."""
    circuit = layered_circuit(some, num_inputs=len(inputs), num_outputs=1)
    rng = np.random.default_rng(SEED)
    params = {n: rng.uniform(1e-3, 1e-2, s) for n, s in circuit.parameter_shapes().items()}
    return Case(circuit, params, np.array(inputs), Free(), title)


IMAGE = (-2.0, 1.5, 1.0, -1.0, 0.5, 2.0)
"""Two rows of three pixels [V]."""


def amplifier(kind: Kind, *, inverted: bool = False) -> Case:
    """Return one amplifier layer between two dense layers."""
    return layers(
        Dense(2),
        BidirectionalAmplifier(4.0, kind, inverted),
        Dense(2),
        title=f"amplifier layer, {kind}" + (", with inverted outputs" if inverted else ""),
    )


def case_1(*, nudged: bool) -> Case:
    """Return the paper's circuit: V0 = -2 V, V1 = 2 V, bias 1 V, target 1 V."""
    layered = Layered((2,), bias=(1.0,))
    circuit = layered_circuit(
        [
            Dense(2, (1.0,)),
            AntiparallelDiodes(KIRAZ, 0.3),
            BidirectionalAmplifier(4.0, "kendall"),
            Dense(2),
        ],
        num_inputs=2,
        num_outputs=1,
    )
    rng = np.random.default_rng(SEED)
    params = {n: rng.uniform(1e-4, 1e-1, s) for n, s in circuit.parameter_shapes().items()}
    inputs = np.array([-2.0, 2.0])
    phase: AbstractPhase = Free()
    if nudged:
        # The outputs of an independent solver, in microvolts: the golden text must not depend on
        # the last digits of any solver.
        output = round(float(reference(layered, params, inputs, phase)["output"]), 6)
        phase = Force(np.array([[BETA * (1.0 - output)]]))
    return Case(circuit, params, inputs, phase, "case 1")


def reference(layered: Layered, params, inputs, phase: AbstractPhase) -> dict[str, float]:
    """Return voltages of the paper's circuit by the independent Newton method."""
    # The paper's second layer has no bias: an almost open resistor to a source of zero volts.
    full = params | {"dense_3": np.vstack([params["dense_3"], np.full((1, 2), 1e-30)])}
    u = layered.solve(full, inputs[None], phase.source_currents(1, 1), float(phase.conductance))[0]
    voltages = dict(zip(layered.node_names(), u.tolist(), strict=True))
    return voltages | {"output": float(layered.read(u)[0])}


CASES: dict[str, Callable[[], Case]] = {
    "device_resistor": lambda: one_device(Resistor(), "two resistors"),
    "device_diode": lambda: one_device(KIRAZ, "diode"),
    "device_diode_rs": lambda: one_device(PRESETS["d1n4148"], "diode with series resistance"),
    "layer_dense": lambda: layers(Dense(2, (1.0,)), title="dense layer with a bias"),
    "layer_antiparallel_diodes": lambda: layers(
        Dense(2), AntiparallelDiodes(KIRAZ, 0.3), title="antiparallel diodes"
    ),
    "layer_rectifier": lambda: layers(Dense(2), Rectifier(KIRAZ, 0.1), title="rectifier"),
    "layer_amplifier_transformer": lambda: amplifier("transformer"),
    "layer_amplifier_kendall": lambda: amplifier("kendall"),
    "layer_amplifier_published": lambda: amplifier("published"),
    "layer_amplifier_inverted": lambda: amplifier("kendall", inverted=True),
    "layer_amplifier_offset": lambda: layers(
        Dense(2),
        BidirectionalAmplifier(4.0, 1.0, offset=0.05),
        Dense(2),
        title="amplifier layer, reflection 1 and an offset of 50 mV",
    ),
    "layer_bias_currents": lambda: layers(
        Dense(2), BiasCurrents(), title="bias currents at both nodes of a dense layer"
    ),
    "layer_convolution": lambda: layers(
        Convolution((2, 3), 1, (2, 2), stride=2, padding=1, bias=(1.0,)),
        Dense(2),
        title="convolution with zero padding and a bias",
        inputs=IMAGE,
    ),
    "layer_locally_connected": lambda: layers(
        LocallyConnected((2, 3), 1, (2, 2)), title="locally connected layer", inputs=IMAGE
    ),
    "layer_average_pool": lambda: layers(
        Convolution((2, 3), 2, (1, 2)),
        AveragePool((2, 2), (2, 2), 1e-2),
        title="average pool of two channels behind a convolution",
        inputs=IMAGE,
    ),
    "case_1_free": lambda: case_1(nudged=False),
    "case_1_nudged": lambda: case_1(nudged=True),
}

cases = pytest.mark.parametrize("name", CASES)


@cases
def test_text_equals_the_golden_file(name):
    path, text = FOLDER / f"{name}.cir", CASES[name]().text()
    if os.environ.get("EQPROP_UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert path.read_text() == text


def test_every_file_has_a_case_and_a_line_in_the_readme():
    files = {path.stem for path in FOLDER.glob("*.cir")}
    assert files == set(CASES)
    readme = (FOLDER / "README.md").read_text()
    assert {name for name in files if f"`{name}.cir`" not in readme} == set()


@pytest.mark.ngspice
@cases
def test_plain_ngspice_prints_what_the_library_engine_finds(name, tmp_path):
    case = CASES[name]()
    printed = run_ngspice((FOLDER / f"{name}.cir").read_text(), tmp_path)
    circuit = case.circuit
    (point,) = NgSpice().settle(circuit, case.params, case.inputs[None], [case.phase])
    assert point.converged.all()
    free = {circuit.node_names[n] for n in circuit.free_nodes}
    assert {key.removeprefix("v(").removesuffix(")") for key in printed} == free
    for node in circuit.free_nodes:
        value = printed[f"v({circuit.node_names[node]})"]
        assert value == pytest.approx(point.voltages[0, node], rel=0.0, abs=SOLVER)


@pytest.mark.ngspice
@pytest.mark.parametrize("name", ["case_1_free", "case_1_nudged"])
def test_plain_ngspice_solves_the_equations_of_the_papers_circuit(name, tmp_path):
    case = CASES[name]()
    printed = run_ngspice((FOLDER / f"{name}.cir").read_text(), tmp_path)
    expected = reference(Layered((2,)), case.params, case.inputs, case.phase)
    for node in Layered((2,)).node_names():
        assert printed[f"v({node})"] == pytest.approx(expected[node], rel=0.0, abs=SOLVER)


@pytest.mark.ngspice
@pytest.mark.parametrize("name", ["device_diode_rs", "layer_rectifier", "case_1_nudged"])
def test_the_powers_that_ngspice_reports_sum_to_zero(name, tmp_path):
    """Tellegen's theorem, by the power that ngspice itself assigns to every device."""
    text = CASES[name]().text()
    devices = re.findall(r"(?m)^([rdvefi]\w+) ", text.split(".control")[0])
    prints = "\n".join(f"print @{device}[p]" for device in devices)
    printed = run_ngspice(text.replace("quit 0", f"{prints}\nquit 0"), tmp_path)
    powers = [value for key, value in printed.items() if key.endswith("[p]")]
    assert len(powers) == len(devices) >= 3
    assert abs(sum(powers)) <= POWER * sum(abs(p) for p in powers)


@pytest.mark.ngspice
@pytest.mark.parametrize("stiffness", [2e-3, -1e-3])
@pytest.mark.parametrize("differential", [True, False])
def test_spring_is_a_conductance_to_the_target(stiffness, differential, tmp_path):
    layered = Layered((2,), differential=differential)
    params, inputs = layered.draw(1), layered.inputs(2, 1)
    phase = Spring(stiffness, np.array([[0.7]]))
    text = netlist(layered.circuit(), params, inputs[0], phase)
    printed = run_ngspice(text, tmp_path)
    u = layered.solve(params, inputs, phase.source_currents(1, 1), stiffness)[0]
    for node, value in zip(layered.node_names(), u, strict=True):
        assert printed[f"v({node})"] == pytest.approx(value, rel=0.0, abs=SOLVER)


EVIL = [
    "x\n.control\nshell touch pwned\n.endc",
    "x\r.control\rshell touch pwned\r.endc",
    "`touch pwned`",
    "$(touch pwned) ; touch pwned",
    "*#shell touch pwned",
    ".include /etc/passwd",
    "x\u2028.end",
    "ünïcode",
]


@pytest.mark.parametrize("title", EVIL)
def test_titles_become_letters_digits_and_blanks(title):
    case = CASES["device_resistor"]()
    plain = netlist(case.circuit, case.params, case.inputs, Free(), title="x")
    text = netlist(case.circuit, case.params, case.inputs, Free(), title=title)
    first, _, rest = text.partition("\n")
    assert rest == plain.partition("\n")[2]
    assert re.fullmatch(r"\* eqprop_spice [A-Za-z0-9 ]*in the free phase", first)


@pytest.mark.ngspice
@pytest.mark.parametrize("title", EVIL[:5])
def test_titles_execute_nothing(title, tmp_path):
    case = CASES["device_resistor"]()
    text = netlist(case.circuit, case.params, case.inputs, Free(), title=title)
    assert run_ngspice(text, tmp_path)["v(n_0)"] == pytest.approx(2.0 / 3.0)
    assert not list(tmp_path.rglob("pwned"))


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_numbers_round_trip_without_suffixes(value):
    for some in (value, -value, np.float64(value), np.float64(-value)):
        text = number(some)
        assert float(text) == some
        assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", text)


def test_arrays_of_any_float_type_are_written_as_plain_numbers():
    case = CASES["case_1_free"]()
    assert "np." not in case.text() and "(" not in case.text().split(".control")[0].replace(
        "d(is=", ""
    ).replace("v(", "")
    integers = netlist(case.circuit, case.params, np.array([-2, 2]), Free(), title=case.title)
    assert integers == case.text()


@pytest.mark.parametrize("value", [0.0, -1e-3, np.nan, np.inf])
def test_bad_conductances_are_never_written(value):
    case = CASES["case_1_free"]()
    params = case.params | {"dense_0": np.full((3, 2), value)}
    with pytest.raises(NetlistError, match=r"dense_0\[0, 0\]"):
        netlist(case.circuit, params, case.inputs, Free())


def test_bad_inputs_are_never_written():
    case = CASES["case_1_free"]()
    with pytest.raises(NetlistError, match="not a finite voltage"):
        netlist(case.circuit, case.params, np.array([0.0, np.nan]), Free())
    with pytest.raises(NetlistError, match=r"\(batch, 2\)"):
        netlist(case.circuit, case.params, np.zeros(3), Free())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_nudges_are_never_written(value):
    case = CASES["case_1_free"]()
    for phase in (Force(np.array([[value]])), Spring(value, np.ones((1, 1)))):
        with pytest.raises(NetlistError):
            netlist(case.circuit, case.params, case.inputs, phase)
