"""What tests of pictures share."""

import pytest


@pytest.fixture
def line_widths(monkeypatch) -> list[float]:
    """Line widths of all resistors that are drawn from now on."""
    elements = pytest.importorskip("schemdraw.elements")
    seen: list[float] = []

    class Counted(elements.Resistor):
        def __init__(self, **more):
            super().__init__(**more)
            seen.append(more["lw"])

    monkeypatch.setattr(elements, "Resistor", Counted)
    return seen
