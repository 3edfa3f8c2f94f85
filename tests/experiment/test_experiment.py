import math
import os
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.errors import LONGEST, ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.gradients.comparison import worst_error
from eqprop_spice.rules.adjoint import Adjoint

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES = sorted(EXPERIMENTS.rglob("*.toml"))

BASE = """\
name = "demo"
seed = 3

[dataset]
kind = "logic.Xor"
amplitude = 2.0

[circuit]
doubled_inputs = true

[[circuit.layers]]
kind = "dense.Dense"
num_outputs = 4
bias = [4.0, -4.0]

[[circuit.layers]]
kind = "diodes.AntiparallelDiodes"
diode = "kiraz"
shift = 0.1

[[circuit.layers]]
kind = "amplifier.BidirectionalAmplifier"
gain = 4.0
reflection = "kendall"

[[circuit.layers]]
kind = "dense.Dense"

[initializer]
kind = "uniform.Uniform"
lower = 1e-4
upper = 1e-2

[rule]
kind = "equilibrium_propagation.EquilibriumPropagation"
beta = 1e-4

[cost]
kind = "squared_error.SquaredError"

[optimizer]
kind = "sgd"
learning_rate = 0.5
options = { momentum = 0.9 }

[constraint]
kind = "box.Box"
lower = 1e-4
upper = 1e-1

[training]
epochs = 5

[goal]
max_error = 0.1
"""


def refusal(old: str, new: str) -> tuple[str, int]:
    """Return the message for BASE with one fragment replaced, and the line of the replacement."""
    assert BASE.count(old) >= 1, f"{old!r} is not in BASE"
    text = BASE.replace(old, new, 1)
    with pytest.raises(ConfigError) as caught:
        Experiment.parse(text, source="demo.toml")
    return str(caught.value), BASE[: BASE.index(old)].count("\n") + 1


def overridden(*assignments: str) -> Experiment:
    return Experiment.parse(BASE, source="demo.toml", overrides=list(assignments))


def test_the_base_of_these_tests_is_accepted():
    experiment = Experiment.parse(BASE)
    assert experiment.table.name == "demo"
    assert experiment.circuit.num_outputs == 1


@pytest.mark.parametrize(
    ("old", "new", "key", "nearest"),
    [
        ("seed", "sed", "sed", "seed"),
        ("[training]", "[trainning]", "trainning", "training"),
        ("[goal]", "[gaol]", "gaol", "goal"),
        ("epochs", "epoch", "training.epoch", "epochs"),
        ("max_error", "max_eror", "goal.max_eror", "max_error"),
        ("learning_rate", "learning_rat", "optimizer.learning_rat", "learning_rate"),
        ("doubled_inputs", "doubled_input", "circuit.doubled_input", "doubled_inputs"),
        ("num_outputs", "num_output", "circuit.layers.0.num_output", "num_outputs"),
        ("shift", "shif", "circuit.layers.1.shif", "shift"),
        ("gain", "gian", "circuit.layers.2.gian", "gain"),
        ("amplitude", "amplitud", "dataset.amplitud", "amplitude"),
        ("beta", "betta", "rule.betta", "beta"),
        ("lower", "lowest", "initializer.lowest", "lower"),
    ],
)
def test_a_mistyped_key_names_line_and_nearest(old, new, key, nearest):
    message, line = refusal(old, new)
    assert message.startswith(f"demo.toml, line {line}, {key}: unknown key.")
    assert f"Did you mean '{nearest}'?" in message


def test_a_key_like_no_other_names_the_valid_ones():
    message, line = refusal("epochs = 5", "epochs = 5\nzzz = 1")
    assert f"line {line + 1}, training.zzz: unknown key. Valid: batch_size, epochs" in message


def test_a_mistyped_optimizer_option_is_refused():
    message, line = refusal("momentum", "momentun")
    assert f"line {line}, optimizer.options" in message
    assert "momentun" in message


@pytest.mark.parametrize(
    ("old", "new", "key", "expected"),
    [
        ("epochs = 5", 'epochs = "5"', "training.epochs", "a whole number, got '5'"),
        ("epochs = 5", "epochs = 5.5", "training.epochs", "a whole number, got 5.5"),
        ("epochs = 5", "epochs = true", "training.epochs", "a whole number, got true"),
        ("seed = 3", "seed = 3.0", "seed", "a whole number, got 3.0"),
        ("num_outputs = 4", "num_outputs = 4.0", "circuit.layers.0.num_outputs", "a whole number"),
        ("num_outputs = 4", "num_outputs = true", "circuit.layers.0.num_outputs", "a whole number"),
        ("bias = [4.0, -4.0]", "bias = 4.0", "circuit.layers.0.bias", "a list, got 4.0"),
        ("-4.0]", '"4"]', "circuit.layers.0.bias.1", "a number, got '4'"),
        ("gain = 4.0", "gain = true", "circuit.layers.2.gain", "a number, got true"),
        ("gain = 4.0", 'gain = "4"', "circuit.layers.2.gain", "a number, got '4'"),
        ("amplitude = 2.0", 'amplitude = "2"', "dataset.amplitude", "a number, got '2'"),
        ("beta = 1e-4", 'beta = "1e-4"', "rule.beta", "a number, got '1e-4'"),
        ("learning_rate = 0.5", "learning_rate = false", "optimizer.learning_rate", "a number"),
        ("= 0.9", '= "much"', "optimizer.options.momentum", "a number, got 'much'"),
        ("doubled_inputs = true", "doubled_inputs = 1", "circuit.doubled_inputs", "true or false"),
        ('name = "demo"', "name = 3", "name", "a text in quotes, got 3"),
        ('diode = "kiraz"', "diode = 3", "circuit.layers.1.diode", "the name of a preset"),
    ],
)
def test_a_wrong_type_says_what_was_expected(old, new, key, expected):
    message, line = refusal(old, new)
    assert message.startswith(f"demo.toml, line {line}, {key}: expected {expected}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('[dataset]\nkind = "logic.Xor"\namplitude = 2.0\n', "dataset = 3\n"),
        ("[goal]\nmax_error = 0.1\n", "[[goal]]\nmax_error = 0.1\n"),
    ],
)
def test_something_else_in_place_of_a_table_is_refused(old, new):
    message, _ = refusal(old, new)
    assert "expected a table, got" in message


def test_layers_must_be_a_list_of_tables():
    head, rest = BASE.split("[[circuit.layers]]", 1)
    tail = rest[rest.index("[initializer]") :]
    for layers in ('[circuit.layers]\nkind = "dense.Dense"\n', "layers = 3\n"):
        with pytest.raises(ConfigError, match=r"circuit\.layers: expected a list"):
            Experiment.parse(f"{head}{layers}{tail}")
    with pytest.raises(ConfigError, match=r"circuit\.layers\.0: expected a table, got 3"):
        Experiment.parse(f"{head}layers = [3]\n{tail}")


@pytest.mark.parametrize(
    ("old", "key"),
    [
        ('name = "demo"\n', "name"),
        ("learning_rate = 0.5\n", "optimizer.learning_rate"),
        ("epochs = 5\n", "training.epochs"),
        ("[training]\nepochs = 5\n", "training"),
        ("num_outputs = 4\n", "circuit.layers.0.num_outputs"),
        ('diode = "kiraz"\n', "circuit.layers.1.diode"),
        ('kind = "dense.Dense"\n', "circuit.layers.0.kind"),
        ('kind = "logic.Xor"\n', "dataset.kind"),
    ],
)
def test_a_missing_key_is_named(old, key):
    message, _ = refusal(old, "")
    assert f"{key}: this key is missing." in message


def test_a_missing_key_points_at_its_table():
    message, line = refusal("epochs = 5\n", "")
    assert message.startswith(f"demo.toml, line {line - 1}, training.epochs:")


@pytest.mark.parametrize(
    ("old", "new", "key", "nearest"),
    [
        ("logic.Xor", "logic.Xr", "dataset.kind", "logic.Xor"),
        ("logic.Xor", "logik.Xor", "dataset.kind", "logic.Xor"),
        ("dense.Dense", "dense.dense", "circuit.layers.0.kind", "dense.Dense"),
        (
            "amplifier.BidirectionalAmplifier",
            "amplifier.BidirectionalAmp",
            "circuit.layers.2.kind",
            "amplifier.BidirectionalAmplifier",
        ),
        ("uniform.Uniform", "uniform.Unifrm", "initializer.kind", "uniform.Uniform"),
        ("squared_error.SquaredError", "squared.Error", "cost.kind", "squared_error.SquaredError"),
        ("box.Box", "bx.Box", "constraint.kind", "box.Box"),
        ('"kiraz"', '"kirax"', "circuit.layers.1.diode", "kiraz"),
        ('"kendall"', '"kendal"', "circuit.layers.2.reflection", "kendall"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(old, new, key, nearest):
    message, line = refusal(old, new)
    assert message.startswith(f"demo.toml, line {line}, {key}: ")
    assert f"Did you mean '{nearest}'?" in message


def test_an_unknown_optimizer_is_refused_with_the_nearest():
    message, line = refusal('"sgd"', '"sdg"')
    assert message.startswith(f"demo.toml, line {line}, optimizer.kind: ")
    assert "Did you mean 'sgd'?" in message


@pytest.mark.parametrize("kind", ["os.System", "base.AbstractDataset", "../logic.Xor", "logic"])
def test_only_components_of_the_folder_are_reached(kind):
    message, _ = refusal("logic.Xor", kind)
    assert "dataset.kind" in message


@pytest.mark.parametrize(
    "table",
    [
        '{ model = "mine", saturation_curent = 1e-6 }',
        '{ model = "mine", saturation_current = "x" }',
        '{ model = "mine", saturation_current = -1.0 }',
        '{ model = "bad\\nname", saturation_current = 1e-6 }',
        "{ saturation_current = 1e-6 }",
    ],
)
def test_a_bad_diode_table_is_refused(table):
    message, line = refusal('"kiraz"', table)
    assert message.startswith(f"demo.toml, line {line}, circuit.layers.1.diode: ")
    assert "__init__" not in message


def test_a_diode_may_be_a_table():
    text = BASE.replace('"kiraz"', '{ model = "mine", saturation_current = 1e-9 }')
    circuit = Experiment.parse(text).circuit
    assert any(
        group.device.model_card() == ".model mine d(is=1e-09 n=1.0)" for group in circuit.groups
    )


@pytest.mark.parametrize("beta", ["0", "0.0", "-1e-4"])
def test_beta_must_be_positive(beta):
    message, line = refusal("beta = 1e-4", f"beta = {beta}")
    assert message.startswith(f"demo.toml, line {line}, rule.beta: ")
    assert "must be finite and positive" in message
    assert "small_signal.SmallSignal" in message


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    ("old", "key"),
    [
        ("amplitude = 2.0", "dataset.amplitude"),
        ("shift = 0.1", "circuit.layers.1.shift"),
        ("gain = 4.0", "circuit.layers.2.gain"),
        ("upper = 1e-2", "initializer.upper"),
        ("beta = 1e-4", "rule.beta"),
        ("learning_rate = 0.5", "optimizer.learning_rate"),
        ("max_error = 0.1", "goal.max_error"),
    ],
)
def test_numbers_must_be_finite(old, key, value):
    name = old.split(" =")[0]
    message, line = refusal(old, f"{name} = {value}")
    assert message == f"demo.toml, line {line}, {key}: expected a finite number, got {value}."


def test_numbers_inside_lists_and_inline_tables_must_be_finite():
    assert "circuit.layers.0.bias.1: expected a finite number" in refusal("-4.0]", "nan]")[0]
    assert "optimizer.options.momentum: expected a finite" in refusal("= 0.9", "= inf")[0]


@pytest.mark.parametrize("table", ["initializer", "constraint"])
@pytest.mark.parametrize(("lower", "upper"), [(1e-2, 1e-4), (0.0, 1e-2), (-1e-3, 1e-2)])
def test_bounds_must_be_positive_and_ascending(table, lower, upper):
    with pytest.raises(ConfigError, match=rf"{table}.*ascending order"):
        overridden(f"{table}.lower={lower}", f"{table}.upper={upper}")


@pytest.mark.parametrize(
    "assignment",
    [
        "training.epochs=0",
        "seed=-1",
        "training.batch_size=-1",
        "training.max_unconverged=1.5",
        "optimizer.learning_rate=0",
        "ngspice.reltol=2.0",
    ],
)
def test_numbers_out_of_range_are_refused(assignment):
    with pytest.raises(ConfigError, match="should be"):
        overridden(assignment)


@pytest.mark.parametrize(
    "name", ['"a\\nb"', '"Xor"', '"1st"', '""', '"a b"', '"demo\\n"', '"$(reboot)"']
)
def test_a_name_that_is_not_plain_is_refused(name):
    message, line = refusal('name = "demo"', f"name = {name}")
    assert message.startswith(f"demo.toml, line {line}, name: expected a name of lower-case")


def test_zero_layers_are_refused():
    head, rest = BASE.split("[[circuit.layers]]", 1)
    tail = rest[rest.index("[initializer]") :]
    with pytest.raises(ConfigError, match="has no layers; add at least one dense layer"):
        Experiment.parse(f"{head}layers = []\n{tail}")
    with pytest.raises(ConfigError, match=r"circuit\.layers: this key is missing"):
        Experiment.parse(f"{head}\n{tail}")


def test_a_layer_of_zero_nodes_is_refused():
    message, _ = refusal("num_outputs = 4", "num_outputs = 0")
    assert "num_outputs 0" in message


def test_sizes_that_disagree_are_refused():
    with pytest.raises(ConfigError, match="ends with 3 nodes, but 1 differential outputs need 2"):
        overridden("circuit.layers.3.num_outputs=3")
    with pytest.raises(ConfigError, match="Set the last layer's num_outputs to 1"):
        overridden("circuit.differential=false", "circuit.layers.3.num_outputs=2")


def test_a_circuit_that_does_not_end_in_resistors_is_refused():
    head, tail = BASE.split("[initializer]")
    last = head.rindex("[[circuit.layers]]")
    with pytest.raises(ConfigError, match="line 8, circuit: "):
        Experiment.parse(f"{head[:last]}[initializer]{tail}", source="demo.toml")


def test_a_test_goal_without_test_samples_is_refused():
    message, line = refusal("max_error = 0.1", "test_accuracy = 0.9")
    assert message.startswith(f"demo.toml, line {line}, goal.test_accuracy: ")


def test_invalid_toml_names_the_line():
    message, line = refusal("seed = 3", "seed = = 3")
    assert "demo.toml is not valid TOML" in message
    assert f"line {line}" in message


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "xor.toml").write_text(BASE)
    with pytest.raises(ConfigError, match=r"There is no file .*xr\.toml\. Did you mean '.*xor.to"):
        Experiment.load(tmp_path / "xr.toml")
    with pytest.raises(ConfigError, match=r"no TOML file"):
        Experiment.load(tmp_path / "nowhere" / "xor.toml")


@pytest.mark.parametrize(
    ("name", "words"),
    [("xorr", "Did you mean 'xor'"), ("kiraz/mapp", "'kiraz/map'"), ("zzzz", "list` names them")],
)
def test_a_name_that_is_none_gets_the_nearest_of_the_package(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"no file {name}. No experiment .*{words}"):
        Experiment.load(name)


def test_what_is_no_text_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is no file but a folder"):
        Experiment.load(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        Experiment.load(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epochs", "--set takes key=value"),
        ("=3", "--set takes key=value"),
        ("training..epochs=3", "--set takes key=value"),
        ("", "--set takes key=value"),
        ("circuit.layers.9.gain=3", "'9' is no position of a list of 4"),
        ("circuit.layers.first.gain=3", "'first' is no position of a list of 4"),
        ("circuit.layers.0.bias.7=3", "'7' is no position of a list of 2"),
        ("seed.x=3", "'seed' is a value, not a table"),
        ("training.epoch=3", "training.epoch: unknown key. Did you mean 'epochs'?"),
        ("trainin.epochs=3", "trainin: unknown key. Did you mean 'training'?"),
        ("circuit.layers.2.gan=3", "circuit.layers.2.gan: unknown key. Did you mean 'gain'?"),
        ("training.epochs=ten", "training.epochs: expected a whole number, got 'ten'"),
        ("training=5", "training: expected a table, got 5"),
        ("rule.beta=0", "rule.beta: beta is 0.0 S"),
        ("rule.beta=nan", "rule.beta: expected a finite number"),
        ("name=a\nb", "name: expected a name"),
        ("seed=1\nname='other'", "seed: expected a whole number"),
    ],
)
def test_a_bad_override_is_refused(assignment, message):
    with pytest.raises(ConfigError) as caught:
        overridden(assignment)
    assert message in str(caught.value)


def test_overrides_reach_every_level():
    table = overridden(
        "seed=7",
        "name=other",
        "training.batch_size=2",
        "goal.stop=true",
        "circuit.layers.0.bias.1=5.5",
        "circuit.layers.2.gain=3",
        "circuit.layers.2.reflection=transformer",
        "optimizer.options.momentum=0.5",
        'dataset={kind="logic.Gates"}',
        "ngspice.reltol=1e-9",
    ).table
    assert (table.seed, table.name, table.training.batch_size) == (7, "other", 2)
    assert table.goal.stop is True
    assert table.circuit is not None
    assert table.circuit.layers[0]["bias"] == (4.0, 5.5)
    assert table.circuit.layers[2] | {"kind": ""} == {
        "kind": "",
        "gain": 3,
        "reflection": "transformer",
    }
    assert table.optimizer.options == {"momentum": 0.5}
    assert table.dataset == {"kind": "logic.Gates"}
    assert table.ngspice.reltol == 1e-9


def test_an_override_of_one_of_two_equal_numbers_changes_that_one():
    table = overridden("circuit.layers.0.bias=[4.0, 4.0]", "circuit.layers.0.bias.1=3.0").table
    assert table.circuit is not None
    assert table.circuit.layers[0]["bias"] == (4.0, 3.0)


def test_the_resolved_toml_is_the_same_experiment():
    experiment = overridden("seed=11", "training.batch_size=2")
    text = experiment.to_toml()
    again = Experiment.parse(text)
    assert again.table == experiment.table
    assert again.to_toml() == text
    # Everything is written out, what was left to its default too.
    content = tomllib.loads(text)
    assert content["training"]["evaluate_every"] == 1
    assert content["ngspice"]["residual_tolerance"] == experiment.table.ngspice.residual_tolerance


def test_the_seed_alone_decides_the_start():
    first, again, other = overridden("seed=1"), overridden("seed=1"), overridden("seed=2")
    params = first.initial_params()
    assert set(params) == {"dense_0", "dense_3"}
    for name, values in params.items():
        np.testing.assert_array_equal(values, again.initial_params()[name])
        assert not np.array_equal(values, other.initial_params()[name])
        assert (values >= 1e-4).all() and (values <= 1e-2).all()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_of_the_repository_loads(path):
    content = tomllib.loads(path.read_text())
    assert content["name"] == path.stem
    assert content["description"]
    assert set(content["expected"]) >= {"result", "runtime"}
    try:
        experiment = Experiment.load(path)
    except ConfigError as error:
        if not re.search("needs its files|No such file", str(error)):
            raise
        pytest.skip(f"the data set is not on this machine: {error}")
    assert Experiment.parse(experiment.to_toml()).table == experiment.table
    experiment.substrate.check_parameters(experiment.initial_params())
    assert math.isfinite(experiment.data.train_inputs.sum())


def test_every_experiment_stands_in_the_readme():
    text = (EXPERIMENTS / "README.md").read_text()
    listed = set(re.findall(r"\]\(([\w/]+\.toml)\)", text))
    assert listed == {str(path.relative_to(EXPERIMENTS)) for path in FILES}


def test_an_automatic_beta_is_a_number_with_a_small_error():
    experiment = overridden("rule.beta=auto")
    beta = experiment.table.rule["beta"]
    assert experiment.rule.beta == beta
    arguments = (
        experiment.network,
        experiment.initial_params(),
        experiment.data.train_inputs,
        experiment.data.train_targets,
        experiment.cost,
    )
    exact = Adjoint()(*arguments).gradient
    assert worst_error(experiment.rule(*arguments).gradient, exact) < 1e-4
    # The run folder holds the number: a resumed run goes on with it.
    assert Experiment.parse(experiment.to_toml()).table == experiment.table


def test_an_automatic_beta_needs_a_rule_with_beta():
    with pytest.raises(ConfigError, match=r"rule\.beta: unknown key"):
        overridden("rule={kind='small_signal.SmallSignal', beta='auto'}")


def test_an_automatic_beta_is_refused_where_none_is_good(monkeypatch):
    monkeypatch.setattr("eqprop_spice.gradients.beta_scan.TARGET_ERROR", 1e-30)
    with pytest.raises(ConfigError, match=r"no beta keeps the estimate.*Tighten \[ngspice\]"):
        overridden("rule.beta=auto")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[" * 300 + "]" * 300, "expected at most 20 tables or lists inside each other"),
        ("[" * 5000 + "]" * 5000, "nests more than 20 lists or tables"),
        ("9" * 5000, "holds a value that cannot be read: Exceeds the limit"),
        ("9223372036854775808", "expected a whole number of at most 64 bits, got one of 65"),
        ("-1e300", r"expected a number between -1e\+15 and 1e\+15, got -1e\+300"),
        ("0000-00-00", "holds a value that cannot be read|is not valid TOML"),
    ],
)
@pytest.mark.parametrize("key", ["seed = 3", "shift = 0.1", "beta = 1e-4"])
def test_values_that_no_key_takes_are_refused(key, value, message):
    with pytest.raises(ConfigError, match=message) as error:
        Experiment.parse(BASE.replace(key, f"{key.split(' ')[0]} = {value}"), source="demo.toml")
    assert str(error.value).startswith("demo.toml")


def test_names_from_a_file_cannot_reach_the_terminal():
    message, _ = refusal("seed = 3", 'seed = 3\n"\\u001b[31m\\n\\u202eevil" = 1')
    assert message.isprintable()
    assert r"\x1b[31m\n" in message


@pytest.mark.parametrize("length", [100, 10_000])
def test_messages_are_of_bounded_length_and_keep_their_remedy(length):
    message, _ = refusal('"kiraz"', f'"{"a" * length}"')
    assert len(message) <= LONGEST
    assert message.endswith("ideal, kiraz.")


def test_a_wrong_override_is_blamed_on_itself():
    message = refused_override("training.epochs=ten")
    assert message == "--set, training.epochs: expected a whole number, got 'ten'."
    assert refused_override("rule={kind='small_signal.SmallSignal',x=1}").startswith(
        "--set, rule.x:"
    )


def refused_override(assignment: str) -> str:
    with pytest.raises(ConfigError) as error:
        overridden(assignment)
    return str(error.value)


def test_a_missing_file_suggests_none_with_another_name(tmp_path):
    (tmp_path / "pyproject.toml").touch()
    with pytest.raises(ConfigError, match=r"no file .*nosuch\.toml\. Its folder has pyproject\.t"):
        Experiment.load(tmp_path / "nosuch.toml")


@pytest.mark.parametrize("path", ["/dev/zero", "pipe"])
def test_what_never_ends_is_no_experiment(path, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is no file but a folder, a pipe or a device"):
        Experiment.load(tmp_path / path)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("dataset.split=-1", "dataset.split: split is -1; it must lie between 0 and 4294967295"),
        ("dataset.split=4294967296", "dataset.split: split is 4294967296"),
        ("dataset.test_size=1.5", "dataset.test_size: test_size is 1.5"),
        ("dataset.test_size=0.001", "dataset: test_size is 0.001, which leaves a side without"),
        ("dataset.test_size=0.999", "dataset: test_size is 0.999, which leaves a side without"),
    ],
)
def test_splits_that_do_not_exist_are_refused(assignment, message):
    with pytest.raises(ConfigError, match=message):
        Experiment.load(EXPERIMENTS / "iris.toml", [assignment])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("{dense_0=[[0,99]]}", "pairs of 'dense_0' hold 99; its rows are 0 to "),
        ("{dense_0=[[-1,2]]}", "pairs of 'dense_0' hold -1"),
        ("{dense_0=[[0,0]]}", ".* every row once at most"),
        ("{dense_0=[]}", ".* every row once at most, and any at all"),
        ("{dense_9=[[0,1]]}", "pairs names 'dense_9'; the layers are dense_0, dense_3"),
    ],
)
@pytest.mark.parametrize("table", ["initializer", "rule", "constraint"])
def test_pairs_of_rows_that_do_not_exist_are_refused(table, pairs, message):
    with pytest.raises(ConfigError, match=f"{table}: {message}"):
        Experiment.load(EXPERIMENTS / "kiraz" / "xor_published.toml", [f"{table}.pairs={pairs}"])


@pytest.mark.parametrize(
    "assignment",
    [
        "ngspice.reltol=0.9",
        "ngspice.vntol=1.0",
        "ngspice.abstol=1.0",
        "ngspice.residual_tolerance=1",
    ],
)
def test_tolerances_without_sense_are_refused(assignment):
    with pytest.raises(
        ConfigError, match=r"ngspice.*must be above 0 and at most|expected a number"
    ):
        overridden(assignment)
