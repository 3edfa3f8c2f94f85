"""Netlists are drawn whole: inputs on the left, outputs on the right, every element once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.deck_schematic import PREFIXES, deck_schematic, drawn, with_prefix
from eqprop_spice.results.placement import FEW, FEW_COLUMNS, PART, placement
from eqprop_spice.spice.reader import read, read_text

THREE_DIGITS = 0.005 * (1 + 1e-9)
"""Half a unit of the third digit of 1.00, and rounding."""

NETLISTS = Path(__file__).parents[1] / "spice" / "netlists"


def ladder(stages: int, width: int = 1) -> str:
    """A chain of resistors in stages, with some nodes beside each other in every stage."""
    lines = ["chain", "Vin s0_0 0 1"]
    for k in range(stages):
        for j in range(width):
            lines.append(f"R{k}_{j} s{k}_0 s{k + 1}_{j} 1k")
            lines.append(f"C{k}_{j} s{k + 1}_{j} 0 1n")
    return "\n".join([*lines, "Rload s1_0 0 1k", ".end"]) + "\n"


def test_inputs_are_left_and_outputs_right():
    deck = read(NETLISTS / "xor.cir")
    plan = placement(deck, inputs=["va", "vb"], outputs=["y"])
    assert plan.inputs == ("a", "b") and plan.outputs == ("y",)
    assert plan.rails == {"0", "vdd", "t1", "t2"}
    columns = {name: x for name, (x, _) in plan.places.items()}
    assert columns["a"] == columns["b"] == 0 == min(columns.values())
    assert columns["y"] == max(columns.values())
    # Resistors lead to the gates, and a transistor stands between gate and drain.
    assert columns["x1_g"] == 2 and columns[PART + "m1_x1"] == 3 and columns["h1"] == 4
    assert len(set(plan.places.values())) == len(plan.places)


def test_supplies_are_told_from_inputs():
    plan = placement(read(NETLISTS / "nand.cir"))
    assert plan.rails == {"0", "vcc"} and plan.inputs == ("a", "b")


@pytest.mark.parametrize(("stages", "width"), [(60, 1), (2, 40)])
def test_of_large_netlists_the_first_and_the_last_are_placed(stages, width):
    plan = placement(read_text(ladder(stages, width)))
    columns = [x for x, _ in plan.places.values()]
    assert len(set(columns)) <= FEW_COLUMNS
    assert max(columns.count(x) for x in columns) <= FEW
    assert plan.dots and "s0_0" in plan.places


@pytest.mark.parametrize("name", ["xor", "nand", "controlled", "differential_pair", "grid"])
def test_every_resistor_is_drawn_once(name, line_widths):
    deck = read(NETLISTS / f"{name}.cir")
    picture = deck_schematic(deck)
    assert b"<svg" in picture[:200]
    assert len(line_widths) == sum(e.kind == "R" for e in deck.elements)


EXPERIMENT = f"""
name = "transistors"
[dataset]
kind = "logic.Xor"
amplitude = 1.0
target = 1.0
[substrate]
kind = "netlist.Netlist"
path = '{NETLISTS / "xor.cir"}'
inputs = ["Va", "vb"]
output_nodes = [["y", "h3"]]
trainable = ["r*"]
[initializer]
kind = "uniform.Uniform"
lower = 0.5
upper = 2.0
[rule]
kind = "adjoint.Adjoint"
[optimizer]
learning_rate = 0.05
[training]
epochs = 1
"""


def test_conductances_that_learn_are_line_widths(line_widths):
    experiment = Experiment.parse(EXPERIMENT)
    drawn(experiment, experiment.initial_params())
    assert len(line_widths) == 16 and line_widths.count(1.0) == 12
    assert len({width for width in line_widths if width != 1.0}) == 4


def test_a_system_without_a_circuit_says_so():
    experiment = Experiment.load("experiments/hopfield/digits.toml")
    with pytest.raises(ConfigError, match=r"needs the layers of a \[circuit\]"):
        drawn(experiment, {})


def test_names_of_strangers_are_no_orders():
    pytest.importorskip("schemdraw")
    deck = read_text("<script>$\\frac\nV1 a$b 0 1\nR1 a$b c 1k\nR2 c 0 1k\n.end\n")
    picture = deck_schematic(deck, title=deck.title).decode()
    assert "<script" not in picture and "$" not in picture


def test_values_have_units_and_prefixes():
    shown = [with_prefix(v, "Ω") for v in (4700.0, 1e6, 0.0, 2e-7, 999.9)]
    assert shown == ["4.7 kΩ", "1 MΩ", "0 Ω", "200 nΩ", "1 kΩ"]


@given(
    st.floats(1.0, 10.0, exclude_max=True),
    st.integers(min(PREFIXES), max(PREFIXES) + 2),
    st.booleans(),
)
def test_shown_values_have_three_digits_and_no_power(mantissa, exponent, negative):
    value = (-1.0 if negative else 1.0) * mantissa * 10.0**exponent
    number, unit = with_prefix(value, "V").split(" ")
    power = {prefix: power for power, prefix in PREFIXES.items()}[unit.removesuffix("V")]
    # At the upper end there is no further prefix.
    assert ("e" in number) <= (abs(value) > 0.999e12)
    assert abs(float(number)) >= 1.0
    assert abs(float(number) * 10.0**power - value) <= THREE_DIGITS * abs(value)


def test_a_name_that_is_none_is_refused():
    pytest.importorskip("schemdraw")
    deck = read(NETLISTS / "nand.cir")
    with pytest.raises(ConfigError, match="no node 'nothing'"):
        deck_schematic(deck, outputs=["nothing"])
    with pytest.raises(ConfigError, match="no element 'vx'"):
        deck_schematic(deck, inputs=["vx"])
