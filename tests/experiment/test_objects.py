"""Experiments from objects and arrays, and the TOML that says the same."""

import dataclasses
import re

import numpy as np
import pytest

import eqprop_spice as eq
from eqprop_spice.datasets.logic import Xor
from eqprop_spice.engines.ngspice.engine import NgSpice
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.experiment.objects import build, kind_of, table_of
from eqprop_spice.layers.dense import Dense
from eqprop_spice.layers.stack import stack
from eqprop_spice.rules.equilibrium_propagation import EquilibriumPropagation

KIRAZ = eq.diode("kiraz")
rng = np.random.default_rng(0)
FEATURES = rng.normal(size=(24, 3))
LABELS = np.where(FEATURES[:, 0] > 0, "up", "down")
DATA = eq.samples(FEATURES, LABELS, test_size=0.25)


def test_shipped_files_can_be_said_with_objects(tmp_path):
    """Every component of XOR, made of the classes, gives the tables of the file."""
    written = Experiment.load("experiments/xor.toml")
    layers = [
        Dense(6, bias=(4.0, -4.0)),
        eq.AntiparallelDiodes(KIRAZ, 0.1),
        eq.BidirectionalAmplifier(4.0, "kendall"),
    ]
    made = build(
        layers,
        Xor(2.0, 1.0),
        name="xor",
        description=written.table.description,
        engine="ngspice",
        initializer=written.initializer,
        rule=EquilibriumPropagation("centered", 1e-4),
        constraint=written.constraint,
        cost=written.cost,
        optimizer=written.table.optimizer.model_dump(),
        epochs=300,
        batch_size=0,
        training={"evaluate_every": 1},
        goal={"max_error": 0.1},
    )
    again = Experiment.load(made.save(tmp_path / "xor.toml"))
    for experiment in (made, again):
        assert experiment.circuit.node_names == written.circuit.node_names
        assert experiment.rule == written.rule
        assert isinstance(experiment.engine, NgSpice)
        for name, value in written.initial_params().items():
            np.testing.assert_array_equal(experiment.initial_params()[name], value)


def test_arrays_go_into_a_file_beside_the_toml(tmp_path):
    made = build(stack(4), DATA, epochs=1)
    read = Experiment.load(made.save(tmp_path / "mine.toml"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "mine.toml"]
    for name in ("train_inputs", "train_targets", "test_inputs", "test_targets"):
        np.testing.assert_array_equal(getattr(read.data, name), getattr(DATA, name))
    assert (
        read.data.predictions(DATA.train_targets).tolist()
        == DATA.predictions(DATA.train_targets).tolist()
    )
    (tmp_path / "data.npz").write_bytes(b"something else")
    with pytest.raises(ConfigError, match="damaged"):
        _ = Experiment.load(tmp_path / "mine.toml").data
    (tmp_path / "data.npz").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        _ = Experiment.load(tmp_path / "mine.toml").data


def test_other_samples_in_its_file_are_refused(tmp_path):
    build(stack(4), DATA, epochs=1).save(tmp_path / "mine.toml")
    other = build(stack(4), eq.samples(FEATURES + 1.0, LABELS), epochs=1)
    (tmp_path / "data.npz").write_bytes(other.files()["data.npz"])
    with pytest.raises(ConfigError, match="not hold the samples of this experiment"):
        Experiment.load(tmp_path / "mine.toml")


def test_a_run_of_arrays_is_whole_and_predicts(tmp_path):
    run = eq.train(build(stack(4), DATA, epochs=12), tmp_path / "run")
    assert (tmp_path / "run" / "data.npz").is_file()
    found = eq.Run.open(tmp_path / "run").predict(FEATURES)
    assert (found == LABELS).mean() > 0.85
    share = (found == LABELS)[np.isin(FEATURES[:, 0], FEATURES[:, 0])].mean()
    assert (
        abs(
            share
            - np.average(
                [run.results["train_accuracy"], run.results["test_accuracy"]], weights=[18, 6]
            )
        )
        < 1e-12
    )
    assert run.outputs(FEATURES).shape == (24, 2)
    assert run.plot("predictions", tmp_path / "p.svg").axes
    assert "<svg" in (tmp_path / "p.svg").read_text()
    with pytest.raises(ConfigError, match="no figure 'los'"):
        run.plot("los")
    with pytest.raises(ConfigError, match=r"shape \(24, 2\)"):
        run.predict(FEATURES[:, :2])


def test_a_gradient_is_checked_in_one_call():
    experiment = build(stack(3), DATA, epochs=1)
    assert eq.check_gradient(experiment, num_samples=4, num_parameters=8).verdict == "OK"


@dataclasses.dataclass(frozen=True)
class Wider(Dense):
    """A layer of this module, which an import finds."""


def test_own_classes_are_named_by_their_module():
    # pytest imports this file under a name of its own choice.
    name = kind_of(Wider)
    assert re.fullmatch(r"[\w.]*test_objects:Wider", name)
    assert table_of(Wider(3)) == {"kind": name, "num_outputs": 3, "bias": (), "group": ""}

    @dataclasses.dataclass(frozen=True)
    class Local(Dense):
        """A layer that no import finds."""

    with pytest.raises(ConfigError, match="defined inside of a function"):
        build([Local(3)], DATA)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([], [], {}), r"shape \(0,\)"),
        ((FEATURES, LABELS[:-1], {}), "24 samples of features and 23"),
        ((FEATURES[0], LABELS, {}), r"shape \(3,\)"),
        ((FEATURES, np.full(24, 1), {}), "1 class"),
        ((FEATURES, LABELS, {"task": "class"}), "task is 'class'"),
        ((FEATURES, LABELS, {"test_size": 1.5}), "test_size is 1.5"),
        ((FEATURES, [None, *LABELS[1:]], {}), "gaps"),
        ((np.where(FEATURES > 2, np.nan, np.nan), LABELS, {}), "not finite"),
        ((FEATURES + 1j, LABELS, {}), "complex"),
        (([["a", "b"]] * 24, LABELS, {}), "must be numbers"),
        (([[1.0], [1.0, 2.0]], LABELS[:2], {}), "must be numbers"),
        ((FEATURES, LABELS, {"task": "regression"}), "must be numbers"),
    ],
)
def test_wrong_arrays_are_refused_in_words(unchecked, arguments, words):
    features, targets, options = arguments
    with pytest.raises(ConfigError, match=words):
        eq.samples(features, targets, **options)


def test_targets_out_of_reach_and_unknown_parts_are_refused():
    far = eq.samples(FEATURES, 1e3 * FEATURES[:, 0], volts=eq.Volts(target_scale=0.0))
    with pytest.raises(ConfigError, match=r"largest target is .* V, but no output"):
        build(stack(4, gain=1.0), far)
    with pytest.raises(ConfigError, match="no part 'rules'"):
        build(stack(4), DATA, rules=None)
    with pytest.raises(ConfigError, match="engine"):
        build(stack(4), DATA, engine="hspice")


def test_whole_numbers_and_texts_are_labels_and_others_are_numbers():
    assert eq.samples(FEATURES, np.arange(24) % 3).task == "classes"
    assert eq.samples(FEATURES, FEATURES[:, 0]).task == "regression"
    assert eq.samples(FEATURES, np.arange(24.0)).task == "regression"
    assert eq.samples(FEATURES, LABELS == "up").num_outputs == 2


def test_features_of_equal_numbers_are_left_at_zero_volts():
    table = np.hstack([FEATURES, np.full((24, 1), 1e9 + 0.1)])
    assert not eq.samples(table, LABELS).train_inputs[:, 3].any()


def test_numbers_come_back_in_their_units():
    wanted = 300.0 + 20.0 * FEATURES[:, :2]
    data = eq.samples(FEATURES, wanted)
    np.testing.assert_allclose(data.predictions(data.train_targets), wanted, rtol=1e-12)
    flat = eq.samples(FEATURES, wanted[:, 0])
    np.testing.assert_allclose(flat.predictions(flat.train_targets), wanted[:, 0], rtol=1e-12)


def test_the_engine_that_is_done_first_is_chosen(monkeypatch):
    from eqprop_spice.experiment import experiment as module

    monkeypatch.setattr(module, "library_path", lambda: "libngspice.so")
    few, many = (build(stack(3), DATA, engine="auto", epochs=n) for n in (2, 10_000))
    assert (few.table.engine, many.table.engine) == ("ngspice", "native")

    def missing() -> str:
        raise eq.NetlistError("none")

    monkeypatch.setattr(module, "library_path", missing)
    assert build(stack(3), DATA, engine="auto", epochs=2).table.engine == "native"
