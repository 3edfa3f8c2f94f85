import pytest

from eqprop_spice.compare.names import REFERENCE, RULES, chosen
from eqprop_spice.errors import ConfigError
from eqprop_spice.experiment.kinds import build
from eqprop_spice.rules.base import AbstractRule


@pytest.mark.parametrize("name", RULES)
def test_every_rule_of_the_table_exists(name):
    assert isinstance(build("rules", dict(RULES[name].table)), AbstractRule)


def test_labels_are_the_names_of_the_literature():
    variants = {"p": "positive", "n": "negative", "c": "centered"}
    for name, rule in RULES.items():
        letter, _, family = name.partition("_")
        if family in ("ep", "cpl"):
            assert rule.table["variant"] == variants[letter]
            assert rule.label == f"{letter.upper()}-{'EP' if family == 'ep' else 'CpL'}"
    assert len({rule.label for rule in RULES.values()}) == len(RULES)
    assert RULES[REFERENCE].in_all


def test_all_is_the_rules_of_the_paper_and_the_reference():
    found = chosen(["all"], "here")
    assert set(found) == {
        "bp",
        "tbp",
        "rbp",
        "cl",
        "p_ep",
        "n_ep",
        "c_ep",
        "p_cpl",
        "n_cpl",
        "c_cpl",
    }
    assert "small_signal" not in found
    assert set(chosen(["small_signal", "all"], "here")) == {*found, "small_signal"}


def test_the_order_is_that_of_the_table():
    assert chosen(["c_ep", "bp", "c_ep"], "here") == ("bp", "c_ep")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["bp", "p_epp"], "here: there is no rule 'p_epp'. Did you mean 'p_ep'?"),
        (["P-EP"], "here: there is no rule 'P-EP'. Valid: "),
        ([], "here: there is no rule to compare"),
    ],
)
def test_unknown_names_are_refused(names, message):
    with pytest.raises(ConfigError) as error:
        chosen(names, "here")
    assert str(error.value).startswith(message)
