import numpy as np
import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.sweeps.axes import sweep_of

BASE = """
name = "demo"
seed = 3

[dataset]
kind = "logic.Xor"

[circuit]
doubled_inputs = true

[[circuit.layers]]
kind = "dense.Dense"
num_outputs = 4
bias = [4.0, -4.0]

[[circuit.layers]]
kind = "diodes.AntiparallelDiodes"
diode = "kiraz"

[[circuit.layers]]
kind = "amplifier.BidirectionalAmplifier"
gain = 4.0

[[circuit.layers]]
kind = "dense.Dense"

[initializer]
kind = "uniform.Uniform"

[rule]
kind = "equilibrium_propagation.EquilibriumPropagation"
beta = 1e-4

[optimizer]
learning_rate = 0.5

[training]
epochs = 5

[goal]
max_error = 0.1
"""


def sweep(table: str):
    return sweep_of(Experiment.parse(f"{BASE}\n[sweep]\n{table}", source="demo.toml"))


def test_the_product_of_the_axes_covers_every_combination_once():
    found = sweep("alpha = [0.1, 0.2]\nbeta = [1e-5, 1e-4, 1e-3]\nstart = { seeds = 2 }")
    assert found.shape == (2, 3, 2)
    assert [axis.name for axis in found.axes] == ["alpha", "beta", "start"]
    every = [tuple(found.values(cell).values()) for cell in range(found.num_cells)]
    assert len(set(every)) == 12
    assert set(every) == {(a, b, s) for a in (0.1, 0.2) for b in (1e-5, 1e-4, 1e-3) for s in (0, 1)}


def test_a_cell_is_the_experiment_with_its_values():
    found = sweep('alpha = [0.1]\nbeta = [1e-3]\n"circuit.layers.2.gain" = [2.0, 3.0]')
    table = found.cell(1).table
    assert table.optimizer.learning_rate == 0.1
    assert table.rule["beta"] == 1e-3
    assert table.circuit is not None
    assert table.circuit.layers[2]["gain"] == 3.0
    assert found.axes[2].name == "gain"


def test_an_unquoted_dotted_key_is_the_same_axis():
    quoted = sweep('"rule.variant" = ["positive", "centered"]')
    unquoted = sweep('rule.variant = ["positive", "centered"]')
    assert quoted.axes == unquoted.axes
    assert quoted.axes[0].labels == ("positive", "centered")


@pytest.mark.parametrize(
    ("specification", "values"),
    [
        ("{ logspace = [1e-7, 1e-1, 7] }", [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        ("{ linspace = [0.5, 1.0, 3] }", [0.5, 0.75, 1.0]),
        ("{ values = [0.25, 0.5] }", [0.25, 0.5]),
    ],
)
def test_spaced_values_are_exact_numbers(specification, values):
    assert list(sweep(f"beta = {specification}").axes[0].labels) == values


def test_seeds_count_from_zero():
    assert sweep("start = { seeds = 4 }").axes[0].labels == (0, 1, 2, 3)


def test_zipped_axes_are_walked_together():
    found = sweep('alpha = [0.1, 0.2]\nbeta = [1e-5, 1e-4]\nstart=[0]\nzip = [["alpha", "beta"]]')
    assert found.shape == (2, 1)
    assert found.axes[0].name == "alpha_beta"
    assert [tuple(found.values(c).values()) for c in (0, 1)] == [(0.1, 1e-5, 0), (0.2, 1e-4, 0)]


def test_the_order_of_the_axes_is_that_of_the_file_that_is_written():
    found = sweep('alpha = { logspace = [1e-3, 1e-1, 3] }\n"rule.variant" = ["positive"]')
    again = sweep_of(Experiment.parse(found.text))
    assert [axis.name for axis in again.axes] == [axis.name for axis in found.axes]
    assert again.shape == found.shape


def test_cases_are_named_sets_of_values():
    found = sweep(
        "[sweep.remedy.cases]\nnone = {}\n"
        'tight = { ngspice.reltol = 1e-9, "rule.variant" = "positive", beta = 1e-3 }\n'
        'gates = { dataset = { kind = "logic.Gates" } }'
    )
    assert found.axes[0].labels == ("none", "tight", "gates")
    assert found.cell(0).table.ngspice.reltol == Experiment.parse(BASE).table.ngspice.reltol
    assert found.cell(1).table.ngspice.reltol == 1e-9
    assert found.cell(1).rule.variant == "positive"
    assert found.cell(1).rule.beta == 1e-3
    assert found.cell(2).data.num_outputs == 3


def test_values_that_are_tables_have_text_labels():
    found = sweep(
        '"circuit.layers.1.diode" = ["kiraz", { model = "d", saturation_current = 1e-9 }]'
    )
    assert found.axes[0].name == "diode"
    assert isinstance(found.axes[0].labels[1], str)
    assert found.cell(1).circuit.groups[1].device.saturation_current == 1e-9  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "there is no axis"),
        ("beta = []", "sweep.beta: the axis is empty"),
        ("beta = [1e-4, 1e-4]", "the value 0.0001 stands there twice"),
        ("betta = [1.0]", "axis 'betta' at 1.0: .*unknown key"),
        ("rule.betta = [1.0]", "Did you mean 'beta'"),
        ('"circuit.layers.9.gain" = [1.0]', "'9' is no position of a list of 4"),
        ("beta = [1e-4, 0.0]", "axis 'beta' at 0.0: .*must be finite and positive"),
        ("beta = 1e-4", "expected a list, or a table with one of"),
        ("beta = { logspace = [0.0, 1.0, 3] }", "both ends above zero"),
        ("beta = { logspace = [1.0, 3] }", r"expected \[first, last, how many\]"),
        ("beta = { linspace = [1.0, 2.0, 2.5] }", "how many"),
        ("start = { seeds = 0 }", "a whole number above zero"),
        ("start = { seeds = true }", "a whole number above zero"),
        ("beta = { seeds = 2 }\nstart = [0]", "axis 'beta' at 0"),
        ("remedy = { cases = {} }", "at least one label"),
        ("remedy = { cases = { a = 3 } }", "cases.a: expected a table"),
        ('beta = [1e-4]\n"rule.beta" = [1e-3]', "two axes vary or are named 'beta'"),
        ("beta = [1e-4]\nremedy = { cases = { a = { rule.beta = 1.0 } } }", "'rule.beta'"),
        ('"training.loss" = [1]', "cannot be named 'loss'"),
        ('beta = [1e-4]\nzip = [["beta", "alhpa"]]', "there is no axis 'alhpa'"),
        ('beta = [1e-4]\nalpha = [0.1, 0.2]\nzip = [["beta", "alpha"]]', "same number of values"),
        ("beta = [1e-4]\ntime_limit = 0.0", "time_limit: expected a number of seconds"),
        ("beta = [1e-4]\nattempts = 1.5", "attempts: expected a whole number"),
    ],
)
def test_bad_axes_are_refused(table, message):
    with pytest.raises(ConfigError, match=message):
        sweep(table)


def test_a_sweep_needs_its_table_and_a_goal():
    with pytest.raises(ConfigError, match=r"no \[sweep\] table"):
        sweep_of(Experiment.parse(BASE))
    without = BASE.replace("[goal]\nmax_error = 0.1\n", "") + "\n[sweep]\nbeta = [1e-4]"
    with pytest.raises(ConfigError, match=r"has no \[goal\]"):
        sweep_of(Experiment.parse(without))


def test_training_ignores_the_table_and_keeps_it():
    text = f"{BASE}\n[sweep]\nbeta = {{ logspace = [1e-7, 1e-3, 5] }}"
    experiment = Experiment.parse(text)
    assert experiment.table.rule["beta"] == 1e-4
    again = Experiment.parse(experiment.to_toml())
    assert sweep_of(again).shape == (5,)


def test_the_largest_number_of_epochs_of_any_cell_counts():
    assert sweep('"training.epochs" = [3, 9]').num_epochs == 9
    assert sweep('"training.epochs" = [3, 4]').num_epochs == 5
    assert np.prod(sweep('"training.epochs" = [3, 4]').shape) == 2


@pytest.mark.parametrize("value", ["5", '"beta"', '["beta"]', "[[]]", "true"])
def test_a_zip_that_is_no_list_of_lists_is_refused(value):
    with pytest.raises(ConfigError, match=r"sweep\.zip: (expected a list of lists|axes walked)"):
        sweep(f"beta = [1e-4]\nzip = {value}")
