from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from eqprop_spice.audit.budget import STAGES, Budget
from eqprop_spice.audit.figures import _signed_log, budget_figure


@pytest.mark.parametrize("large", [(), ("finite nudge", "not reciprocal"), STAGES])
@pytest.mark.usefixtures("unchecked")
def test_causes_without_a_share_say_so(large):
    shares = {s: {"a": 1e-3 if s in large else 0.0, "b": 0.0, "c": np.nan} for s in STAGES}
    found: Any = SimpleNamespace(
        budget=Budget({}, shares), exact=dict.fromkeys("abc"), case=SimpleNamespace(name="xor")
    )
    (axes,) = budget_figure(found).axes
    low, high = axes.get_ylim()
    at = [text.get_position() for text in axes.texts if text.get_text() == "below 1e-10"]
    missing = [tick for tick, s in zip(axes.get_xticks(), STAGES, strict=True) if s not in large]
    assert [x for x, _ in at] == missing
    assert all(low < y < high for _, y in at)


@pytest.mark.usefixtures("unchecked")
def test_an_infinite_share_ends_at_the_top():
    shares = {s: {"a": np.inf if s == STAGES[0] else 1e-3} for s in STAGES}
    found: Any = SimpleNamespace(
        budget=Budget({}, shares), exact=["a"], case=SimpleNamespace(name="xor")
    )
    (axes,) = budget_figure(found).axes
    assert [text.get_text() for text in axes.texts] == ["above 1000"]
    assert axes.get_ylim()[1] < 1e5


def test_ticks_of_powers_lie_apart():
    axes = Figure().subplots()
    axes.bar([0, 1], [0.3, -0.02])
    _signed_log(axes, 0.3)
    ticks = axes.get_yticks().tolist()
    assert ticks == pytest.approx([-1e-2, -1e-3, 0.0, 1e-3, 1e-2, 1e-1])
