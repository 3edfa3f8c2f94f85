"""Hopfield networks from their files: training, resuming, netlists, verification."""

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest

from eqprop_spice.compare.names import RULES
from eqprop_spice.compare.plan import comparison_of
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.experiment.kinds import build, frozen_lists
from eqprop_spice.experiment.tables import ExperimentTable
from eqprop_spice.results.netlists import trained_netlists
from eqprop_spice.results.run import Run, train
from eqprop_spice.results.verify import verify
from eqprop_spice.sweeps.cell import run_cell
from eqprop_spice.training.optimizers import make_optimizer

FOLDER = Path(__file__).parents[2] / "experiments" / "hopfield"

AGREEMENT = 1e-9
"""The residual of a free state is below 1e-10, and ngspice's circuit is linear between switches."""

TRUNCATION = 1e-6
"""A relaxation of 15 iterations differs from a settled one by the 15th power of its contraction."""

TINY = [
    "dataset={kind = 'logic.Xor'}",
    "substrate.layers=[{kind = 'dense', size = 6}]",
    "training.epochs=3",
    "training.batch_size=3",
    "training.evaluate_every=1",
]
"""A batch of three and a smaller one per epoch, so that warm states are cut and kept."""


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr("eqprop_spice.results.plots.save_figures", lambda *arguments, **words: [])


def tiny(*assignments: str) -> Experiment:
    return Experiment.load(FOLDER / "digits.toml", [*TINY, *assignments])


@pytest.mark.ngspice
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path):
    whole = train(tiny("substrate.warm_start=true"), tmp_path / "whole")
    stopped = Run.create(tiny("substrate.warm_start=true"), tmp_path / "stopped")
    trainer = stopped.experiment.trainer
    state, history = stopped.load_checkpoint(stopped.experiment)
    state, figures = trainer.epoch(state)
    assert any(np.asarray(part).any() for part in state.carry)
    figures |= trainer.evaluate(state.params, test=False)
    history.append(figures, {k: np.asarray(v) for k, v in state.params.items()})
    stopped.save_checkpoint(state, history)
    resumed = train(resume=stopped.path)
    first, second = (run.load_checkpoint(run.experiment)[0] for run in (whole, resumed))
    for group, values in first.params.items():
        np.testing.assert_array_equal(values, second.params[group])
    for part, other in zip(first.carry, second.carry, strict=True):
        np.testing.assert_array_equal(part, other)
    result = verify(whole, num_samples=4)
    assert (result.num_differing, result.num_unconverged) == (0, 0)
    assert result.largest_difference < AGREEMENT
    netlists = trained_netlists(whole.experiment, whole.params)
    assert netlists["nudged"].count("gspring_") == 1
    assert (whole.path / "nudged.cir").read_text() == whole.marked(netlists["nudged"])


@pytest.mark.slow
def test_every_rule_trains_it():
    sweep = comparison_of(tiny(), rules=["all"], seeds=1)
    losses = {}
    for cell in range(sweep.num_cells):
        result = run_cell(sweep.cell(cell))
        assert not np.nansum(result.figures["num_unconverged"])
        losses[sweep.axes[0].labels[cell]] = result.figures["loss"]
    assert set(losses) == {name for name, rule in RULES.items() if rule.in_all}
    for rule, loss in losses.items():
        assert (np.diff(loss) < 0.0).all(), rule
        if rule in ("tbp", "rbp"):
            np.testing.assert_allclose(loss, losses["bp"], rtol=TRUNCATION)
        elif rule != "bp":
            assert not np.allclose(loss, losses["bp"], rtol=TRUNCATION)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("layers=[{kind='dense', sise=3}]", r"layers\.0\.sise: unknown key. Did you mean 'size'"),
        ("layers=[{kind='dens', size=3}]", r"layers\.0\.kind: there is no 'dens'. Did you mean"),
        ("layers=[{size=3}]", r"layers\.0\.kind: this key is missing"),
        ("layers=[{kind='dense'}]", r"layers\.0\.size: this key is missing"),
        ("layers=[{kind='dense', size='a'}]", r"layers\.0\.size: expected a whole number"),
        ("layers=[3]", r"layers\.0: expected a table, got 3"),
        ("skips=[{source=0, targe=2}]", r"skips\.0\.targe: unknown key. Did you mean 'target'"),
        ("sweeps=[60]", r"sweeps\.1: this list is too short"),
        ("layers=[{kind='convolution', channels=3}]", "layer 0 holds no images"),
    ],
)
def test_what_is_wrong_with_a_layer_is_said_once_and_with_its_place(change, sentence):
    with pytest.raises(ConfigError, match=sentence) as raised:
        tiny(f"substrate.{change}")
    assert str(raised.value).count("substrate") == 1


@pytest.mark.parametrize(
    ("name", "num_outputs", "num_parameters"),
    [
        # The published count, and the same with one channel of inputs or 100 classes.
        ("cifar10", 10, 3_859_210),
        ("svhn", 10, 3_859_210),
        ("cifar100", 100, 3_859_210 + 90 * 2049),
        ("mnist", 10, 3_859_210 - 2 * 9 * 128),
        ("fashion_mnist", 10, 3_859_210 - 2 * 9 * 128),
    ],
)
def test_published_networks_have_the_published_numbers_of_parameters(
    name, num_outputs, num_parameters
):
    content = frozen_lists(tomllib.loads((FOLDER / f"dchn_{name}.toml").read_text()))
    table = ExperimentTable.model_validate(content)
    assert table.substrate is not None
    image = table.substrate["image"]
    network = build("substrates", table.substrate).sized(math.prod(image), num_outputs)
    network.check()
    shapes = network.parameter_shapes()
    assert sum(math.prod(shape) for shape in shapes.values()) == num_parameters
    assert len(table.optimizer.layer_factors) == len(shapes)
    dataset = build("datasets", table.dataset)
    side = 28 if "mnist" in name else 32
    assert side + 2 * dataset.padding == image[1]
    assert build("initializers", table.initializer).gains == (0.5,)


def test_the_published_network_with_residual_connections_has_its_shapes():
    text = (FOLDER / "hopfield_resnet13_cifar10.toml").read_text()
    table = ExperimentTable.model_validate(frozen_lists(tomllib.loads(text)))
    assert table.substrate is not None
    network = build("substrates", table.substrate).sized(3 * 32 * 32, 10)
    network.check()
    assert network.graph.shapes[1:] == (
        (32, 32, 128), (16, 16, 128), (16, 16, 256), (8, 8, 256), (8, 8, 512), (4, 4, 512),
        (4, 4, 512), (2, 2, 512), (10,),
    )  # fmt: skip
    assert network.graph.colors == ((1, 3, 5, 7, 9), (2, 6), (4, 8))
    weights = {k: v for k, v in network.parameter_shapes().items() if len(v) > 1}
    assert len(weights) == len(build("initializers", table.initializer).gains) == 13
    assert build("datasets", table.dataset).random_operations == 3
    make_optimizer(table.optimizer.kind, 0.03, num_steps=10, options=table.optimizer.options).init(
        {"weight": np.zeros(3)}
    )
