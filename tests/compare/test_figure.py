import numpy as np
import pytest
from matplotlib.colors import to_rgb

from eqprop_spice.compare.figure import COLORS, comparison_figure, save_figures
from eqprop_spice.compare.names import RULES
from tests.compare.cells import cells


def test_the_figure_has_every_seed_and_every_rule(tmp_path):
    dataset = cells({name: [2.0, 3.0, 4.0] for name in RULES})
    (path,) = save_figures(dataset, tmp_path / "figures")
    assert path.stat().st_size > 5000
    assert path.with_suffix(".svg").is_file()
    left, right = comparison_figure(dataset).axes
    labels = [rule.label for rule in RULES.values()]
    assert [label.get_text() for label in left.get_xticklabels()] == labels
    assert [line.get_label() for line in right.get_lines()] == labels
    assert left.get_ylabel() == "Test error [%]"
    assert right.get_ylabel() == r"Training loss [V$^2$]"
    dots = [line for line in left.get_lines() if np.size(line.get_xdata()) == 3]
    assert len(dots) == len(RULES)


def test_no_two_rules_look_alike():
    lines = comparison_figure(cells({name: [2.0, 3.0] for name in RULES})).axes[1].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(RULES)
    assert len({to_rgb(color) for color in COLORS}) == len(COLORS)


@pytest.mark.parametrize("errors", [[0.0, 0.0], [0.0, 50.0]])
def test_errors_of_nothing_lie_at_the_bottom(errors):
    low, high = comparison_figure(cells({"bp": errors, "cl": errors})).axes[0].get_ylim()
    assert -0.05 * high < low <= 0.0 < high


@pytest.mark.parametrize("errors", [[2.0], [float("nan"), float("nan")], [2.0, float("nan")]])
def test_few_or_no_runs_are_drawn_too(errors, tmp_path):
    assert save_figures(cells({"bp": errors, "cl": errors}), tmp_path / "figures")[0].is_file()
