from pathlib import Path

import pytest

from eqprop_spice.compare.names import RULES
from eqprop_spice.compare.plan import comparison_of, is_comparison
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.sweeps.axes import sweep_of

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"
XOR = EXPERIMENTS / "xor.toml"
FILES = sorted((EXPERIMENTS / "comparison").glob("*.toml"))


def experiment(table: str = "", *overrides: str) -> Experiment:
    text = f"{XOR.read_text()}\n{table}"
    return Experiment.parse(text, source="xor.toml", overrides=["engine=native", *overrides])


def test_a_comparison_is_a_sweep_over_rules_and_seeds():
    found = comparison_of(experiment("[sweep]\nbeta = [1e-4]"), rules=["c_ep", "bp"], seeds=2)
    assert [(axis.name, axis.labels) for axis in found.axes] == [
        ("rule", ("bp", "c_ep")),
        ("start", (0, 1)),
    ]
    assert is_comparison(found)
    assert found.cell(0).table.rule == {"kind": "adjoint.Adjoint"}
    assert found.cell(3).rule.variant == "centered"
    assert found.cell(3).table.seed == 1
    # What is stored can be read again.
    again = sweep_of(Experiment.parse(found.text), needs_goal=False)
    assert again.axes == found.axes


def test_no_goal_is_needed():
    without = XOR.read_text().replace("[goal]\nmax_error = 0.1 # V", "")
    found = comparison_of(Experiment.parse(without), rules=["bp"], seeds=1)
    assert not found.experiment.table.goal.has_bounds


def test_the_table_of_the_file_counts_where_the_command_says_nothing():
    file = experiment('[compare]\nrules = ["p_ep", "bp"]\nseeds = 3')
    assert comparison_of(file).shape == (2, 3)
    assert comparison_of(file, rules=["cl"], seeds=1).shape == (1, 1)
    single = comparison_of(experiment('[compare]\nrules = "p_ep"'))
    assert single.axes[0].labels == ("p_ep",)
    every = comparison_of(experiment())
    assert every.axes[0].labels == tuple(name for name, rule in RULES.items() if rule.in_all)
    assert len(every.axes[1]) == 5


def test_fields_of_the_own_rule_carry_over_where_they_exist():
    file = experiment("", "rule.beta=3e-4", "rule.nudge=live")
    found = comparison_of(file, rules=["bp", "p_ep", "p_cpl"], seeds=1)
    assert found.cell(0).table.rule == {"kind": "adjoint.Adjoint"}
    assert (found.cell(1).rule.beta, found.cell(1).rule.nudge) == (3e-4, "live")
    assert found.cell(1).rule.variant == "positive"
    assert found.cell(2).rule.variant == "positive"
    held = experiment("", 'rule={kind="coupled_learning.CoupledLearning",eta=0.1}')
    found = comparison_of(held, rules=["n_ep", "n_cpl"], seeds=1)
    assert found.cell(1).rule.eta == 0.1
    assert found.cell(1).rule.variant == "negative"


def test_settings_are_those_of_one_rule():
    table = (
        '[compare.settings.p_cpl]\n"optimizer.learning_rate" = 30.0\n"rule.eta" = 0.1\n'
        "[compare.settings.p_ep]\nrule.beta = 1e-3\nalpha = 0.25"
    )
    found = comparison_of(experiment(table), rules=["bp", "p_ep", "p_cpl"], seeds=1)
    bp, ep, cpl = (found.cell(i) for i in range(3))
    assert bp.table.optimizer.learning_rate == 0.5
    assert (ep.rule.beta, ep.table.optimizer.learning_rate) == (1e-3, 0.25)
    assert (cpl.rule.eta, cpl.table.optimizer.learning_rate) == (0.1, 30.0)
    override = experiment(table, "compare.settings.p_cpl.optimizer.learning_rate=7.0")
    assert comparison_of(override, rules=["p_cpl"]).cell(0).table.optimizer.learning_rate == 7.0


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('rules = ["p_epp"]', "xor.toml, compare.rules: there is no rule 'p_epp'. .*'p_ep'"),
        ("rules = []", "compare.rules: there is no rule to compare"),
        ("[compare.settings.p_cp1]", "compare.settings: there is no rule 'p_cp1'. .*'p_cpl'"),
        ('[compare.settings.p_cpl]\n"rule.etta" = 0.1', "'rule' at p_cpl: .*Did you mean 'eta'"),
        ('[compare.settings.cl]\n"optimiser.learning_rate" = 1.0', "Did you mean 'optimizer'"),
        ('[compare.settings.p_ep]\n"rule.beta" = -1.0', "at p_ep: .*must be finite and positive"),
        ("[compare.settings.p_ep]\nseed = 3", "'seed' is not for a comparison to set"),
        ('[compare.settings.p_ep]\n"rule.variant" = "centered"', "'rule.variant' is not for"),
    ],
)
def test_bad_tables_are_refused_before_anything_runs(table, message):
    header = "" if table.startswith("[") else "[compare]\n"
    with pytest.raises(ConfigError, match=message):
        comparison_of(experiment(header + table))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('rulez = ["bp"]', r"line \d+, compare.rulez: unknown key. Did you mean 'rules'"),
        ("seeds = 0", r"line \d+, compare.seeds: .*greater than or equal to 1"),
        ("rules = 3", r"line \d+, compare.rules: expected a list"),
        ("settings = { p_ep = 3 }", r"compare.settings.p_ep: expected a table"),
    ],
)
def test_a_malformed_table_is_refused_when_the_file_is_read(table, message):
    with pytest.raises(ConfigError, match=message):
        experiment(f"[compare]\n{table}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_comparison_that_ships_is_valid(path):
    try:
        found = comparison_of(Experiment.load(path))
    except ConfigError as error:
        if "needs its files" not in str(error):
            raise
        pytest.skip(f"the data set is not on this machine: {error}")
    assert is_comparison(found)
    assert len(found.axes[1]) >= 5


def test_another_sweep_is_no_comparison():
    assert not is_comparison(sweep_of(experiment("[sweep]\nbeta = [1e-4]\nstart = [0]")))
    named = experiment("[sweep]\nstart = [0]\n[sweep.rule.cases]\nmine = { rule.beta = 1e-3 }")
    assert not is_comparison(sweep_of(named))


@pytest.mark.parametrize("name", ["butterworth_3", "josephson_pair"])
def test_all_rules_are_those_that_a_system_can_follow(name):
    path = EXPERIMENTS / "lagrangian" / f"{name}.toml"
    found = comparison_of(Experiment.load(path), rules=["all"], seeds=1)
    assert found.axes[0].labels == ("bp", "p_ep", "n_ep", "c_ep")
    with pytest.raises(ConfigError, match="ContrastiveLearning needs a system"):
        comparison_of(Experiment.load(path), rules=["all", "cl"], seeds=1)
