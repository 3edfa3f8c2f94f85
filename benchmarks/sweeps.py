"""What the sweep layer costs over a plain loop, and what a second worker brings.

python -m benchmarks.sweeps
"""

import tempfile
import time
from pathlib import Path

from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.sweeps.axes import Sweep, sweep_of
from eqprop_spice.sweeps.cell import run_cell
from eqprop_spice.sweeps.execute import execute
from eqprop_spice.sweeps.store import Store

CASE_1 = Path(__file__).parent.parent / "experiments" / "case_1.toml"

CELLS = 120
WARM_UP = 12
"""Cells that end before the clock starts: processes start and compile."""

ROUNDS = 2
"""Times everything is measured in turn; the fastest counts, since other loads only slow down."""


def cells_of(epochs: int) -> Sweep:
    """Return a sweep of case I through ngspice with cells of so many updates."""
    text = f"{CASE_1.read_text()}\n[sweep]\nstart = {{ seeds = {CELLS} }}\n"
    overrides = ["goal.stop=false", f"training.epochs={epochs}"]
    return sweep_of(Experiment.parse(text, overrides=overrides))


def plain_loop(sweep: Sweep) -> float:
    """Return the seconds per cell of a loop."""
    run_cell(sweep.cell(0))
    started = time.perf_counter()
    for cell in range(WARM_UP, WARM_UP + 40):
        run_cell(sweep.cell(cell))
    return (time.perf_counter() - started) / 40


def swept(sweep: Sweep, num_workers: int) -> tuple[float, float]:
    """Return the seconds per cell of a sweep in its steady state, and those within its cells."""
    times: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(sweep, Path(folder) / "store")
        execute(
            store,
            num_workers=num_workers,
            progress=lambda done, _: times.append((done, time.perf_counter())),
        )
        within = float(store.dataset()["seconds"][WARM_UP:].mean())
    steady = [(done, at) for done, at in times if done >= WARM_UP]
    return (steady[-1][1] - steady[0][1]) / (steady[-1][0] - steady[0][0]), within


LONG_EPOCHS = 350
"""Updates of the longer cells, which show what more workers bring where cells take their time."""


def main() -> None:
    """Measure in turn."""
    sweep = cells_of(30)
    loops, ones, twos = [], [], []
    for _ in range(ROUNDS):
        loops.append(plain_loop(sweep))
        ones.append(swept(sweep, 1))
        twos.append(swept(sweep, 2))
    loop, one, two = min(loops), min(ones), min(twos)
    print(f"plain loop          {1e3 * loop:6.1f} ms per cell")
    print(f"sweep, one worker   {1e3 * one[0]:6.1f} ms per cell, {1e3 * one[1]:.1f} ms within it")
    print(f"sweep, two workers  {1e3 * two[0]:6.1f} ms per cell, {1e3 * two[1]:.1f} ms within it")
    print(f"overhead            {100 * (one[0] / loop - 1):6.1f} % over the plain loop")
    print(f"one to two workers  {one[0] / two[0]:6.2f} times")
    one, two = (swept(cells_of(LONG_EPOCHS), workers) for workers in (1, 2))
    print(f"longer cells        {1e3 * one[0]:6.1f} ms per cell, two workers {1e3 * two[0]:.1f} ms")
    print(f"one to two workers  {one[0] / two[0]:6.2f} times")


if __name__ == "__main__":
    main()
