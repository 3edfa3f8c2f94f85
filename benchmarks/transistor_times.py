"""CPU time per operating point of periodic grids of transistors, in three ways, in one run.

    python -m benchmarks.transistor_times

Native: a batch of samples, one compiled or shared factorization. Sweep: one persistent circuit in
ngspice, whose inputs follow one `.dc` sweep over the samples. Alter: the same circuit, its sources
altered and `op` run for each sample, as published trainings do.
"""

import functools
import resource
from collections.abc import Callable

import jax
import numpy as np

from eqprop_spice.phases import Free
from eqprop_spice.spice.session import Session
from eqprop_spice.substrates.transistors import Grid

SIZES = {3: 4000, 15: 1000, 30: 256, 40: 256}
"""Rows of the grid, and samples of a native batch; the grids have 18, 450, 1,800, 3,200 edges."""

POINTS = {3: 200, 15: 50, 30: 10, 40: 6}
"""Operating points in ngspice."""


def cpu_seconds() -> float:
    """Return the CPU time of this process [s]."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def timed(run: Callable[[], object]) -> float:
    """Return CPU seconds of the second call."""
    run()
    started = cpu_seconds()
    run()
    return cpu_seconds() - started


def grid(rows: int) -> Grid:
    """Return a periodic grid with the sources of XOR."""
    return Grid(
        rows=rows,
        columns=rows,
        num_inputs=2,
        num_outputs=1,
        constants=(0.0, 0.45),
        input_offset=0.225,
        input_scale=0.225,
    )


def ngspice_times(lines: list[str], voltages: np.ndarray) -> tuple[float, float]:
    """Return CPU seconds per point of a sweep, and of altering sources and `op`."""

    def measure(session: Session) -> tuple[float, float]:
        session.load(lines)
        count = len(voltages)
        sweep = f"dc vx0 0.01 0.44 {0.43 / (count - 1)!r}"
        swept = timed(lambda: session.command(sweep))
        found = session.vector("v(n0)")
        assert found is not None and len(found) == count

        def alter() -> None:
            for row in voltages.tolist():
                for k, value in enumerate(row):
                    session.command(f"alter vx{k} = {value!r}")
                session.command("op")

        altered = timed(alter)
        session.unload()
        return swept / count, altered / count

    return Session.do(measure)


def main() -> None:
    for rows, batch in SIZES.items():
        system, rng = grid(rows), np.random.default_rng(0)
        params = {"gate": rng.uniform(1.5, 3.5, system.parameter_shapes()["gate"])}
        inputs = rng.uniform(-1.0, 1.0, (batch, 2))
        settle = functools.partial(system.settle, params, inputs, [Free()])
        if system.traceable:
            settle = functools.partial(
                jax.jit(lambda p, x, s=system: s.settle(p, x, [Free()])), params, inputs
            )

        def points(settle=settle) -> np.ndarray:
            (found,) = settle()
            assert np.asarray(found.converged).all()
            return np.asarray(found.state)

        native = timed(points) / batch
        text = system.netlist(params, inputs[:1], Free(), "grid")
        # As published: ngspice's own tolerances.
        kept = [
            line for line in text.splitlines() if not line.lower().startswith((".options", ".op"))
        ]
        voltages = np.asarray(system.held(inputs))[: POINTS[rows], :2]
        swept, altered = ngspice_times(kept, voltages)
        print(
            f"{rows * rows * 2:5d} edges: native {1e3 * native:.4f} ms, "
            f"sweep {1e3 * swept:.3f} ms, alter and op {1e3 * altered:.3f} ms, "
            f"ratios {swept / native:.0f} and {altered / native:.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
