import json
import math

import numpy as np
import pytest

from eqprop_spice.compare.summary import difference, final_figures, statistics, summary
from tests.compare.cells import cells

ROUNDING = 1e-12


def test_mean_and_spread_in_closed_form():
    found = statistics(np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan]))
    assert found == {
        "mean": 3.0,
        "standard_deviation": pytest.approx(math.sqrt(2.5), rel=ROUNDING),
        "standard_error": pytest.approx(math.sqrt(0.5), rel=ROUNDING),
    }
    nothing = {"mean": None, "standard_deviation": None, "standard_error": None}
    assert statistics(np.array([2.0])) == nothing | {"mean": 2.0}
    assert statistics(np.array([np.nan])) == nothing


def test_a_row_per_rule_with_what_its_runs_ended_with():
    found = summary(cells({"bp": [2.0, 4.0, 6.0], "c_ep": [2.0, 5.0, float("nan")]}), has_goal=True)
    assert (found["cells"], found["missing"], found["reference"]) == (6, 0, "bp")
    assert (found["measure"], found["units"]["error"]) == ("test error", "%")
    bp, ep = found["rules"]
    assert (bp["rule"], bp["label"], bp["seeds"], bp["failed"]) == ("bp", "BP", 3, 0)
    assert bp["error"]["mean"] == pytest.approx(4.0, rel=ROUNDING)
    assert bp["error"]["standard_error"] == pytest.approx(2 / math.sqrt(3), rel=ROUNDING)
    assert bp["train_loss"]["mean"] == pytest.approx(1e-3, rel=ROUNDING)
    assert (bp["learned"], bp["num_unconverged"], bp["seconds"]) == (1.0, 9, 2.0)
    assert bp["difference"] is None
    assert (ep["seeds"], ep["failed"], ep["learned"]) == (2, 1, 2 / 3)
    assert ep["error"]["mean"] == pytest.approx(3.5, rel=ROUNDING)
    json.dumps(found, allow_nan=False)


def test_the_difference_is_that_of_the_same_seeds():
    final = final_figures(cells({"bp": [2.0, 4.0, 9.0], "c_ep": [2.5, 5.0, float("nan")]}))
    found = difference(final, "c_ep")
    # Of bp, only the seeds count that the other has too: 2 and 4, with a standard error of 1.
    assert found == {
        "seeds": 2,
        "mean": pytest.approx(0.75, rel=ROUNDING),
        "standard_deviation": pytest.approx(math.sqrt(0.125), rel=ROUNDING),
        "standard_error": pytest.approx(0.25, rel=ROUNDING),
        "within": True,
    }


@pytest.mark.parametrize(("shift", "within"), [(0.9, True), (1.1, False), (-0.9, True)])
def test_within_one_standard_error_of_the_reference(shift, within):
    bp = [2.0, 4.0]  # a standard error of 1
    final = final_figures(cells({"bp": bp, "c_ep": [value + shift for value in bp]}))
    assert difference(final, "c_ep")["within"] is within


def test_one_seed_has_no_spread():
    final = final_figures(cells({"bp": [2.0], "c_ep": [2.0]}))
    found = difference(final, "c_ep")
    assert (found["standard_error"], found["within"]) == (None, None)


def test_without_reference_or_goal_there_is_less_to_say():
    found = summary(cells({"p_ep": [2.0, 3.0]}), has_goal=False)
    assert found["reference"] is None
    (row,) = found["rules"]
    assert (row["difference"], row["learned"]) == (None, None)


def test_a_regression_is_judged_by_its_largest_error():
    found = summary(cells({"bp": [0.25, 0.75]}, measured="max_error"), has_goal=False)
    assert (found["measure"], found["units"]["error"]) == ("largest training error", "V")
    assert found["rules"][0]["error"]["mean"] == 0.5


def test_cells_that_are_missing_do_not_count():
    dataset = cells({"bp": [2.0, 4.0]})
    dataset["status"][0, 1] = ""
    found = summary(dataset, has_goal=True)
    (row,) = found["rules"]
    assert (found["missing"], row["seeds"], row["failed"], row["learned"]) == (1, 1, 0, 1.0)
